// What may be claimed of an erase, by what the drive is and what was done to it.
//
//   EraseClaim claim = erase_claim("Opal 2", sed::EraseMethod::crypto_erase);
//   claim.nist   // "Purge (Cryptographic Erase)"
//
// In the terms of NIST SP 800-88 Rev. 1 (4.7, table A-8 and appendix D) and IEEE 2883-2022. In
// doubt the lesser claim: Purge by new media keys is claimed only of a feature whose specification
// has all user data encrypted from the factory on. Nobody but the drive's maker knows whether the
// drive keeps to it. A pure function; any thread.
#pragma once

#include <string>
#include <string_view>

#include "sed/drive.h"

namespace keyward::engine {

struct EraseClaim {
  std::string method;  // "GenKey of the media keys of all ranges (TCG Opal 2)".
  std::string nist;
  std::string ieee;
};

// `feature` is DriveState::feature. One that is not known claims nothing.
EraseClaim erase_claim(std::string_view feature, sed::EraseMethod method);
// The same method, of which the read probe showed that data are still there.
EraseClaim disproved(EraseClaim claim);

}  // namespace keyward::engine
