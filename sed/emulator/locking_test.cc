// What locks do to sectors, what lies in the file, and what survives which reset.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

class LockingTest : public DriveTest {
 protected:
  Bytes file_at(std::uint64_t sector) {
    std::ifstream file(options_.backing_file, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(sector * options_.sector_bytes));
    Bytes raw(options_.sector_bytes);
    file.read(reinterpret_cast<char*>(raw.data()), static_cast<std::streamsize>(raw.size()));
    return raw;
  }
  void lock_range1() {
    ASSERT_EQ(admin_sets(kRange1,
                         nam(3, num(1024)) + nam(4, num(1024)) + nam(5, num(1)) + nam(6, num(1))),
              kSuccess);
  }
  int start_sid(WireHost& h) {
    return h.start(kAdminSp, {.authority = kSid, .pin = "owner"}).status;
  }
};

TEST_F(LockingTest, SectorsLieEncryptedInTheFile) {
  ASSERT_EQ(write(5, 'A'), BusStatus::good);
  ASSERT_EQ(write(6, 'A'), BusStatus::good);
  const Bytes raw = file_at(5);
  EXPECT_EQ(std::ranges::search(raw, Bytes(8, std::byte{'A'})).size(), 0u);
  EXPECT_NE(raw, file_at(6));  // Each sector has its own tweak.
  EXPECT_EQ(read(5), sectors('A'));
  EXPECT_EQ(read(7), sectors(0));  // Never written.
  EXPECT_EQ(read(65535).size(), 512u);
  EXPECT_TRUE(read(65536).empty());
  EXPECT_EQ(status_, BusStatus::out_of_range);
  EXPECT_TRUE(read(65535, 2).empty());
}

TEST_F(LockingTest, LocksActOnlyWhereTheyAreEnabledAndEachForItself) {
  take_ownership();
  lock_range1();
  write(1500, 'A');
  ASSERT_EQ(admin_sets(kRange1, nam(8, num(1))), kSuccess);
  EXPECT_EQ(read(1500), sectors('A'));
  EXPECT_EQ(write(1500, 'B'), BusStatus::locked);
  ASSERT_EQ(admin_sets(kRange1, nam(7, num(1)) + nam(8, num(0))), kSuccess);
  EXPECT_TRUE(read(1500).empty());
  EXPECT_EQ(status_, BusStatus::locked);
  EXPECT_EQ(write(1500, 'B'), BusStatus::good);
  ASSERT_EQ(admin_sets(kRange1, nam(5, num(0))), kSuccess);
  EXPECT_EQ(read(1500), sectors('B'));
}

TEST_F(LockingTest, AnAccessThatTouchesALockedRangeIsRefusedWhole) {
  take_ownership();
  lock_range1();
  ASSERT_EQ(admin_sets(kRange1, nam(7, num(1)) + nam(8, num(1))), kSuccess);
  EXPECT_EQ(write(1023, 'A', 2), BusStatus::locked);
  EXPECT_EQ(read(1023), sectors(0));
  EXPECT_TRUE(read(2047, 2).empty());
  EXPECT_EQ(read(2048), sectors(0));
}

TEST_F(LockingTest, ARangesSpanningAccessUsesEachRangesKey) {
  take_ownership();
  lock_range1();
  ASSERT_EQ(write(1020, 'A', 8), BusStatus::good);
  EXPECT_EQ(read(1020, 8), sectors('A', 8));
  WireHost h = host();
  start_admin1(h);
  ASSERT_EQ(h.invoke(kRange1Key, 0x10).status, kSuccess);
  EXPECT_EQ(h.invoke(kRange1Key, 0x10, nam(0, num(1))).status, kInvalidParameter);
  EXPECT_EQ(read(1020, 4), sectors('A', 4));  // The global range's part is as it was.
  EXPECT_NE(read(1024, 4), sectors('A', 4));  // A crypto erase of the other.
  EXPECT_EQ(status_, BusStatus::good);
}

