// The values of some PCRs of the SHA-256 bank at one moment.
//
//   std::string changed = describe_change(blob.pcrs, now);   // "PCR 7 (Secure Boot)"
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "crypto/kdf.h"

namespace keyward::hsm::tpm2 {

struct PcrValue {
  std::uint8_t pcr = 0;
  crypto::Sha256Digest value{};
  bool operator==(const PcrValue&) const = default;
};

using PcrValues = std::vector<PcrValue>;  // Ascending by PCR.

// Bit n for PCR n.
std::uint32_t pcr_mask(const PcrValues& values);

// What PolicyPCR compares: SHA-256 over the values, ascending.
crypto::Sha256Digest pcr_digest(const PcrValues& values);

// The PCRs whose values differ, with what firmware measures into them; empty when none does.
std::string describe_change(const PcrValues& before, const PcrValues& now);

}  // namespace keyward::hsm::tpm2
