#include "sed/emulator/ranges.h"

#include <algorithm>

namespace keyward::sed::emulator {
namespace {

struct Span {
  std::uint64_t start;
  std::uint64_t length;
};

Span span_of(const Sp& locking, Uid range) {
  return {locking.number_at(range, column::kRangeStart),
          locking.number_at(range, column::kRangeLength)};
}

Extent extent_of(const DriveState& state, Uid range, std::uint64_t first, std::uint64_t count) {
  const Sp& sp = state.locking;
  const bool active = state.locking_is_active();
  const auto locked = [&](std::uint32_t enabled, std::uint32_t lock) {
    return active && sp.number_at(range, enabled) != 0 && sp.number_at(range, lock) != 0;
  };
  const Value* key_uid = sp.cell(range, column::kActiveKey);
  return {first,
          count,
          range,
          sp.media_keys.at(key_uid->uid().value_or(0)),
          locked(column::kReadLockEnabled, column::kReadLocked),
          locked(column::kWriteLockEnabled, column::kWriteLocked)};
}

bool names_reset(const Value* resets, Reset reset) {
  return resets != nullptr && std::ranges::any_of(resets->items, [&](const Value& item) {
           return item.number == static_cast<std::uint64_t>(reset);
         });
}

}  // namespace

std::vector<Extent> extents(const DriveState& state, const EmulatedDriveOptions& options,
                            std::uint64_t first, std::uint64_t count) {
  std::vector<Extent> all;
  while (count > 0) {
    Uid owner = uid::kGlobalRange;
    std::uint64_t here = count;
    for (std::uint32_t n = 1; n <= options.ranges; ++n) {
      const Uid range = range_uid(options.family, n);
      const Span span = span_of(state.locking, range);
      if (span.length == 0) continue;
      if (first >= span.start && first - span.start < span.length) {
        owner = range;
        here = std::min(here, span.start + span.length - first);
      } else if (span.start > first) {
        here = std::min(here, span.start - first);
      }
    }
    all.push_back(extent_of(state, owner, first, here));
    first += here;
    count -= here;
  }
  return all;
}

bool shadow_is_shown(const DriveState& state) {
  return state.locking_is_active() &&
         state.locking.number_at(uid::kMbrControl, column::kMbrEnable) != 0 &&
         state.locking.number_at(uid::kMbrControl, column::kMbrDone) == 0;
}

bool any_range_locked(const DriveState& state, const EmulatedDriveOptions& options) {
  for (std::uint32_t n = 0; n <= options.ranges; ++n) {
    const Extent extent = extent_of(state, range_uid(options.family, n), 0, 0);
    if (extent.read_locked || extent.write_locked) return true;
  }
  return false;
}

void apply_reset(DriveState& state, const EmulatedDriveOptions& options, Reset reset) {
  Sp& locking = state.locking;
  for (std::uint32_t n = 0; n <= options.ranges; ++n) {
    const Uid range = range_uid(options.family, n);
    if (!names_reset(locking.cell(range, column::kLockOnReset), reset)) continue;
    if (locking.number_at(range, column::kReadLockEnabled) != 0)
      locking.cell(range, column::kReadLocked)->number = 1;
    if (locking.number_at(range, column::kWriteLockEnabled) != 0)
      locking.cell(range, column::kWriteLocked)->number = 1;
  }
  if (names_reset(locking.cell(uid::kMbrControl, column::kDoneOnReset), reset))
    locking.cell(uid::kMbrControl, column::kMbrDone)->number = 0;
  if (reset != Reset::power_cycle) return;
  if (Value* enable = state.admin.cell(uid::kTPerInfo, column::kResetEnable)) enable->number = 0;
  for (Sp* sp : {&state.admin, &state.locking})
    for (auto& [uid, row] : sp->rows)
      if (table_of(uid) == table::kCPin && sp->number_at(uid, column::kPersistence) == 0)
        row[column::kTries].number = 0;
}

bool range_fits(const Sp& locking, const EmulatedDriveOptions& options, Uid range,
                const Row& candidate) {
  const std::uint64_t start = candidate.at(column::kRangeStart).number;
  const std::uint64_t length = candidate.at(column::kRangeLength).number;
  if (start > options.sectors || length > options.sectors - start) return false;
  if (length == 0) return true;
  const std::uint64_t alignment = options.alignment_sectors;
  if (alignment != 0 && (start % alignment != 0 || length % alignment != 0)) return false;
  for (std::uint32_t n = 1; n <= options.ranges; ++n) {
    const Uid other = range_uid(options.family, n);
    if (other == range) continue;
    const Span span = span_of(locking, other);
    if (span.length != 0 && start < span.start + span.length && span.start < start + length)
      return false;
  }
  return true;
}

}  // namespace keyward::sed::emulator
