// All that an emulated drive remembers without power, and its file.
//
//   TRY(save_state(path, options, state));        // old or new after a crash, never half of it
//   TRY(load_state(path, options, state));        // `corrupt` names the part that is wrong
//
// The file is for the emulator alone: it holds the media keys and the PINs as they are, since
// whoever has the file has the emulated drive's insides. Never put a secret of value into one.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sed/emulator/factory.h"
#include "sed/emulator/options.h"
#include "sed/emulator/sp.h"

namespace keyward::sed::emulator {

struct AtaSecurityState {
  bool enabled = false;
  bool maximum = false;  // Master password capability.
  Bytes user_password{};
  Bytes master_password{};  // Empty: as the factory set it, 32 zeros.
  std::uint16_t master_id = 0xFFFE;
};

// A write of a committed transaction that may not be in the backing file yet: done (again) at
// power-on. Empty `data`: the whole table becomes zeros.
struct TableWrite {
  Uid table;
  std::uint64_t offset;
  Bytes data;
};

struct DriveState {
  FactoryPins pins{};
  Sp admin{};
  Sp locking{};
  AtaSecurityState ata{};
  std::vector<TableWrite> table_writes{};

  Sp& sp(Uid uid) { return uid == admin.uid ? admin : locking; }
  bool locking_is_active() const {
    return admin.number_at(locking.uid, column::kLifeCycle) ==
           static_cast<std::uint64_t>(LifeCycle::manufactured);
  }
};

DriveState new_state(const EmulatedDriveOptions& options);
Result<void> save_state(const std::string& path, const EmulatedDriveOptions& options,
                        const DriveState& state);
// Fills what `options` says of the drive itself, too. `not_found` when there is no such file.
Result<void> load_state(const std::string& path, EmulatedDriveOptions& options, DriveState& state);

}  // namespace keyward::sed::emulator
