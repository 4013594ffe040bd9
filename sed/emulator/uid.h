// UIDs, columns and status codes: Core 2.01 tables 240 and 5.1.5, Opal SSC 2.01 section 4,
// Enterprise SSC 1.01 section 10.
#pragma once

#include <cstdint>

#include "sed/emulator/value.h"

namespace keyward::sed::emulator {

enum class Status : std::uint8_t {
  success = 0x00,
  not_authorized = 0x01,
  sp_busy = 0x03,
  sp_failed = 0x04,
  sp_disabled = 0x05,
  sp_frozen = 0x06,
  no_sessions_available = 0x07,
  uniqueness_conflict = 0x08,
  insufficient_space = 0x09,
  insufficient_rows = 0x0A,
  invalid_parameter = 0x0C,
  tper_malfunction = 0x0F,
  transaction_failure = 0x10,
  response_overflow = 0x11,
  authority_locked_out = 0x12,
  fail = 0x3F,
};

constexpr Uid make_uid(std::uint32_t table, std::uint32_t row) {
  return static_cast<Uid>(table) << 32 | row;
}
constexpr std::uint32_t table_of(Uid uid) { return static_cast<std::uint32_t>(uid >> 32); }

namespace table {
inline constexpr std::uint32_t kTable = 0x0001, kSpInfo = 0x0002, kSpTemplates = 0x0003,
                               kMethodId = 0x0006, kAccessControl = 0x0007, kAce = 0x0008,
                               kAuthority = 0x0009, kCPin = 0x000B, kSecretProtect = 0x001D,
                               kTPerInfo = 0x0201, kTemplate = 0x0204, kSp = 0x0205,
                               kLockingInfo = 0x0801, kLocking = 0x0802, kMbrControl = 0x0803,
                               kMbr = 0x0804, kAes256 = 0x0806, kDataStore = 0x1001;
}

namespace uid {
inline constexpr Uid kThisSp = 0x01;
inline constexpr Uid kSessionManager = 0xFF;
inline constexpr Uid kAdminSp = make_uid(table::kSp, 1);
inline constexpr Uid kLockingSp = make_uid(table::kSp, 2);                     // Opal.
inline constexpr Uid kEnterpriseLockingSp = make_uid(table::kSp, 0x00010001);  // Enterprise.
inline constexpr Uid kAnybody = make_uid(table::kAuthority, 1);
inline constexpr Uid kAdmins = make_uid(table::kAuthority, 2);
inline constexpr Uid kMakers = make_uid(table::kAuthority, 3);
inline constexpr Uid kSid = make_uid(table::kAuthority, 6);
inline constexpr Uid kAdminSpAdmin1 = make_uid(table::kAuthority, 0x201);
inline constexpr Uid kPsid = make_uid(table::kAuthority, 0x0001FF01);
inline constexpr Uid kLockingAdmin = make_uid(table::kAuthority, 0x00010000);  // + 1 …
inline constexpr Uid kUsers = make_uid(table::kAuthority, 0x00030000);         // + 1 … a user.
inline constexpr Uid kBandMaster = make_uid(table::kAuthority, 0x8001);        // + band.
inline constexpr Uid kEraseMaster = make_uid(table::kAuthority, 0x8401);
inline constexpr Uid kPinSid = make_uid(table::kCPin, 1);
inline constexpr Uid kPinMsid = make_uid(table::kCPin, 0x8402);
inline constexpr Uid kPinAdminSpAdmin1 = make_uid(table::kCPin, 0x201);
inline constexpr Uid kPinPsid = make_uid(table::kCPin, 0x0001FF01);
inline constexpr Uid kPinLockingAdmin = make_uid(table::kCPin, 0x00010000);
inline constexpr Uid kPinUser = make_uid(table::kCPin, 0x00030000);
inline constexpr Uid kPinBandMaster = make_uid(table::kCPin, 0x8001);
inline constexpr Uid kPinEraseMaster = make_uid(table::kCPin, 0x8401);
inline constexpr Uid kTPerInfo = make_uid(table::kTPerInfo, 0x00030001);
inline constexpr Uid kLockingInfo = make_uid(table::kLockingInfo, 1);
inline constexpr Uid kGlobalRange = make_uid(table::kLocking, 1);
inline constexpr Uid kMbrControl = make_uid(table::kMbrControl, 1);
inline constexpr Uid kMbr = make_uid(table::kMbr, 0);
inline constexpr Uid kDataStore = make_uid(table::kDataStore, 0);
inline constexpr Uid kGlobalKey = make_uid(table::kAes256, 1);
inline constexpr Uid kAceAnybody = make_uid(table::kAce, 1);
inline constexpr Uid kAceAdmin = make_uid(table::kAce, 2);
}  // namespace uid

namespace method {
inline constexpr Uid kProperties = 0xFF01, kStartSession = 0xFF02, kSyncSession = 0xFF03,
                     kCloseSession = 0xFF06;
constexpr Uid of(std::uint32_t row) { return make_uid(table::kMethodId, row); }
inline constexpr Uid kEnterpriseGet = of(0x06), kEnterpriseSet = of(0x07), kNext = of(0x08),
                     kEnterpriseAuthenticate = of(0x0C), kGetAcl = of(0x0D), kGenKey = of(0x10),
                     kRevertSp = of(0x11), kGet = of(0x16), kSet = of(0x17),
                     kAuthenticate = of(0x1C), kRevert = of(0x202), kActivate = of(0x203),
                     kRandom = of(0x601), kErase = of(0x803);
}  // namespace method

// Column numbers, where the emulator itself looks at the cell.
namespace column {
inline constexpr std::uint32_t kUid = 0, kName = 1, kCommonName = 2;
inline constexpr std::uint32_t kAceExpression = 3, kAceColumns = 4;
inline constexpr std::uint32_t kIsClass = 3, kClass = 4, kEnabled = 5, kOperation = 9,
                               kCredential = 10;
inline constexpr std::uint32_t kPin = 3, kTryLimit = 5, kTries = 6, kPersistence = 7;
inline constexpr std::uint32_t kLifeCycle = 6;
inline constexpr std::uint32_t kResetEnable = 8;
inline constexpr std::uint32_t kRangeStart = 3, kRangeLength = 4, kReadLockEnabled = 5,
                               kWriteLockEnabled = 6, kReadLocked = 7, kWriteLocked = 8,
                               kLockOnReset = 9, kActiveKey = 10;
inline constexpr std::uint32_t kMbrEnable = 1, kMbrDone = 2, kDoneOnReset = 3;
}  // namespace column

// SP life cycle (Core table 30; Opal 5.2): states of manufactured SPs.
enum class LifeCycle : std::uint8_t { manufactured_inactive = 8, manufactured = 9 };

// Core 5.1.3, reset_types.
enum class Reset : std::uint8_t { power_cycle = 0, hardware = 1, programmatic = 3 };

}  // namespace keyward::sed::emulator