TEST_F(LockingTest, PowerLossLocksAndAWarmResetDoesNot) {
  take_ownership();
  lock_range1();
  write(1500, 'A');
  drive().hardware_reset();
  EXPECT_EQ(read(1500), sectors('A'));
  drive().power_cycle();
  EXPECT_TRUE(read(1500).empty());
  EXPECT_EQ(read(0).size(), 512u);
  ASSERT_EQ(admin_sets(kRange1, nam(7, num(0)) + nam(8, num(0)) + nam(9, lst(num(0) + num(1)))),
            kSuccess);
  EXPECT_EQ(read(1500), sectors('A'));
  drive().hardware_reset();
  EXPECT_TRUE(read(1500).empty());
  ASSERT_EQ(admin_sets(kRange1, nam(7, num(0)) + nam(8, num(0))), kSuccess);
  reopen();  // A new process is a power-on.
  EXPECT_TRUE(read(1500).empty());
}

TEST_F(LockingTest, AProgrammaticResetMustBeSwitchedOnAndLocksWhatAsksForIt) {
  take_ownership();
  lock_range1();
  ASSERT_EQ(admin_sets(kRange1, nam(9, lst(num(0) + num(3)))), kSuccess);
  const Bytes none(512);
  EXPECT_EQ(drive().security_send(2, 0x0004, none), BusStatus::invalid_com_id);
  WireHost h = host();
  ASSERT_EQ(start_sid(h), kSuccess);
  ASSERT_EQ(h.set(kTPerInfo, 8, num(1)).status, kSuccess);
  EXPECT_EQ(drive().security_send(2, 0x0004, none), BusStatus::good);
  EXPECT_TRUE(h.end().empty);  // Its sessions are gone, too.
  EXPECT_TRUE(read(1500).empty());
  drive().power_cycle();
  EXPECT_EQ(drive().security_send(2, 0x0004, none), BusStatus::invalid_com_id);
}

TEST_F(LockingTest, TheShadowMbrIsShownUntilDone) {
  take_ownership();
  write(0, 'D');
  write(4000, 'D');
  WireHost h = host();
  start_admin1(h);
  ASSERT_EQ(h.invoke(kMbr, 0x17, nam(0, num(512)) + nam(1, tok("boot"))).status, kSuccess);
  ASSERT_EQ(h.set(kMbrControl, 1, num(1)).status, kSuccess);
  h.end();
  EXPECT_EQ(read(0), sectors(0));
  EXPECT_EQ(read(1)[3], std::byte{'t'});
  EXPECT_EQ(read(4000), sectors(0));
  EXPECT_EQ(write(0, 'X'), BusStatus::locked);
  EXPECT_EQ(write(4000, 'X'), BusStatus::locked);
  ASSERT_EQ(admin_sets(kMbrControl, nam(2, num(1))), kSuccess);
  EXPECT_EQ(read(0), sectors('D'));
  EXPECT_EQ(read(4000), sectors('D'));
  drive().power_cycle();
  EXPECT_EQ(read(0), sectors(0));
}

TEST_F(LockingTest, ActivateGivesAdmin1TheSidsPinAndIsTheSidsAlone) {
  WireHost h = host();
  h.start(kAdminSp);
  EXPECT_EQ(h.invoke(kLockingSp, 0x203).status, kNotAuthorized);
  h.end();
  take_ownership();
  EXPECT_EQ(start_admin1(h).status, kSuccess);
  h.end();
  ASSERT_EQ(start_sid(h), kSuccess);
  EXPECT_EQ(h.get(kLockingSp, 6, 6).cell(6)->number, 9u);
  ASSERT_EQ(h.set(kPinSid, 3, tok("later")).status, kSuccess);
  EXPECT_EQ(h.invoke(kLockingSp, 0x203).status, kSuccess);  // No effect the second time.
  EXPECT_EQ(h.invoke(kLockingSp, 0x203, nam(0x060002, lst(""))).status, kInvalidParameter);
  h.end();
  EXPECT_EQ(start_admin1(h).status, kSuccess);
}

TEST_F(LockingTest, RevertByThePsidGivesTheFactoryStateBackAndDestroysTheData) {
  take_ownership();
  lock_range1();
  write(0, 'A');
  write(1500, 'A');
  WireHost h = host();
  start_admin1(h);
  h.invoke(kDataStore, 0x17, nam(1, tok("marker")));
  h.end();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kPsid, .pin = "wrong"}).status, kNotAuthorized);
  ASSERT_EQ(h.start(kAdminSp, {.authority = kPsid, .pin = drive().psid()}).status, kSuccess);
  EXPECT_EQ(h.set(kPinSid, 3, tok("x")).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kAdminSp, 0x202).status, kSuccess);
  EXPECT_TRUE(h.end().empty);
  EXPECT_NE(read(0), sectors('A'));
  EXPECT_NE(read(1500), sectors('A'));
  EXPECT_EQ(start_sid(h), kNotAuthorized);
  EXPECT_EQ(h.start(kLockingSp).status, kInvalidParameter);
  take_ownership();
  start_admin1(h);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, lst(nam(1, num(0)) + nam(2, num(5)))).tokens[1].bytes,
            std::string(6, '\0'));
  EXPECT_EQ(h.get(kRange1, 4, 4).cell(4)->number, 0u);
}

