#include "sed/range_cells.h"

#include <fmt/format.h>

namespace keyward::sed {
namespace {

tcg::List at_power_on() {
  tcg::List resets;
  resets.push_back(tcg::number(tcg::kPowerCycle));
  return resets;
}

}  // namespace

tcg::Row locks_of(Access access) {
  const std::uint64_t read = access == Access::locked ? 1 : 0;
  const std::uint64_t write = access == Access::unlocked ? 0 : 1;
  return {{tcg::column::locking::kReadLocked, read}, {tcg::column::locking::kWriteLocked, write}};
}

Access access_of(const tcg::Row& row) {
  using namespace tcg::column::locking;
  const auto both = [&](std::uint32_t enabled, std::uint32_t locked) {
    return tcg::number_in(row, enabled).value_or(0) != 0 &&
           tcg::number_in(row, locked).value_or(0) != 0;
  };
  if (both(kReadLockEnabled, kReadLocked)) return Access::locked;
  return both(kWriteLockEnabled, kWriteLocked) ? Access::read_only : Access::unlocked;
}

tcg::Row lockable_and_open() {
  using namespace tcg::column::locking;
  return {{kReadLockEnabled, std::uint64_t{1}},
          {kWriteLockEnabled, std::uint64_t{1}},
          {kReadLocked, std::uint64_t{0}},
          {kWriteLocked, std::uint64_t{0}},
          {kLockOnReset, at_power_on()}};
}

tcg::Row placed_at(std::uint64_t first_sector, std::uint64_t sectors) {
  using namespace tcg::column::locking;
  const std::uint64_t used = sectors == 0 ? 0 : 1;
  return {{kRangeStart, used == 0 ? 0 : first_sector},
          {kRangeLength, sectors},
          {kReadLockEnabled, used},
          {kWriteLockEnabled, used},
          {kReadLocked, std::uint64_t{0}},
          {kWriteLocked, std::uint64_t{0}},
          {kLockOnReset, at_power_on()}};
}

Range range_of(std::uint32_t number, const tcg::Row& row) {
  using namespace tcg::column::locking;
  Range range{.number = number};
  range.first_sector = tcg::number_in(row, kRangeStart).value_or(0);
  range.sectors = tcg::number_in(row, kRangeLength).value_or(0);
  range.lockable = tcg::number_in(row, kReadLockEnabled).value_or(0) != 0 &&
                   tcg::number_in(row, kWriteLockEnabled).value_or(0) != 0;
  range.access = access_of(row);
  return range;
}

Error misplaced(tcg::Session& session, const tcg::Uid& locking_info, const Error& refusal) {
  using namespace tcg::column::locking_info;
  if (refusal.code != ErrorCode::invalid_argument) return refusal;
  const Result<tcg::Row> row = session.get(locking_info, {kAlignmentRequired, kLowestAlignedLba});
  if (!row || tcg::number_in(*row, kAlignmentRequired).value_or(0) == 0) return refusal;
  Error error = refusal;
  error.message = fmt::format(
      "the drive does not take the range there: it overlaps another one, ends beyond the drive, "
      "or does not begin and end at a multiple of {} sectors counted from sector {}",
      tcg::number_in(*row, kAlignmentGranularity).value_or(1),
      tcg::number_in(*row, kLowestAlignedLba).value_or(0));
  return error;
}

}  // namespace keyward::sed
