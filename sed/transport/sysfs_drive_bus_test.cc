#include "sed/transport/sysfs_drive_bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "sed/transport/fake_sysfs_fixture.h"
#include "sed/transport/nvme_node_fixture.h"
#include "sed/transport/scsi_node_fixture.h"
#include "sed/transport/system_storage.h"
#include "sed/transport/uevent_socket.h"

namespace keyward::sed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ErrorCode code_of(const auto& result) { return result ? ErrorCode{255} : result.error().code; }

class SysfsDriveBusTest : public ::testing::Test {
 protected:
  SysfsDriveBus bus(std::vector<std::string> directories = {}) {
    return SysfsDriveBus(clock_, {.root = machine_.root(), .directories = std::move(directories)});
  }
  std::vector<DriveAddress> list(std::vector<std::string> directories = {}) {
    return bus(std::move(directories)).list().value();
  }
  std::vector<std::string> nodes() {
    std::vector<std::string> all;
    const auto addresses = list();
    for (const DriveAddress& address : addresses) all.push_back(address.node);
    return all;
  }
  // What the drive at /dev/<name> is needed for.
  std::string use_of(const std::string& name, std::vector<std::string> directories = {}) {
    const auto addresses = list(std::move(directories));
    for (const DriveAddress& address : addresses)
      if (address.node == "/dev/" + name) return address.in_use;
    return "there is no such drive";
  }

  FakeSysfs machine_;
  VirtualClock clock_{UtcTime{}};
};

TEST_F(SysfsDriveBusTest, SixtyDisksAreSixty) {
  std::vector<std::string> wanted;
  for (int n = 0; n < 60; ++n) {
    std::string name(1, static_cast<char>('a' + n % 26));
    if (n >= 26) name.insert(0, 1, static_cast<char>('a' + n / 26 - 1));
    machine_.scsi("sd" + name, fmt::format("{}:{}", 8 + n / 16, n % 16 * 16),
                  n < 30 ? "0000:3b:00.0" : "0000:af:00.0");
    wanted.push_back("/dev/sd" + name);
  }
  EXPECT_EQ(nodes(), wanted);  // sdz comes before sdaa.
  EXPECT_EQ(wanted.back(), "/dev/sdbh");
  const auto addresses = list();
  EXPECT_EQ(addresses[29].controller, "0000:3b:00.0");
  EXPECT_EQ(addresses[30].controller, "0000:af:00.0");
}

TEST_F(SysfsDriveBusTest, OnlyDrivesWithSecurityCommandsCount) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").partition("sda", 1, "8:1");
  machine_.scsi("sdb", "8:16", "").scsi("sr0", "11:0", "0000:00:17.0");
  machine_.write(machine_.where("sdb") + "/../../type", "5\n");
  machine_.stacked("dm-0", "253:0", {"sda1"}).stacked("md127", "9:127", {"sda1"});
  machine_.loop("loop0", "7:0", "/image");
  EXPECT_THAT(nodes(), ElementsAre("/dev/sda"));
}

TEST_F(SysfsDriveBusTest, AnNvmeDriveWithSeveralPathsIsThereOnce) {
  machine_.nvme_multipath("nvme-subsys0", "nvme0n1", "259:0", {"0000:17:00.0", "0000:98:00.0"},
                          "nqn.2014-08.org:1");
  machine_.scsi("sda", "8:0", "0000:00:17.0");
  EXPECT_THAT(list(), ElementsAre(DriveAddress{"/dev/sda", "0000:00:17.0", ""},
                                  DriveAddress{"/dev/nvme0n1", "0000:17:00.0", ""}));
}

TEST_F(SysfsDriveBusTest, SeveralNamespacesAreOneDriveAndInUseTogether) {
  machine_.nvme("nvme0", "nvme0n2", "259:1", "0000:17:00.0", "nqn.a");
  machine_.nvme("nvme0", "nvme0n1", "259:0", "0000:17:00.0", "nqn.a");
  machine_.nvme("nvme10", "nvme10n1", "259:4", "0000:19:00.0", "nqn.c");
  machine_.nvme("nvme1", "nvme1n1", "259:2", "0000:18:00.0", "nqn.b");
  machine_.mount("259:1", "/", "xfs", "/dev/nvme0n2");
  EXPECT_THAT(list(), ElementsAre(DriveAddress{"/dev/nvme0n1", "0000:17:00.0",
                                               "it carries / (as /dev/nvme0n2)"},
                                  DriveAddress{"/dev/nvme1n1", "0000:18:00.0", ""},
                                  DriveAddress{"/dev/nvme10n1", "0000:19:00.0", ""}));
}

