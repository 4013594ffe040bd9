// The process or a call gone at each step that a change of PINs takes, over the stores and the
// drive alike: afterwards a stored PIN opens every authority, within one try.
#include <fmt/format.h>

#include <limits>

#include "engine/drives/fleet_rig_fixture.h"

namespace keyward::engine {
namespace {

constexpr std::size_t kPointsMax = 500;

struct Tally {
  std::size_t points = 0;
  std::size_t failures = 0;
  std::uint32_t tries = 0;  // The most that one point spent.
};

// As recovery left it.
std::string defect_of(FleetRig& rig, DriveAction action) {
  const OwnerPins pins = rig.pins(0);
  FakeDriveState& drive = rig.drive(0);
  if (drive.is_factory_new())
    return action == DriveAction::rotate ? "nobody owns it;" : pins.pending ? "one pends;" : "";
  if (!pins.current) return "no PIN is stored;";
  if (pins.pending) return "a PIN pends still;";
  const sed::PinTag tag = sed::pin_tag(*pins.current).value();
  for (const char* authority : {"SID", "Admin1"})
    if (drive.pin_of(authority) != tag) return fmt::format("{} does not open;", authority);
  return drive.access() == sed::Access::unlocked ? "" : "it is locked;";
}

// False once the action ended without reaching its nth call.
bool try_point(DriveAction action, FaultMoment moment, std::size_t n, Tally& tally) {
  FleetRig rig(1);
  FaultPlan plan(std::numeric_limits<std::size_t>::max(), moment,
                 {ErrorCode::unavailable, "planned"});
  rig.restart();
  if (action != DriveAction::provision) rig.run(DriveAction::provision, {}, nullptr);
  rig.restart(&plan);
  rig.recover();
  plan.arm(n, moment);
  // Of its results nothing is asked: what is stored counts.
  static_cast<void>(rig.fleet().run({action, {"Z0"}, nullptr}, rig.caller(), {}));
  const bool fired = plan.has_fired();
  plan.disarm();
  if (!fired) return false;
  ++tally.points;
  if (n % 2 == 0) rig.drive(0).power_cycle();
  rig.restart();
  rig.recover();
  std::string defect = defect_of(rig, action);
  const std::uint32_t tries = rig.drive(0).tries_spent();
  if (tries > 1) defect += fmt::format(" {} tries were spent;", tries);
  tally.tries = std::max(tally.tries, tries);
  if (defect.empty() && rig.code_of(action, 0) != "") defect = "it cannot be done again";
  if (!defect.empty()) {
    ++tally.failures;
    ADD_FAILURE() << drive_action_name(action) << ", call " << n << ": " << defect;
  }
  return true;
}

void run_all(DriveAction action) {
  constexpr std::pair<FaultMoment, std::string_view> kMoments[] = {
      {FaultMoment::before_effect, "call fails"},
      {FaultMoment::after_effect, "answer lost"},
      {FaultMoment::crash_before, "crash before"},
      {FaultMoment::crash_after, "crash after"}};
  for (const auto& [moment, name] : kMoments) {
    Tally tally;
    std::size_t n = 1;
    while (n < kPointsMax && try_point(action, moment, n, tally)) ++n;
    fmt::print("{:<10} {:<13} points {:>3}  failures {}  most tries spent {}\n",
               drive_action_name(action), name, tally.points, tally.failures, tally.tries);
    EXPECT_GT(tally.points, 5u);
    EXPECT_LT(n, kPointsMax);
  }
}

TEST(DriveCrashTest, AProvisioningMayEndAnywhere) { run_all(DriveAction::provision); }
TEST(DriveCrashTest, ARotationMayEndAnywhere) { run_all(DriveAction::rotate); }
TEST(DriveCrashTest, ARevertMayEndAnywhere) { run_all(DriveAction::revert); }

}  // namespace
}  // namespace keyward::engine
