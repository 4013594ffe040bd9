// The names that TCG gave to things: Core 2.01 table 240, Opal SSC 2.01 section 4, Enterprise SSC
// 1.01 section 10, Single User Mode 1.00, Data Removal in Pyrite 2.00.
//
//   session.get(pin::kMsid, {column::pin::kPin, column::pin::kPin});
//   Session::start(channel, sp::kLocking, {authority::user(1), &user_pin}, Session::Mode::write);
//
// Constants and pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "sed/tcg/value.h"

namespace keyward::sed::tcg {

constexpr Uid uid(std::uint32_t table, std::uint32_t row) {
  return uid(static_cast<std::uint64_t>(table) << 32 | row);
}
constexpr std::uint64_t bits_of(const Uid& uid) {
  std::uint64_t bits = 0;
  for (const std::byte byte : uid) bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
  return bits;
}
constexpr std::uint32_t table_of(const Uid& uid) {
  return static_cast<std::uint32_t>(bits_of(uid) >> 32);
}
constexpr std::uint32_t row_of(const Uid& uid) { return static_cast<std::uint32_t>(bits_of(uid)); }

// For messages: "SID", "User2", "range 3", "the PIN of Admin1"; else its digits.
std::string name_of(const Uid& uid);

inline constexpr Uid kThisSp = uid(0x01);
inline constexpr Uid kSessionManager = uid(0xFF);

// The upper halves of UIDs.
namespace table {
inline constexpr std::uint32_t kTable = 0x0001, kMethodId = 0x0006, kAce = 0x0008,
                               kAuthority = 0x0009, kCPin = 0x000B, kSecretProtect = 0x001D,
                               kTPerInfo = 0x0201, kSp = 0x0205, kLockingInfo = 0x0801,
                               kLocking = 0x0802, kMbrControl = 0x0803, kMbr = 0x0804,
                               kAes128 = 0x0805, kAes256 = 0x0806, kDataStore = 0x1001,
                               kDataRemoval = 0x1101;
}

namespace sp {
inline constexpr Uid kAdmin = uid(table::kSp, 1);
inline constexpr Uid kLocking = uid(table::kSp, 2);                     // Opal family.
inline constexpr Uid kEnterpriseLocking = uid(table::kSp, 0x00010001);  // Always active.
}  // namespace sp

namespace authority {
inline constexpr Uid kAnybody = uid(table::kAuthority, 1);
inline constexpr Uid kAdmins = uid(table::kAuthority, 2);
inline constexpr Uid kMakers = uid(table::kAuthority, 3);
inline constexpr Uid kSid = uid(table::kAuthority, 6);
inline constexpr Uid kPsid = uid(table::kAuthority, 0x0001FF01);
inline constexpr Uid kAdminSpAdmin1 = uid(table::kAuthority, 0x201);
inline constexpr Uid kUsers = uid(table::kAuthority, 0x00030000);
inline constexpr Uid kEraseMaster = uid(table::kAuthority, 0x8401);
// Of the Locking SP, from 1.
constexpr Uid admin(std::uint32_t n) { return uid(table::kAuthority, 0x00010000 + n); }
constexpr Uid user(std::uint32_t n) { return uid(table::kAuthority, 0x00030000 + n); }
// 0: of the global band.
constexpr Uid band_master(std::uint32_t band) { return uid(table::kAuthority, 0x8001 + band); }
}  // namespace authority

// Rows of C_PIN: the credentials.
namespace pin {
inline constexpr Uid kSid = uid(table::kCPin, 1);
inline constexpr Uid kMsid = uid(table::kCPin, 0x8402);  // Anybody may read it.
inline constexpr Uid kPsid = uid(table::kCPin, 0x0001FF01);
inline constexpr Uid kAdminSpAdmin1 = uid(table::kCPin, 0x201);
inline constexpr Uid kEraseMaster = uid(table::kCPin, 0x8401);
constexpr Uid admin(std::uint32_t n) { return uid(table::kCPin, 0x00010000 + n); }
constexpr Uid user(std::uint32_t n) { return uid(table::kCPin, 0x00030000 + n); }
constexpr Uid band_master(std::uint32_t band) { return uid(table::kCPin, 0x8001 + band); }
}  // namespace pin

// Rows of the Locking table.
namespace range {
inline constexpr Uid kGlobal = uid(table::kLocking, 1);
// 0: the global one.
constexpr Uid opal(std::uint32_t n) {
  return n == 0 ? kGlobal : uid(table::kLocking, 0x00030000 + n);
}
constexpr Uid band(std::uint32_t n) { return uid(table::kLocking, 1 + n); }
}  // namespace range

namespace ace {
inline constexpr Uid kMbrControlSetDone = uid(table::kAce, 0x0003F801);
inline constexpr Uid kDataStoreGet = uid(table::kAce, 0x0003FC00);
inline constexpr Uid kDataStoreSet = uid(table::kAce, 0x0003FC01);
// By range, 0: the global one.
constexpr Uid range_get(std::uint32_t n) { return uid(table::kAce, 0x0003D000 + n); }
constexpr Uid set_read_locked(std::uint32_t n) { return uid(table::kAce, 0x0003E000 + n); }
constexpr Uid set_write_locked(std::uint32_t n) { return uid(table::kAce, 0x0003E800 + n); }
constexpr Uid aes128_gen_key(std::uint32_t n) { return uid(table::kAce, 0x0003B000 + n); }
constexpr Uid aes256_gen_key(std::uint32_t n) { return uid(table::kAce, 0x0003B800 + n); }
// By user, from 1: who may set that user's PIN.
constexpr Uid set_user_pin(std::uint32_t n) { return uid(table::kAce, 0x0003A800 + n); }
}  // namespace ace

// Half-UIDs that name the types inside an ACE's BooleanExpr, and its operators (Core 5.1.3.3).
namespace expression {
inline constexpr std::array<std::byte, 4> kAuthorityRef = {std::byte{0}, std::byte{0},
                                                           std::byte{0x0C}, std::byte{0x05}};
inline constexpr std::array<std::byte, 4> kBooleanOperator = {std::byte{0}, std::byte{0},
                                                              std::byte{0x04}, std::byte{0x0E}};
inline constexpr std::uint64_t kAnd = 0, kOr = 1, kNot = 2;
}  // namespace expression

inline constexpr Uid kTPerInfo = uid(table::kTPerInfo, 0x00030001);
inline constexpr Uid kLockingInfo = uid(table::kLockingInfo, 1);
inline constexpr Uid kEnterpriseLockingInfo = uid(table::kLockingInfo, 0);
inline constexpr Uid kMbrControl = uid(table::kMbrControl, 1);
inline constexpr Uid kDataRemoval = uid(table::kDataRemoval, 1);
// Byte tables.
inline constexpr Uid kMbr = uid(table::kMbr, 0);
inline constexpr Uid kDataStore = uid(table::kDataStore, 0);
// A table's own row in the table of tables, where its size stands.
constexpr Uid descriptor_of(const Uid& table) { return uid(table::kTable, table_of(table)); }

namespace method {
inline constexpr Uid kProperties = uid(0xFF01), kStartSession = uid(0xFF02),
                     kSyncSession = uid(0xFF03), kCloseSession = uid(0xFF06);
constexpr Uid of(std::uint32_t row) { return uid(table::kMethodId, row); }
inline constexpr Uid kEnterpriseGet = of(0x06), kEnterpriseSet = of(0x07), kNext = of(0x08),
                     kEnterpriseAuthenticate = of(0x0C), kGetAcl = of(0x0D), kGenKey = of(0x10),
                     kRevertSp = of(0x11), kGet = of(0x16), kSet = of(0x17),
                     kAuthenticate = of(0x1C), kRevert = of(0x202), kActivate = of(0x203),
                     kRandom = of(0x601), kReactivate = of(0x801), kErase = of(0x803);
}  // namespace method

// Names of arguments of the SSCs' own methods.
namespace parameter {
inline constexpr std::uint64_t kKeepGlobalRangeKey = 0x060000;  // Of RevertSP.
inline constexpr std::uint64_t kSingleUserSelectionList = 0x060000, kRangePolicy = 0x060001;
}  // namespace parameter

namespace column {
inline constexpr std::uint32_t kUid = 0, kName = 1, kCommonName = 2;  // Of every object.

namespace table {
inline constexpr std::uint32_t kRows = 7, kWriteGranularity = 13, kAccessGranularity = 14;
}
namespace ace {
inline constexpr std::uint32_t kExpression = 3;
}
namespace authority {
inline constexpr std::uint32_t kEnabled = 5, kCredential = 10;
}
namespace pin {
inline constexpr std::uint32_t kPin = 3, kTryLimit = 5, kTries = 6, kPersistence = 7;
}
namespace sp {
inline constexpr std::uint32_t kLifeCycle = 6;
}
namespace tper_info {
inline constexpr std::uint32_t kProgrammaticResetEnable = 8;
}
namespace locking_info {
inline constexpr std::uint32_t kEncryptSupport = 3, kMaxRanges = 4, kAlignmentRequired = 7,
                               kLogicalBlockSize = 8, kAlignmentGranularity = 9,
                               kLowestAlignedLba = 10;
}
namespace locking {
inline constexpr std::uint32_t kRangeStart = 3, kRangeLength = 4, kReadLockEnabled = 5,
                               kWriteLockEnabled = 6, kReadLocked = 7, kWriteLocked = 8,
                               kLockOnReset = 9, kActiveKey = 10;
}
namespace mbr_control {
inline constexpr std::uint32_t kEnable = 1, kDone = 2, kDoneOnReset = 3;
}
namespace data_removal {
inline constexpr std::uint32_t kMechanism = 1;
}
}  // namespace column

// SP life cycle (Opal 5.2).
inline constexpr std::uint64_t kManufacturedInactive = 8, kManufactured = 9;
// reset_types (Core 5.1.3), for LockOnReset and DoneOnReset.
inline constexpr std::uint64_t kPowerCycle = 0, kHardwareReset = 1, kProgrammaticReset = 3;

}  // namespace keyward::sed::tcg
