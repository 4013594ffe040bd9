// What the Locking SP's rows mean for sectors: which key, and whether they may be read or written.
//
//   for (const Extent& extent : extents(state, options, lba, count))
//     if (extent.read_locked) return BusStatus::locked;
//
// Pure functions over the committed state.
#pragma once

#include <vector>

#include "sed/emulator/drive_state.h"

namespace keyward::sed::emulator {

// Sectors in a row that belong to one range.
struct Extent {
  std::uint64_t first;
  std::uint64_t count;
  Uid range;
  ByteView key;  // Of the state.
  bool read_locked;
  bool write_locked;
};

std::vector<Extent> extents(const DriveState& state, const EmulatedDriveOptions& options,
                            std::uint64_t first, std::uint64_t count);

// MBRControl's Enable and not Done.
bool shadow_is_shown(const DriveState& state);
bool any_range_locked(const DriveState& state, const EmulatedDriveOptions& options);

// LockOnReset, DoneOnReset, Tries and ProgrammaticResetEnable (Core 5.7.2.2.13, 5.7.2.5.4).
void apply_reset(DriveState& state, const EmulatedDriveOptions& options, Reset reset);

// Whether a range's new row may stand beside the others: inside the drive, aligned, apart.
bool range_fits(const Sp& locking, const EmulatedDriveOptions& options, Uid range,
                const Row& candidate);

}  // namespace keyward::sed::emulator
