#include "sed/emulator/single_user.h"

#include <algorithm>

#include "sed/emulator/factory.h"
#include "sed/emulator/sp_builder.h"

namespace keyward::sed::emulator {
namespace {

constexpr Uid ace(std::uint32_t row) { return make_uid(table::kAce, row); }

// Each + range. The feature set's associations; the UIDs are this emulator's own.
constexpr Uid kAceUserAll = ace(0x00041000);
constexpr Uid kAceUserSetsLocks = ace(0x00041100);
constexpr Uid kAcePlaces = ace(0x00041200);
constexpr Uid kAceErases = ace(0x00041300);
constexpr Uid kAceUserSetsPin = ace(0x00041400);
constexpr Uid kAceGets = ace(0x00041500);
constexpr Uid kAceUserSetCommonName = ace(0x00044000);  // + user.

std::optional<std::uint32_t> number_of(Uid range, const EmulatedDriveOptions& options) {
  for (std::uint32_t n = 0; n <= options.ranges; ++n)
    if (range_uid(Family::opal2, n) == range) return n;
  return std::nullopt;
}

Uid user_of(std::uint32_t range) { return uid::kUsers + range + 1; }
Uid pin_of(std::uint32_t range) { return uid::kPinUser + range + 1; }

}  // namespace

std::optional<SingleUserMode> SingleUserMode::parse(const Value* selection, const Value* policy,
                                                    const EmulatedDriveOptions& options) {
  SingleUserMode mode;
  if (policy != nullptr && (selection == nullptr || !policy->boolean())) return std::nullopt;
  mode.admins_place_ranges_ = policy != nullptr && *policy->boolean();
  if (selection == nullptr) return mode;
  if (selection->uid() == make_uid(table::kLocking, 0)) {
    for (std::uint32_t n = 0; n <= options.ranges; ++n) mode.ranges_.push_back(n);
  } else {
    if (!selection->is_list()) return std::nullopt;
    for (const Value& item : selection->items) {
      const auto n = item.uid() ? number_of(*item.uid(), options) : std::nullopt;
      if (!n || std::ranges::count(mode.ranges_, *n) != 0) return std::nullopt;
      mode.ranges_.push_back(*n);
    }
  }
  const bool all_have_users =
      std::ranges::all_of(mode.ranges_, [&](std::uint32_t n) { return n < options.users; });
  return all_have_users ? std::optional(mode) : std::nullopt;
}

void SingleUserMode::restore(Sp& locking, const EmulatedDriveOptions& options) {
  const Value* ranges = locking.cell(uid::kLockingInfo, kSingleUserRanges);
  if (ranges == nullptr) return;
  const Value* policy = locking.cell(uid::kLockingInfo, kRangePolicy);
  const auto mode = parse(ranges, ranges->items.empty() ? nullptr : policy, options);
  if (mode) mode->rewrite_access(locking);
}

void SingleUserMode::enter(Sp& locking) const {
  Value ranges = list({});
  for (const std::uint32_t n : ranges_) {
    ranges.items.push_back(uid_value(range_uid(Family::opal2, n)));
    locking.cell(user_of(n), column::kEnabled)->number = 1;
    *locking.cell(pin_of(n), column::kPin) = bytes({});
  }
  Row& info = locking.rows[uid::kLockingInfo];
  info[kSingleUserRanges] = std::move(ranges);
  info[kRangePolicy] = boolean_value(admins_place_ranges_);
  rewrite_access(locking);
}

void SingleUserMode::rewrite_access(Sp& locking) const {
  using namespace column;
  if (ranges_.empty()) return;
  AccessControl access = *locking.access;
  for (const std::uint32_t n : ranges_) {
    const Uid user = user_of(n);
    const Uid range = range_uid(Family::opal2, n);
    const auto add = [&](Uid base, std::initializer_list<Uid> any_of,
                         std::initializer_list<std::uint32_t> columns) {
      locking.rows[base + n] = ace_row(base + n, "ACE_SUM", any_of, columns);
    };
    add(kAceUserAll, {user}, {});
    add(kAceUserSetsLocks, {user},
        {kCommonName, kReadLockEnabled, kWriteLockEnabled, kReadLocked, kWriteLocked,
         kLockOnReset});
    add(kAcePlaces, {admins_place_ranges_ ? uid::kAdmins : user}, {kRangeStart, kRangeLength});
    add(kAceErases, {uid::kAdmins, user}, {});
    add(kAceUserSetsPin, {user}, {kPin});
    add(kAceGets, {uid::kAdmins, user}, {});
    access.aces[{range, method::kGet}] = {kAceGets + n};
    access.aces[{range, method::kSet}] = {kAceUserSetsLocks + n};
    if (n != 0) access.aces[{range, method::kSet}].push_back(kAcePlaces + n);
    access.aces[{range, method::kErase}] = {kAceErases + n};
    access.aces[{range_key_uid(Family::opal2, n), method::kGenKey}] = {kAceUserAll + n};
    access.aces[{pin_of(n), method::kSet}] = {kAceUserSetsPin + n};
    access.aces[{user, method::kSet}] = {kAceUserSetCommonName + n + 1};
  }
  locking.access = std::make_shared<const AccessControl>(std::move(access));
}

}  // namespace keyward::sed::emulator
