#include "sed/transport/emulated/emulated_drive_bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <future>

namespace keyward::sed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

class EmulatedDriveBusTest : public ::testing::Test {
 protected:
  EmulatedDriveBusTest() {
    std::string name = ::testing::TempDir() + "keyward-bus-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~EmulatedDriveBusTest() override { fs::remove_all(directory_); }

  std::shared_ptr<EmulatedDrive> make(const std::string& name) {
    EmulatedDriveOptions options;
    options.backing_file = directory_ / name;
    options.sectors = 4096;
    options.data_store_bytes = options.shadow_mbr_bytes = 1u << 16;
    options.identity.serial = name.substr(0, name.find('.'));
    return EmulatedDrive::open(options).value();
  }

  std::string path(const std::string& name) const { return directory_ / name; }

  static std::vector<std::string> nodes(EmulatedDriveBus& bus) {
    std::vector<std::string> all;
    const auto addresses = bus.list().value();
    for (const DriveAddress& address : addresses) all.push_back(address.node);
    return all;
  }

  static ErrorCode code_of(const auto& result) {
    return result ? ErrorCode::io : result.error().code;
  }

  fs::path directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  VirtualClock virtual_clock_{UtcTime{}};
};

// What the watcher was told, in order.
class Told {
 public:
  DriveBus::Watcher watcher() {
    return [this](const DriveAddress& address, DriveChange change) {
      const std::lock_guard lock(mutex_);
      all_.push_back((change == DriveChange::added ? "+" : "-") + address.node);
      came_.notify_all();
    };
  }
  std::vector<std::string> wait(std::size_t count) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, std::chrono::seconds{10}, [&] { return all_.size() >= count; });
    return all_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> all_;
};

TEST_F(EmulatedDriveBusTest, TheDirectorysDrivesAreItsFinishedFiles) {
  fs::create_directory(directory_ / "hba1");
  make("a.drive");
  make("hba1/b.drive");
  make("other.file");
  std::ofstream(directory_ / "half-made.drive").put('x');
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  EXPECT_THAT(bus->list().value(), ElementsAre(DriveAddress{path("a.drive"), "emulated", ""},
                                               DriveAddress{path("hba1/b.drive"), "hba1", ""}));
  EXPECT_EQ(bus->open({path("a.drive"), "", ""}).value()->identity().serial, "a");
  EXPECT_EQ(code_of(bus->open({path("half-made.drive"), "", ""})), ErrorCode::unavailable);
}

TEST_F(EmulatedDriveBusTest, ADirectoryThatIsNotThereIsAnError) {
  const auto bus = EmulatedDriveBus::scan(directory_ / "none", *clock_);
  EXPECT_EQ(code_of(bus), ErrorCode::not_found);
  auto taken_away = EmulatedDriveBus::scan(directory_, *clock_).value();
  fs::remove_all(directory_);
  EXPECT_EQ(code_of(taken_away->list()), ErrorCode::not_found);
}

TEST_F(EmulatedDriveBusTest, OneSpeaksAtATime) {
  make("a.drive");
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  const DriveAddress address = bus->list().value().front();
  auto first = bus->open(address).value();
  EXPECT_EQ(code_of(bus->open(address)), ErrorCode::busy);
  first.reset();
  EXPECT_TRUE(bus->open(address));
}

TEST_F(EmulatedDriveBusTest, ADriveOfAnotherBusIsBusyAsLongAsItIsPoweredOnThere) {
  make("a.drive");
  auto daemon = EmulatedDriveBus::scan(directory_, *clock_).value();
  auto direct = EmulatedDriveBus::scan(directory_, *clock_).value();
  const DriveAddress address = daemon->list().value().front();
  ASSERT_TRUE(daemon->open(address));
  EXPECT_EQ(code_of(direct->open(address)), ErrorCode::busy);
  EXPECT_EQ(code_of(direct->open(address)), ErrorCode::busy);  // Not because of the first try.
  daemon.reset();
  EXPECT_TRUE(direct->open(address));
}

TEST_F(EmulatedDriveBusTest, ADriveStaysPoweredOnBetweenTwoOpens) {
  make("a.drive");
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  const DriveAddress address = bus->list().value().front();
  Bytes answer(512);
  ASSERT_TRUE(bus->open(address).value()->receive(Protocol::tcg, 1, answer));
  ASSERT_TRUE(bus->open(address).value()->receive(Protocol::tcg, 1, answer));
  EXPECT_EQ(bus->drive(address.node).value()->commands(), 2u);
}