TEST_F(LockingTest, RevertOfTheLockingSpAlone) {
  take_ownership();
  write(0, 'A');
  WireHost h = host();
  start_sid(h);
  EXPECT_EQ(h.invoke(kLockingSp, 0x202).status, kSuccess);
  EXPECT_EQ(h.get(kLockingSp, 6, 6).cell(6)->number, 8u);
  h.end();
  EXPECT_NE(read(0), sectors('A'));
  EXPECT_EQ(start_sid(h), kSuccess);  // The Admin SP is as it was.
}

TEST_F(LockingTest, RevertSpKeepsTheGlobalRangesDataUnlessItIsLocked) {
  take_ownership();
  lock_range1();
  write(0, 'A');
  write(1500, 'A');
  const Tokens keep = nam(0x060000, num(1));
  ASSERT_EQ(
      admin_sets(kGlobalRange, nam(5, num(1)) + nam(6, num(1)) + nam(7, num(1)) + nam(8, num(1))),
      kSuccess);
  WireHost h = host();
  start_admin1(h);
  EXPECT_EQ(h.invoke(kThisSp, 0x11, keep).status, kFail);
  EXPECT_EQ(h.invoke(kThisSp, 0x11, nam(0x060001, num(1))).status, kInvalidParameter);
  EXPECT_EQ(h.set(kGlobalRange, 8, num(0)).status, kSuccess);
  EXPECT_EQ(h.invoke(kThisSp, 0x11, keep).status, kSuccess);
  EXPECT_TRUE(h.end().empty);
  EXPECT_EQ(read(0), sectors('A'));
  EXPECT_NE(read(1500), sectors('A'));
  EXPECT_EQ(start_sid(h), kSuccess);  // The Admin SP is as it was.
  EXPECT_EQ(h.get(kLockingSp, 6, 6).cell(6)->number, 8u);
}

TEST_F(LockingTest, BlockSidLastsUntilThePowerOrTheResetThatWasAskedFor) {
  take_ownership();
  WireHost h = host();
  Bytes block(512);
  EXPECT_EQ(drive().security_send(2, 0x0005, block), BusStatus::good);
  EXPECT_EQ(start_sid(h), kNotAuthorized);
  drive().hardware_reset();
  EXPECT_EQ(start_sid(h), kNotAuthorized);
  drive().power_cycle();
  EXPECT_EQ(start_sid(h), kSuccess);
  EXPECT_EQ(h.get(kPinSid, 6, 6).cell(6)->number, 0u);  // It cost no try.
  h.end();
  block[0] = std::byte{1};
  EXPECT_EQ(drive().security_send(2, 0x0005, block), BusStatus::good);
  EXPECT_EQ(start_sid(h), kNotAuthorized);
  drive().hardware_reset();
  EXPECT_EQ(start_sid(h), kSuccess);
}

TEST_F(LockingTest, ADamagedStateFileIsNotTaken) {
  take_ownership();
  drive_.reset();
  const std::string path = options_.backing_file.string() + ".state";
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(100);
  file.put('\x7E');
  file.close();
  EXPECT_EQ(EmulatedDrive::open(options_).error().code, ErrorCode::corrupt);
}

TEST_F(LockingTest, OptionsThatMakeNoSenseAreRefused) {
  const auto refused = [&](auto change) {
    EmulatedDriveOptions options = options_;
    change(options);
    const auto drive = EmulatedDrive::open(options);
    return !drive && drive.error().code == ErrorCode::invalid_argument;
  };
  EXPECT_TRUE(refused([](auto& o) { o.backing_file.clear(); }));
  EXPECT_TRUE(refused([](auto& o) { o.sector_bytes = 520; }));
  EXPECT_TRUE(refused([](auto& o) { o.sectors = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.identity.wwn = "5000c5"; }));
  EXPECT_TRUE(refused([](auto& o) { o.max_com_packet = 512; }));
}

}  // namespace
}  // namespace keyward::sed
