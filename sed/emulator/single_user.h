// Single User Mode (TCG Storage Opal SSC Feature Set: Single User Mode 1.00): ranges that belong to
// one user each, User1 the global range, and not to the Admins.
//
//   const auto mode = SingleUserMode::parse(selection, policy, options);
//   mode->enter(state.locking);                // At Activate.
//   SingleUserMode::restore(locking, options); // From the rows, when a state was loaded.
#pragma once

#include <optional>
#include <vector>

#include "sed/emulator/options.h"
#include "sed/emulator/sp.h"

namespace keyward::sed::emulator {

// LockingInfo's columns, which have the numbers of Activate's parameters.
inline constexpr std::uint32_t kSingleUserRanges = 0x060000, kRangePolicy = 0x060001;

class SingleUserMode final {
 public:
  // `selection`: the Locking table's UID for all ranges, or a list of ranges; null for none. None
  // when it names what is no range, or a range without a user.
  static std::optional<SingleUserMode> parse(const Value* selection, const Value* policy,
                                             const EmulatedDriveOptions& options);
  static void restore(Sp& locking, const EmulatedDriveOptions& options);

  // Users get their ranges, are enabled, and have an empty PIN.
  void enter(Sp& locking) const;

 private:
  void rewrite_access(Sp& locking) const;

  std::vector<std::uint32_t> ranges_;  // By number, 0 the global one.
  bool admins_place_ranges_ = false;   // Else each user places its own.
};

}  // namespace keyward::sed::emulator
