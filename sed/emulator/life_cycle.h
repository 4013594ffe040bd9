// Activate, Revert, RevertSP and Erase: what they do to the state. Who may, the methods check.
#pragma once

#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

// Opal 5.1.1: Admin1 gets the SID's PIN. No effect on an SP that is active.
void activate_locking(DriveState& state);

// Opal 5.1.2 on the Admin SP: new keys for all sectors, factory state for all SPs, byte tables
// erased.
void revert_all(DriveState& state, const EmulatedDriveOptions& options);

enum class GlobalKey : std::uint8_t { renew, keep };
// Opal 5.1.2 on the Locking SP, and 5.1.3: back to Manufactured-Inactive.
void revert_locking(DriveState& state, const EmulatedDriveOptions& options, GlobalKey global);

// Enterprise 7.2 and Single User Mode: new key, unlocked; the BandMaster's PIN is the MSID again,
// the user's is empty.
void erase_range(DriveState& state, const EmulatedDriveOptions& options, Uid range);

// Every media key anew: what a revert does first.
void renew_media_keys(DriveState& state);

}  // namespace keyward::sed::emulator
