// The fleet on strict emulated drives that take their time for every command: how long it takes to
// unlock many, and what a dead, a slow, a locked-out and a vanished drive do to the others. Prints
// the figures.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "engine/drives/fleet_rig_fixture.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/transport/emulated/emulated_drive_bus.h"

namespace keyward::engine {
namespace {

using sed::BusStatus;
using sed::EmulatedDrive;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::Each;
using ::testing::Field;
using ::testing::SizeIs;

constexpr milliseconds kCommand{25};
const auto kDone = Field("code", &api::DriveResult::code, "");

std::string node_of(std::size_t i) { return fmt::format("/dev/emulated{}", i); }

// A machine with eight drives on each controller.
class EmulatedFleet final {
 public:
  explicit EmulatedFleet(std::size_t drives) {
    std::string name = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
    name += "/keyward-fleet-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    rig_.keyring().create_domain(FleetRig::domain(), FleetRig::caller()).value();
    for (std::size_t i = 0; i < drives; ++i) plug_in(i, make_drive(i));
    ledger_ = std::make_unique<sed::FileTryLedger>(rig_.state().string());
    start();
  }
  ~EmulatedFleet() {
    fleet_.reset();
    bus_.reset();
    drives_.clear();
    std::filesystem::remove_all(directory_);
  }

  // As after the end of the process.
  void restart() {
    fleet_.reset();
    rig_.restart();
    start();
  }

  std::vector<api::DriveResult> run(DriveAction action, std::vector<std::string> names = {}) {
    auto done = fleet_->run({action, std::move(names)}, FleetRig::caller(), {});
    if (done) return *std::move(done);
    ADD_FAILURE() << done.error().message;
    return {};
  }
  std::vector<api::DriveResult> recover() { return fleet_->recover({}, std::chrono::seconds{10}); }

  std::size_t size() const { return drives_.size(); }
  EmulatedDrive& drive(std::size_t i) { return *drives_[i]; }
  std::shared_ptr<EmulatedDrive> shared(std::size_t i) const { return drives_[i]; }
  sed::EmulatedDriveBus& bus() { return *bus_; }
  DriveFleet& fleet() { return *fleet_; }

  void set_delay(milliseconds delay) {
    sed::EmulatorFaults faults;
    faults.delay = delay;
    for (const auto& drive : drives_) drive->set_faults(faults);
  }
  void power_cycle() {
    for (const auto& drive : drives_) drive->power_cycle();
  }
  std::uint64_t most_commands_since(const std::vector<std::uint64_t>& before) const {
    std::uint64_t most = 0;
    for (std::size_t i = 0; i < drives_.size(); ++i)
      most = std::max(most, drives_[i]->commands() - before[i]);
    return most;
  }
  std::vector<std::uint64_t> commands() const {
    std::vector<std::uint64_t> all;
    for (const auto& drive : drives_) all.push_back(drive->commands());
    return all;
  }
  bool is_unlocked(std::size_t i) {
    Bytes sector(512);
    return drives_[i]->read(0, sector) == BusStatus::good;
  }
  std::shared_ptr<EmulatedDrive> make_drive(std::size_t i) {
    sed::EmulatedDriveOptions options;
    options.identity.wwn = fmt::format("5000c500{:08x}", i);
    options.identity.serial = fmt::format("FLEET{}", i);
    options.backing_file = directory_ / fmt::format("{}.drive", i);
    options.sectors = 4096;
    options.ranges = 2;
    options.shadow_mbr_bytes = 1u << 20;
    options.data_store_bytes = 64u << 10;
    return EmulatedDrive::open(options).value();
  }
  void plug_in(std::size_t i, std::shared_ptr<EmulatedDrive> drive) {
    bus_->add({.node = node_of(i), .controller = fmt::format("hba{}", i / 8), .in_use = ""}, drive);
    if (i == drives_.size()) drives_.emplace_back();
    drives_[i] = std::move(drive);
  }

 private:
  void start() {
    DriveFleet::Settings settings;
    settings.node = node_;
    fleet_ =
        std::make_unique<DriveFleet>(DriveFleet::Parts{*bus_, rig_.keyring(), rig_.events(),
                                                       rig_.backend().control(), *ledger_, *clock_},
                                     settings);
  }

