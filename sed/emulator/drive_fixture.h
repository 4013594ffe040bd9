// A drive in a directory of its own, and the steps that most tests begin with.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "sed/emulator/wire_host_fixture.h"

namespace keyward::sed {

inline constexpr std::uint64_t kAdminSp = 0x0000020500000001, kLockingSp = 0x0000020500000002,
                               kThisSp = 1, kSid = 0x0000000900000006, kPsid = 0x000000090001FF01,
                               kAdmin1 = 0x0000000900010001, kUser1 = 0x0000000900030001,
                               kPinSid = 0x0000000B00000001, kPinMsid = 0x0000000B00008402,
                               kPinAdmin1 = 0x0000000B00010001, kPinUser1 = 0x0000000B00030001,
                               kGlobalRange = 0x0000080200000001, kRange1 = 0x0000080200030001,
                               kRange2 = 0x0000080200030002, kMbrControl = 0x0000080300000001,
                               kMbr = 0x0000080400000000, kDataStore = 0x0000100100000000,
                               kGlobalKey = 0x0000080600000001, kRange1Key = 0x0000080600030001,
                               kTPerInfo = 0x0000020100030001, kLockingInfo = 0x0000080100000001;

// Status codes, by their numbers in Core 5.1.5.
inline constexpr int kSuccess = 0x00, kNotAuthorized = 0x01, kSpBusy = 0x03, kNoSessions = 0x07,
                     kInvalidParameter = 0x0C, kResponseOverflow = 0x11, kLockedOut = 0x12,
                     kFail = 0x3F;

class DriveTest : public ::testing::Test {
 protected:
  DriveTest() {
    std::string name = ::testing::TempDir() + "keyward-drive-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options_.backing_file = directory_ / "drive";
    options_.sectors = 65536;
    options_.shadow_mbr_bytes = 1u << 20;
  }
  ~DriveTest() override {
    drive_.reset();
    std::filesystem::remove_all(directory_);
  }

  EmulatedDrive& drive() {
    if (drive_ == nullptr) drive_ = EmulatedDrive::open(options_).value();
    return *drive_;
  }
  // As a new process would.
  void reopen() {
    drive_.reset();
    drive();
  }
  wire::WireHost host() { return wire::WireHost(drive()); }

  // The SID's PIN becomes "owner", the Locking SP active, so Admin1's is "owner" too.
  void take_ownership() {
    wire::WireHost h = host();
    const std::string msid = h.msid();
    ASSERT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kSuccess);
    ASSERT_EQ(h.set(kPinSid, 3, wire::tok("owner")).status, kSuccess);
    ASSERT_EQ(h.invoke(kLockingSp, 0x203).status, kSuccess);
    h.end();
  }
  wire::Reply start_admin1(wire::WireHost& h) {
    return h.start(kLockingSp, {.authority = kAdmin1, .pin = "owner"});
  }
  // One Set by Admin1 in a session of its own.
  int admin_sets(std::uint64_t object, const wire::Tokens& pairs) {
    wire::WireHost h = host();
    if (const int status = start_admin1(h).status; status != kSuccess) return status;
    const int status = h.set_row(object, pairs).status;
    h.end();
    return status;
  }

  Bytes sectors(char fill, std::size_t count = 1) {
    return Bytes(count * options_.sector_bytes, static_cast<std::byte>(fill));
  }
  BusStatus write(std::uint64_t first, char fill, std::size_t count = 1) {
    return drive().write(first, sectors(fill, count));
  }
  // What a read gives, or nothing when the drive refuses.
  Bytes read(std::uint64_t first, std::size_t count = 1) {
    Bytes data = sectors(0, count);
    status_ = drive().read(first, data);
    return status_ == BusStatus::good ? data : Bytes{};
  }

  std::filesystem::path directory_;
  EmulatedDriveOptions options_;
  std::unique_ptr<EmulatedDrive> drive_;
  BusStatus status_ = BusStatus::good;
};

}  // namespace keyward::sed
