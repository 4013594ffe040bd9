// The SPs of a new drive, cell by cell as the SSCs' preconfiguration tables have them.
#pragma once

#include "sed/emulator/options.h"
#include "sed/emulator/sp.h"

namespace keyward::sed::emulator {

// Rewritten by every revert.
struct FactoryPins {
  Bytes msid;
  Bytes psid;
  Bytes sid;
};

Sp make_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins);
// With new random media keys.
Sp make_locking_sp(const EmulatedDriveOptions& options, const FactoryPins& pins);

Uid locking_sp_uid(Family family);
// `n` 0 is the global range.
Uid range_uid(Family family, std::uint32_t n);
Uid range_key_uid(Family family, std::uint32_t n);
Bytes new_media_key();

}  // namespace keyward::sed::emulator