TEST_F(SysfsDriveBusTest, ASasDriveWithTwoPortsIsThereOnce) {
  machine_.scsi("sda", "8:0", "0000:3b:00.0", "naa.5000c500a0000001");
  machine_.scsi("sdb", "8:16", "0000:3b:00.0", "naa.5000c500a0000002");
  machine_.scsi("sdc", "8:32", "0000:af:00.0", "naa.5000c500a0000001");
  EXPECT_THAT(nodes(), ElementsAre("/dev/sda", "/dev/sdb"));
  // A USB bridge with one name for all: the serial tells them apart. So does no name at all.
  machine_.write(machine_.where("sdc") + "/../../vpd_pg80", std::string("\0\x80\0\1X", 5));
  EXPECT_THAT(nodes(), ElementsAre("/dev/sda", "/dev/sdb", "/dev/sdc"));
  machine_.scsi("sdd", "8:48", "", "t10.ATA     SAME");
  machine_.scsi("sde", "8:64", "", "t10.ATA     SAME");
  EXPECT_EQ(nodes().size(), 5u);
}

TEST_F(SysfsDriveBusTest, AControllerIsNamedByItsPciFunctionOrItsHost) {
  machine_.scsi("sda", "8:0", "0000:00:01.1/10000:e1:00.0").scsi("sdb", "8:16", "");
  const auto addresses = list();
  EXPECT_EQ(addresses[0].controller, "10000:e1:00.0");
  EXPECT_EQ(addresses[1].controller, "host1");
}

TEST_F(SysfsDriveBusTest, ADriveWithoutUseIsFree) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").partition("sda", 1, "8:1");
  machine_.scsi("sdb", "8:16", "0000:00:17.0").partition("sdb", 1, "8:17");
  machine_.mount("8:1", "/", "ext4", "/dev/sda1").mount("8:17", "/srv", "ext4", "/dev/sdb1");
  EXPECT_EQ(use_of("sda"), "it carries /");
  EXPECT_EQ(use_of("sdb"), "");
}

TEST_F(SysfsDriveBusTest, EncryptionOnARaidOnPartitionsIsFollowedDownToTheDisks) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").partition("sda", 1, "8:1").partition("sda", 2, "8:2");
  machine_.scsi("sdb", "8:16", "0000:00:17.0").partition("sdb", 2, "8:18");
  machine_.scsi("sdc", "8:32", "0000:00:17.0").partition("sdc", 1, "8:33");
  machine_.stacked("md127", "9:127", {"sda2", "sdb2"}).stacked("dm-0", "253:0", {"md127"});
  machine_.stacked("dm-1", "253:1", {"dm-0"}).stacked("dm-2", "253:2", {"dm-0"});
  machine_.mount("253:1", "/", "ext4", "/dev/mapper/root")
      .mount("8:1", "/boot", "ext4", "/dev/sda1");
  machine_.link("dev/mapper/swap", "dev/dm-2").swap("/dev/mapper/swap");
  EXPECT_EQ(use_of("sda"), "it carries /, /boot and swap");
  EXPECT_EQ(use_of("sdb"), "it carries / and swap");
  EXPECT_EQ(use_of("sdc"), "");
}

TEST_F(SysfsDriveBusTest, TheCallersDirectoriesAreInUseWhereverTheyLie) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  machine_.scsi("sdc", "8:32", "0000:00:17.0");
  machine_.mount("8:0", "/", "ext4", "/dev/sda").mount("8:16", "/srv", "ext4", "/dev/sdb");
  machine_.mount("8:32", "/srv/tokens", "ext4", "/dev/sdc");
  std::filesystem::create_directories(machine_.root() / "srv/tokens");
  machine_.link("tokens", "srv/tokens");
  EXPECT_EQ(use_of("sdb", {"/srv/keyward/not-made-yet"}), "it carries /srv/keyward/not-made-yet");
  EXPECT_EQ(use_of("sdc", {"/srv/keyward"}), "");
  EXPECT_EQ(use_of("sdc", {"/tokens/a"}), "it carries /tokens/a");  // Through a link.
  EXPECT_EQ(use_of("sdb", {"/srvother"}), "");
  EXPECT_EQ(use_of("sda", {"/srvother"}), "it carries / and /srvother");
}

TEST_F(SysfsDriveBusTest, ASwapFileIsOnItsFileSystemsDrive) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  machine_.mount("8:0", "/", "ext4", "/dev/sda")
      .mount("8:16", "/with\\040blank", "ext4", "/dev/sdb");
  machine_.swap("/with\\040blank/swapfile");
  EXPECT_EQ(use_of("sdb"), "it carries swap");
}