TEST_F(EmulatedDriveBusTest, ARemovedDriveAnswersNothingMore) {
  auto drive = make("a.drive");
  EmulatedDriveBus bus(*clock_);
  const DriveAddress address{"/dev/sda", "hba0", "it carries /"};
  bus.add(address, drive);
  EXPECT_THAT(bus.list().value(), ElementsAre(address));
  auto transport = bus.open(address).value();
  Bytes buffer(512);
  ASSERT_TRUE(transport->blocks()->write(0, buffer));
  ASSERT_TRUE(bus.remove("/dev/sda"));
  EXPECT_FALSE(bus.remove("/dev/sda"));
  EXPECT_THAT(bus.list().value(), IsEmpty());
  EXPECT_EQ(code_of(bus.open(address)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->send(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->identify(IdentifyPage::ata_device)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->blocks()->read(0, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->blocks()->write(0, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(code_of(transport->blocks()->reread_partitions()), ErrorCode::unavailable);
  EXPECT_EQ(transport->identity().serial, "a");
  EXPECT_EQ(drive->commands(), 1u);

  // Plugged in somewhere else: the old transport does not reach it.
  bus.add({"/dev/sdb", "hba0", ""}, drive);
  EXPECT_TRUE(bus.open({"/dev/sdb", "", ""}).value()->receive(Protocol::tcg, 1, buffer));
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
}

TEST_F(EmulatedDriveBusTest, ADriveThatIsPulledOutDuringACommandDoesNotAnswerIt) {
  auto drive = make("a.drive");
  drive->set_faults({.delay = std::chrono::milliseconds{200}});
  EmulatedDriveBus bus(*clock_);
  bus.add({"/dev/sda", "hba0", ""}, drive);
  auto transport = bus.open({"/dev/sda", "", ""}).value();
  auto answer = std::async(std::launch::async, [&] {
    Bytes buffer(512);
    return transport->receive(Protocol::tcg, 1, buffer);
  });
  bus.remove("/dev/sda");
  EXPECT_EQ(code_of(answer.get()), ErrorCode::unavailable);
}

TEST_F(EmulatedDriveBusTest, TheWatcherHearsOfEachChangeInOrder) {
  Told told;
  EmulatedDriveBus bus(virtual_clock_);
  auto drive = make("a.drive");
  bus.add({"/dev/sda", "hba0", ""}, drive);
  bus.watch(told.watcher());
  bus.remove("/dev/sda");
  bus.add({"/dev/sdb", "hba0", ""}, drive);
  EXPECT_THAT(told.wait(2), ElementsAre("-/dev/sda", "+/dev/sdb"));
}

TEST_F(EmulatedDriveBusTest, ADirectorysChangesAreSeenAtTheNextLook) {
  make("a.drive");
  auto bus = EmulatedDriveBus::scan(directory_, virtual_clock_).value();
  Told told;
  bus->watch(told.watcher());
  ASSERT_TRUE(virtual_clock_.await_waiters(1));
  make("b.drive");
  fs::remove(directory_ / "a.drive");
  virtual_clock_.advance(std::chrono::seconds{1});
  EXPECT_THAT(told.wait(2), ElementsAre("-" + path("a.drive"), "+" + path("b.drive")));
}

TEST_F(EmulatedDriveBusTest, AFileThatWasReplacedIsAnotherDrive) {
  make("a.drive");
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  Told told;
  bus->watch(told.watcher());
  const DriveAddress address = bus->list().value().front();
  auto transport = bus->open(address).value();
  make("b.drive");
  fs::rename(directory_ / "b.drive.state", directory_ / "a.drive.state");
  fs::rename(directory_ / "b.drive", directory_ / "a.drive");
  ASSERT_TRUE(bus->list());
  Bytes buffer(512);
  EXPECT_EQ(code_of(transport->receive(Protocol::tcg, 1, buffer)), ErrorCode::unavailable);
  EXPECT_EQ(bus->open(address).value()->identity().serial, "b");
  EXPECT_THAT(told.wait(2), ElementsAre("-" + path("a.drive"), "+" + path("a.drive")));
}

TEST_F(EmulatedDriveBusTest, TransportsOutliveTheBus) {
  make("a.drive");
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  auto transport = bus->open(bus->list().value().front()).value();
  bus.reset();
  Bytes buffer(512);
  EXPECT_TRUE(transport->receive(Protocol::tcg, 1, buffer));
}

TEST_F(EmulatedDriveBusTest, ADamagedStateIsAnErrorOfThatDriveAlone) {
  make("a.drive");
  make("b.drive");
  std::ofstream(directory_ / "a.drive.state") << "damaged";
  auto bus = EmulatedDriveBus::scan(directory_, *clock_).value();
  EXPECT_THAT(nodes(*bus), ElementsAre(path("a.drive"), path("b.drive")));
  EXPECT_EQ(code_of(bus->open({path("a.drive"), "", ""})), ErrorCode::corrupt);
  EXPECT_TRUE(bus->open({path("b.drive"), "", ""}));
}

}  // namespace
}  // namespace keyward::sed