  std::filesystem::path directory_;
  const NodeId node_ = NodeId::random();
  std::unique_ptr<Clock> clock_ = real_clock();
  EngineRig rig_;
  std::vector<std::shared_ptr<EmulatedDrive>> drives_;
  std::unique_ptr<sed::EmulatedDriveBus> bus_ = std::make_unique<sed::EmulatedDriveBus>(*clock_);
  std::unique_ptr<sed::FileTryLedger> ledger_;
  std::unique_ptr<DriveFleet> fleet_;
};

struct Figures {
  milliseconds wall{};
  std::uint64_t slowest_ms = 0;
  std::uint64_t commands = 0;

  double ratio() const {
    return static_cast<double>(wall.count()) /
           static_cast<double>(std::max<std::uint64_t>(slowest_ms, 1));
  }
};

template <typename Act>
Figures measure(EmulatedFleet& fleet, const char* what, Act&& act) {
  // By then the workers have let go of their drives.
  std::this_thread::sleep_for(milliseconds{500});
  fleet.power_cycle();
  const auto before = fleet.commands();
  const auto begun = steady_clock::now();
  const std::vector<api::DriveResult> results = act();
  Figures figures;
  figures.wall = std::chrono::ceil<milliseconds>(steady_clock::now() - begun);
  figures.commands = fleet.most_commands_since(before);
  EXPECT_THAT(results, AllOf(SizeIs(fleet.size()), Each(kDone)));
  for (const api::DriveResult& result : results)
    figures.slowest_ms = std::max(figures.slowest_ms, result.milliseconds);
  for (std::size_t i = 0; i < fleet.size(); ++i) EXPECT_TRUE(fleet.is_unlocked(i));
  std::printf(
      "fleet  %-7s %3zu drives, 25 ms a command: %5lld ms, the slowest drive's own %5llu ms, "
      "ratio %.2f, at most %llu commands a drive\n",
      what, fleet.size(), static_cast<long long>(figures.wall.count()),
      static_cast<unsigned long long>(figures.slowest_ms), figures.ratio(),
      static_cast<unsigned long long>(figures.commands));
  return figures;
}

class EmulatedFleetTest : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EmulatedFleetTest, ManyAreUnlockedInTheTimeOfOne) {
  EmulatedFleet fleet(GetParam());
  EXPECT_THAT(fleet.run(DriveAction::provision), AllOf(SizeIs(GetParam()), Each(kDone)));
  fleet.set_delay(kCommand);
  const Figures unlock = measure(fleet, "unlock", [&] { return fleet.run(DriveAction::unlock); });
  // StartSession, Set and the session's end, and the answer to each.
  EXPECT_LE(unlock.commands, 6u);
  fleet.set_delay(milliseconds{0});
  fleet.restart();
  fleet.set_delay(kCommand);
  const Figures start = measure(fleet, "start", [&] { return fleet.recover(); });
  if (GetParam() > 24) return;  // More than two cores' worth of work for the emulated drives.
  EXPECT_LE(unlock.ratio(), 1.2);
  // Looking whose the drives are comes first, which is a task of its own.
  EXPECT_LE(start.commands, 14u);
  EXPECT_LE(start.wall, start.commands * kCommand * 6 / 5);
}

INSTANTIATE_TEST_SUITE_P(Sizes, EmulatedFleetTest, ::testing::Values(1, 24, 60, 240));

// Dead, slow and locked out: each ends as it must, and the others are ready as soon as ever.
TEST(EmulatedFleetFaults, DrivesInTroubleHoldUpNobody) {
  constexpr std::size_t kDrives = 25;
  EmulatedFleet fleet(kDrives);
  EXPECT_THAT(fleet.run(DriveAction::provision), AllOf(SizeIs(kDrives), Each(kDone)));
  fleet.set_delay(kCommand);
  const Figures alone = measure(fleet, "healthy", [&] { return fleet.run(DriveAction::unlock); });
  EXPECT_THAT(fleet.run(DriveAction::lock), AllOf(SizeIs(kDrives), Each(kDone)));
  fleet.drive(0).set_faults({.dead = true, .delay = kCommand});
  fleet.drive(1).set_faults({.delay = 20 * kCommand});
  fleet.drive(2).set_faults({.delay = kCommand, .locked_out = true});
  const auto begun = steady_clock::now();
  std::jthread order([&] {
    const auto results = fleet.run(DriveAction::unlock);
    ASSERT_THAT(results, SizeIs(kDrives));
    for (const api::DriveResult& result : results) {
      if (result.serial == "FLEET0")
        EXPECT_NE(result.code, "");
      else
        EXPECT_EQ(result.code, result.serial == "FLEET2" ? "locked_out" : "") << result.error;
    }
  });
  const auto ready = [&] {
    const auto rows = fleet.fleet().list();
    return std::ranges::count_if(rows, [](const api::DriveRow& row) {
             return row.access == api::DriveAccess::unlocked && row.error.empty() &&
                    row.serial != "FLEET1";
           }) == static_cast<long>(kDrives - 3);
  };
  while (!ready() && steady_clock::now() < begun + std::chrono::seconds{20})
    std::this_thread::sleep_for(milliseconds{2});
  const auto healthy = std::chrono::ceil<milliseconds>(steady_clock::now() - begun);
  order.join();
  const auto all = std::chrono::ceil<milliseconds>(steady_clock::now() - begun);
  std::printf(
      "fleet  22 healthy drives beside a dead, a slow and a locked-out one: %lld ms "
      "(without those: %lld ms); all 25: %lld ms\n",
      static_cast<long long>(healthy.count()), static_cast<long long>(alone.wall.count()),
      static_cast<long long>(all.count()));
  EXPECT_LT(healthy, 2 * alone.wall);
  for (std::size_t i = 3; i < kDrives; ++i) EXPECT_TRUE(fleet.is_unlocked(i));
}

TEST(EmulatedFleetFaults, ADriveThatIsPulledOutMidUnlockFailsAloneAndOpensWhenItIsBack) {
  EmulatedFleet fleet(4);
  EXPECT_THAT(fleet.run(DriveAction::provision), AllOf(SizeIs(4), Each(kDone)));
  fleet.power_cycle();
  fleet.set_delay(4 * kCommand);
  std::jthread hand([&] {
    std::this_thread::sleep_for(6 * kCommand);
    EXPECT_TRUE(fleet.bus().remove(node_of(1)));
  });
  for (const api::DriveResult& result : fleet.run(DriveAction::unlock))
    EXPECT_EQ(result.code, result.serial == "FLEET1" ? "unavailable" : "") << result.error;
  hand.join();
  fleet.set_delay(milliseconds{0});
  fleet.plug_in(1, fleet.shared(1));
  EXPECT_THAT(fleet.run(DriveAction::unlock), AllOf(SizeIs(4), Each(kDone)));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(fleet.is_unlocked(i));
}

// Another drive in the same slot gets nothing of what was the first one's.
TEST(EmulatedFleetFaults, ADriveThatIsSwappedForAnotherIsNotSentThatOnesPin) {
  EmulatedFleet fleet(1);
  EXPECT_THAT(fleet.run(DriveAction::provision), AllOf(SizeIs(1), Each(kDone)));
  const auto other = fleet.make_drive(7);
  EXPECT_TRUE(fleet.bus().remove(node_of(0)));
  fleet.bus().add({.node = node_of(0), .controller = "hba0", .in_use = ""}, other);
  const std::uint64_t before = other->commands();
  fleet.run(DriveAction::unlock, {"FLEET0"});
  EXPECT_THAT(fleet.run(DriveAction::unlock), SizeIs(0));
  EXPECT_GT(other->commands(), before);
  EXPECT_EQ(fleet.fleet().find("FLEET7").value().owner, api::DriveOwner::nobody);
  EXPECT_EQ(fleet.fleet().find("FLEET0").value().node, "");
}

// With one slot for all, whoever is asked first may wait for the slot of one that hangs.
TEST(DriveFleetLimitsTest, WhoeverHangsGivesItsSlotBackAlthoughNobodyWaitsForItYet) {
  for (int hanging = 0; hanging < 3; ++hanging) {
    FleetRig rig(3);
    rig.settings().per_controller = 1;
    rig.settings().per_drive = std::chrono::seconds{1};
    rig.begin();
    EXPECT_THAT(rig.run(DriveAction::provision), AllOf(SizeIs(3), Each(kDone)));
    FakeDriveState& drive = rig.drive(static_cast<std::size_t>(hanging));
    drive.set_hanging(true);
    for (int round = 0; round < 3; ++round) {
      for (const api::DriveResult& result : rig.run(DriveAction::unlock))
        EXPECT_EQ(result.code, result.serial == drive.identity().serial ? "timeout" : "");
    }
    drive.set_hanging(false);
  }
}

}  // namespace
}  // namespace keyward::engine