TEST_F(SysfsDriveBusTest, ALoopIsOnTheDriveOfItsFile) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  machine_.mount("8:0", "/", "ext4", "/dev/sda").mount("8:16", "/srv", "ext4", "/dev/sdb");
  machine_.loop("loop3", "7:3", "/srv/image").mount("7:3", "/state", "ext4", "/dev/loop3");
  EXPECT_EQ(use_of("sdb", {"/state/keyward"}), "it carries /state/keyward");
  // One that lies in itself is no reason to search for ever.
  machine_.loop("loop4", "7:4", "/odd/image").mount("7:4", "/odd", "ext4", "/dev/loop4");
  EXPECT_EQ(use_of("sdb", {"/odd"}), "");
}

TEST_F(SysfsDriveBusTest, AllDevicesOfABtrfsAreInUse) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  machine_.scsi("sdc", "8:32", "0000:00:17.0");
  machine_.link("sys/fs/btrfs/uuid/devices/sda", machine_.where("sda"));
  machine_.link("sys/fs/btrfs/uuid/devices/sdb", machine_.where("sdb"));
  machine_.mount("0:30", "/", "btrfs", "/dev/sda");  // Its numbers are its own.
  EXPECT_EQ(use_of("sda"), "it carries /");
  EXPECT_EQ(use_of("sdb"), "it carries /");
  EXPECT_EQ(use_of("sdc"), "");
}

TEST_F(SysfsDriveBusTest, TheLastMountAtAPointCounts) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  machine_.mount("8:0", "/", "ext4", "/dev/sda").mount("8:16", "/", "ext4", "/dev/sdb");
  EXPECT_EQ(use_of("sdb"), "it carries /");
  EXPECT_EQ(use_of("sda"), "");
}

TEST_F(SysfsDriveBusTest, WhereItCannotBeToldEveryDriveCountsAsInUse) {
  machine_.scsi("sda", "8:0", "0000:00:17.0");
  machine_.mount("0:40", "/", "zfs", "rpool/ROOT");
  EXPECT_THAT(use_of("sda"), HasSubstr("it may be in use: / is on zfs"));
  machine_.write("proc/self/mountinfo", "").mount("0:40", "/", "tmpfs", "none");
  EXPECT_EQ(use_of("sda"), "");
  machine_.mount("0:41", "/state", "overlay", "overlay");
  EXPECT_EQ(use_of("sda"), "");
  EXPECT_THAT(use_of("sda", {"/state"}), HasSubstr("/state is on overlay"));
  machine_.write("proc/self/mountinfo", "garbage\n");
  EXPECT_THAT(use_of("sda"), HasSubstr("nobody can tell what is mounted"));
}

TEST_F(SysfsDriveBusTest, WithoutSysfsThereIsAnErrorAndNoEmptyList) {
  std::filesystem::remove_all(machine_.root() / "sys");
  EXPECT_EQ(code_of(bus().list()), ErrorCode::io);
}

TEST_F(SysfsDriveBusTest, ALockedNodeIsBusy) {
  machine_.scsi("sda", "8:0", "0000:00:17.0");
  const std::string path = machine_.root() / "dev/sda";
  auto node = DeviceNode::open(path);
  ASSERT_TRUE(node);
  SysfsDriveBus machine = bus();
  EXPECT_EQ(code_of(machine.open({"/dev/sda", "", ""})), ErrorCode::busy);
  node->reset();
  // No drive is behind a plain file.
  EXPECT_EQ(code_of(machine.open({"/dev/sda", "", ""})), ErrorCode::unsupported);
  EXPECT_EQ(code_of(machine.open({"/dev/sdz", "", ""})), ErrorCode::unavailable);
}

TEST_F(SysfsDriveBusTest, AListedDriveOpensAsWhatItIs) {
  machine_.scsi("sda", "8:0", "0000:00:17.0");
  machine_.nvme("nvme0", "nvme0n1", "259:0", "0000:17:00.0", "nqn.a");
  std::vector<std::unique_ptr<EmulatedDrive>> drives;
  std::vector<std::string> opened;
  for (const Bus kind : {Bus::sata, Bus::nvme}) {
    EmulatedDriveOptions options;
    options.backing_file = machine_.root() / fmt::format("{}.drive", static_cast<int>(kind));
    options.bus = kind;
    options.data_store_bytes = options.shadow_mbr_bytes = 4096;
    drives.push_back(EmulatedDrive::open(options).value());
  }
  SysfsDriveBusOptions options{.root = machine_.root()};
  options.open_node = [&](const std::string& path) -> Result<std::unique_ptr<DeviceNode>> {
    opened.push_back(std::filesystem::path(path).filename());
    if (opened.back() == "sda") return std::make_unique<ScsiNode>(*drives[0]);
    return std::make_unique<NvmeNode>(*drives[1]);
  };
  SysfsDriveBus machine(clock_, options);
  const auto addresses = machine.list().value();
  EXPECT_THAT(opened, IsEmpty());
  EXPECT_EQ(drives[0]->commands() + drives[1]->commands(), 0u);
  for (const DriveAddress& address : addresses) {
    auto transport = machine.open(address);
    ASSERT_TRUE(transport) << transport.error().message;
    EXPECT_EQ((*transport)->identity().serial, "KWEMU0000001");
  }
  EXPECT_THAT(opened, ElementsAre("sda", "nvme0n1"));
}

// What the watcher was told.
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

TEST_F(SysfsDriveBusTest, WithoutUeventsChangesAreSeenAtTheNextLook) {
  machine_.scsi("sda", "8:0", "0000:00:17.0").scsi("sdb", "8:16", "0000:00:17.0");
  Told told;
  SysfsDriveBus machine(clock_, {.root = machine_.root(), .hear_uevents = false});
  machine.watch(told.watcher());
  ASSERT_TRUE(clock_.await_waiters(1));
  clock_.advance(std::chrono::seconds{2});
  machine_.remove("sdb").scsi("sdc", "8:32", "0000:00:17.0");
  clock_.advance(std::chrono::seconds{2});
  EXPECT_THAT(told.wait(2), ElementsAre("-/dev/sdb", "+/dev/sdc"));
  // Another drive at the same place, between two looks.
  machine_.remove("sda").scsi("sda", "8:0", "0000:00:17.0");
  clock_.advance(std::chrono::seconds{2});
  EXPECT_THAT(told.wait(4), ElementsAre("-/dev/sdb", "+/dev/sdc", "-/dev/sda", "+/dev/sda"));
}

TEST_F(SysfsDriveBusTest, ALookThatFailsTellsOfNoRemoval) {
  machine_.scsi("sda", "8:0", "0000:00:17.0");
  Told told;
  SysfsDriveBus machine(clock_, {.root = machine_.root(), .hear_uevents = false});
  machine.watch(told.watcher());
  ASSERT_TRUE(clock_.await_waiters(1));
  std::filesystem::rename(machine_.root() / "sys", machine_.root() / "away");
  clock_.advance(std::chrono::seconds{2});
  std::filesystem::rename(machine_.root() / "away", machine_.root() / "sys");
  machine_.scsi("sdb", "8:16", "0000:00:17.0");
  clock_.advance(std::chrono::seconds{2});
  EXPECT_THAT(told.wait(1), ElementsAre("+/dev/sdb"));
}

TEST_F(SysfsDriveBusTest, ABusThatHearsUeventsEnds) {
  Told told;
  SysfsDriveBus machine(clock_, {.root = machine_.root()});
  machine.watch(told.watcher());
}

TEST(UeventTest, OnlyBlockDevicesCount) {
  using namespace std::literals;
  EXPECT_TRUE(
      is_block_uevent(as_bytes("add@/devices/x\0ACTION=add\0SUBSYSTEM=block\0SEQNUM=1\0"sv)));
  EXPECT_TRUE(is_block_uevent(as_bytes("add@/x\0SUBSYSTEM=block"sv)));
  EXPECT_FALSE(is_block_uevent(as_bytes("add@/x\0SUBSYSTEM=blocks\0"sv)));
  EXPECT_FALSE(is_block_uevent(as_bytes("libudev\0\xfe\xed\xca\xfe"sv)));
  EXPECT_FALSE(is_block_uevent({}));
}

TEST(SystemStorageTest, LinesThatMakeNoSenseAreLeftOut) {
  const auto mounts = parse_mountinfo(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n"
      "\n36 35 98:0 / /x rw\n36 35 98:0 / - a b c\n"
      "37 35 0:9 / /a\\040b\\134 rw - tmpfs none rw\n");
  ASSERT_EQ(mounts.size(), 2u);
  EXPECT_EQ(mounts[0].device_number, "98:0");
  EXPECT_EQ(mounts[0].point, "/mnt2");
  EXPECT_EQ(mounts[0].type, "ext3");
  EXPECT_EQ(mounts[0].source, "/dev/root");
  EXPECT_EQ(mounts[1].point, "/a b\\");
  EXPECT_THAT(
      parse_swaps("Filename Type\n/dev/sda2 partition 1 0 -2\n/swap\\040file file 1 0 -3\n"),
      ElementsAre("/dev/sda2", "/swap file"));
}

}  // namespace
}  // namespace keyward::sed
