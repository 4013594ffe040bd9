// Opal SSC 2.01, section 4.3: the Locking SP.
#include <fmt/format.h>

#include "sed/emulator/ssc.h"

namespace keyward::sed::emulator {
namespace {

constexpr Uid ace(std::uint32_t row) { return make_uid(table::kAce, row); }

constexpr Uid kAceGetCommonName = ace(0x00000003);
constexpr Uid kAceAdminsSetCommonName = ace(0x00000004);
constexpr Uid kAceAceGet = ace(0x00038000);
constexpr Uid kAceAceSet = ace(0x00038001);
constexpr Uid kAceAuthorityGet = ace(0x00039000);
constexpr Uid kAceAuthoritySetEnabled = ace(0x00039001);
constexpr Uid kAcePinAdminsGet = ace(0x0003A000);
constexpr Uid kAcePinAdminsSet = ace(0x0003A001);
constexpr Uid kAcePinUserSet = ace(0x0003A800);         // + user.
constexpr Uid kAceUserSetCommonName = ace(0x00044000);  // + user.
constexpr Uid kAceAesMode = ace(0x0003BFFF);
constexpr Uid kAceGenKey = ace(0x0003B800);            // + range, 0 the global one.
constexpr Uid kAceRangeGet = ace(0x0003D000);          // + range.
constexpr Uid kAceRangeSetRdLocked = ace(0x0003E000);  // + range.
constexpr Uid kAceRangeSetWrLocked = ace(0x0003E800);  // + range.
constexpr Uid kAceGlobalRangeSet = ace(0x0003F000);
constexpr Uid kAceRangeSet = ace(0x0003F001);
constexpr Uid kAceMbrSet = ace(0x0003F800);
constexpr Uid kAceMbrSetDone = ace(0x0003F801);
constexpr Uid kAceDataStoreGet = ace(0x0003FC00);
constexpr Uid kAceDataStoreSet = ace(0x0003FC01);

constexpr std::uint64_t kModeXts = 7;

void add_tables(SpBuilder& builder, const EmulatedDriveOptions& options) {
  builder.object_table(table::kTable, "Table");
  builder.object_table(table::kSpInfo, "SPInfo");
  builder.object_table(table::kSpTemplates, "SPTemplates");
  builder.object_table(table::kMethodId, "MethodID");
  builder.object_table(table::kAccessControl, "AccessControl");
  builder.object_table(table::kAce, "ACE");
  builder.object_table(table::kAuthority, "Authority");
  builder.object_table(table::kCPin, "C_PIN");
  builder.object_table(table::kSecretProtect, "SecretProtect");
  builder.object_table(table::kLockingInfo, "LockingInfo");
  builder.object_table(table::kLocking, "Locking");
  builder.object_table(table::kMbrControl, "MBRControl");
  if (options.family != Family::pyrite2) builder.object_table(table::kAes256, "K_AES_256");
  builder.byte_table(uid::kMbr, "MBR", options.shadow_mbr_bytes);
  builder.byte_table(uid::kDataStore, "DataStore", options.data_store_bytes);
  builder.methods({{method::kNext, "Next"},
                   {method::kGetAcl, "GetACL"},
                   {method::kGenKey, "GenKey"},
                   {method::kRevertSp, "RevertSP"},
                   {method::kGet, "Get"},
                   {method::kSet, "Set"},
                   {method::kAuthenticate, "Authenticate"},
                   {method::kRandom, "Random"}});
}

// An ACE whose expression the Admins may change (Opal 4.3.1.6: those for users and ranges).
void add_personal_ace(SpBuilder& builder, Uid uid, std::string_view name,
                      std::initializer_list<Uid> any_of,
                      std::initializer_list<std::uint32_t> columns = {}) {
  builder.ace(uid, name, any_of, columns);
  builder.allow(uid, method::kGet, {kAceAceGet});
  builder.allow(uid, method::kSet, {kAceAceSet});
}

void add_fixed_ace(SpBuilder& builder, Uid uid, std::string_view name,
                   std::initializer_list<Uid> any_of,
                   std::initializer_list<std::uint32_t> columns = {}) {
  builder.ace(uid, name, any_of, columns);
  builder.allow(uid, method::kGet, {kAceAceGet});
}

void add_aces(SpBuilder& builder) {
  using namespace column;
  add_fixed_ace(builder, uid::kAceAnybody, "ACE_Anybody", {uid::kAnybody});
  add_fixed_ace(builder, uid::kAceAdmin, "ACE_Admin", {uid::kAdmins});
  add_fixed_ace(builder, kAceGetCommonName, "ACE_Anybody_Get_CommonName", {uid::kAnybody},
                {column::kUid, kCommonName});
  add_fixed_ace(builder, kAceAdminsSetCommonName, "ACE_Admins_Set_CommonName", {uid::kAdmins},
                {kCommonName});
  add_fixed_ace(builder, kAceAceGet, "ACE_ACE_Get_All", {uid::kAdmins});
  add_fixed_ace(builder, kAceAceSet, "ACE_ACE_Set_BooleanExpression", {uid::kAdmins},
                {kAceExpression});
  add_fixed_ace(builder, kAceAuthorityGet, "ACE_Authority_Get_All", {uid::kAdmins});
  add_fixed_ace(builder, kAceAuthoritySetEnabled, "ACE_Authority_Set_Enabled", {uid::kAdmins},
                {kEnabled});
  add_fixed_ace(builder, kAcePinAdminsGet, "ACE_C_PIN_Admins_Get_All_NOPIN", {uid::kAdmins},
                kAllButPin);
  add_fixed_ace(builder, kAcePinAdminsSet, "ACE_C_PIN_Admins_Set_PIN", {uid::kAdmins}, {kPin});
  add_fixed_ace(builder, kAceAesMode, "ACE_K_AES_Mode", {uid::kAnybody}, {4});
  add_fixed_ace(builder, kAceGlobalRangeSet, "ACE_Locking_GlblRng_Admins_Set", {uid::kAdmins},
                {kReadLockEnabled, kWriteLockEnabled, kReadLocked, kWriteLocked, kLockOnReset});
  add_fixed_ace(builder, kAceRangeSet, "ACE_Locking_Admins_RangeStartToLOR", {uid::kAdmins},
                {kRangeStart, kRangeLength, kReadLockEnabled, kWriteLockEnabled, kReadLocked,
                 kWriteLocked, kLockOnReset});
  add_fixed_ace(builder, kAceMbrSet, "ACE_MBRControl_Admins_Set", {uid::kAdmins},
                {kMbrEnable, kMbrDone, kDoneOnReset});
  add_personal_ace(builder, kAceMbrSetDone, "ACE_MBRControl_Set_DoneToDOR", {uid::kAdmins},
                   {kMbrDone, kDoneOnReset});
  add_personal_ace(builder, kAceDataStoreGet, "ACE_DataStore_Get_All", {uid::kAdmins});
  add_personal_ace(builder, kAceDataStoreSet, "ACE_DataStore_Set_All", {uid::kAdmins});
}

void add_authority(SpBuilder& builder, Uid uid, std::string_view name, Uid group, bool enabled,
                   Uid credential) {
  builder.authority(uid, name, group, enabled, credential);
  builder.allow(uid, method::kGet, {kAceAuthorityGet, kAceGetCommonName});
}

void add_people(SpBuilder& builder, const EmulatedDriveOptions& options) {
  const TryRule rule{options.try_limit, options.tries_persist};
  add_authority(builder, uid::kAnybody, "Anybody", 0, true, 0);
  builder.authority_class(uid::kAdmins, "Admins");
  builder.allow(uid::kAdmins, method::kGet, {kAceAuthorityGet, kAceGetCommonName});
  for (std::uint32_t n = 1; n <= options.admins; ++n) {
    const Uid authority = uid::kLockingAdmin + n;
    const Uid pin = uid::kPinLockingAdmin + n;
    add_authority(builder, authority, fmt::format("Admin{}", n), uid::kAdmins, n == 1, pin);
    if (n == 1)
      builder.allow(authority, method::kSet, {kAceAdminsSetCommonName});
    else
      builder.allow(authority, method::kSet, {kAceAuthoritySetEnabled, kAceAdminsSetCommonName});
    builder.pin(pin, fmt::format("C_PIN_Admin{}", n), {}, rule);
    builder.allow(pin, method::kGet, {kAcePinAdminsGet});
    builder.allow(pin, method::kSet, {kAcePinAdminsSet});
  }
  builder.authority_class(uid::kUsers, "Users");
  builder.allow(uid::kUsers, method::kGet, {kAceAuthorityGet, kAceGetCommonName});
  for (std::uint32_t n = 1; n <= options.users; ++n) {
    const Uid authority = uid::kUsers + n;
    const Uid pin = uid::kPinUser + n;
    add_authority(builder, authority, fmt::format("User{}", n), uid::kUsers, false, pin);
    add_personal_ace(builder, kAceUserSetCommonName + n,
                     fmt::format("ACE_User{}_Set_CommonName", n), {uid::kAdmins, authority},
                     {column::kCommonName});
    builder.allow(authority, method::kSet, {kAceAuthoritySetEnabled, kAceUserSetCommonName + n});
    builder.pin(pin, fmt::format("C_PIN_User{}", n), {}, rule);
    add_personal_ace(builder, kAcePinUserSet + n, fmt::format("ACE_C_PIN_User{}_Set_PIN", n),
                     {uid::kAdmins, authority}, {column::kPin});
    builder.allow(pin, method::kGet, {kAcePinAdminsGet});
    builder.allow(pin, method::kSet, {kAcePinUserSet + n});
  }
}

void add_range(SpBuilder& builder, const EmulatedDriveOptions& options, std::uint32_t n) {
  using namespace column;
  const std::string name = n == 0 ? "GlobalRange" : fmt::format("Range{}", n);
  const Uid range = range_uid(Family::opal2, n);
  const Uid key = range_key_uid(Family::opal2, n);
  builder.row(range, locking_row(options, n, "Locking_" + name));
  add_personal_ace(builder, kAceRangeGet + n,
                   fmt::format("ACE_Locking_{}_Get_RangeStartToActiveKey", name), {uid::kAdmins},
                   {kRangeStart, kRangeLength, kReadLockEnabled, kWriteLockEnabled, kReadLocked,
                    kWriteLocked, kLockOnReset, kActiveKey});
  add_personal_ace(builder, kAceRangeSetRdLocked + n,
                   fmt::format("ACE_Locking_{}_Set_RdLocked", name), {uid::kAdmins}, {kReadLocked});
  add_personal_ace(builder, kAceRangeSetWrLocked + n,
                   fmt::format("ACE_Locking_{}_Set_WrLocked", name), {uid::kAdmins},
                   {kWriteLocked});
  builder.allow(range, method::kGet, {kAceRangeGet + n, kAceGetCommonName});
  builder.allow(range, method::kSet,
                {n == 0 ? kAceGlobalRangeSet : kAceRangeSet, kAceRangeSetRdLocked + n,
                 kAceRangeSetWrLocked + n, kAceAdminsSetCommonName});
  if (options.family == Family::pyrite2) return;
  builder.row(key, {{1, text(fmt::format("K_AES_256_{}_Key", name))}, {4, number(kModeXts)}});
  add_personal_ace(builder, kAceGenKey + n, fmt::format("ACE_K_AES_256_{}_GenKey", name),
                   {uid::kAdmins});
  builder.allow(key, method::kGet, {kAceAesMode});
  builder.allow(key, method::kGenKey, {kAceGenKey + n});
}

void add_readable(SpBuilder& builder, Uid uid, Row cells) {
  builder.row(uid, std::move(cells));
  builder.allow(uid, method::kGet, {uid::kAceAnybody});
}

void add_singletons(SpBuilder& builder, const EmulatedDriveOptions& options) {
  add_readable(builder, make_uid(table::kSpInfo, 1),
               {{1, uid_value(uid::kLockingSp)}, {2, text("Locking")}, {6, boolean_value(true)}});
  add_readable(builder, make_uid(table::kSpTemplates, 1),
               {{1, uid_value(make_uid(table::kTemplate, 1))}, {2, text("Base")}, {3, number(2)}});
  add_readable(
      builder, make_uid(table::kSpTemplates, 2),
      {{1, uid_value(make_uid(table::kTemplate, 6))}, {2, text("Locking")}, {3, number(2)}});
  // Keys are protected by the drive itself and cannot be read: mechanism 1, vendor unique.
  add_readable(builder, make_uid(table::kSecretProtect, 0x1E),
               {{1, uid_value(make_uid(table::kTable, table::kAes256))},
                {2, number(3)},
                {3, list({number(1)})}});
  add_readable(builder, uid::kLockingInfo, locking_info(options));
  add_readable(builder, uid::kMbrControl,
               {{column::kMbrEnable, boolean_value(false)},
                {column::kMbrDone, boolean_value(false)},
                {column::kDoneOnReset, reset_list({Reset::power_cycle})}});
  builder.allow(uid::kMbrControl, method::kSet, {kAceMbrSet, kAceMbrSetDone});
  builder.allow(uid::kMbr, method::kGet, {uid::kAceAnybody});
  builder.allow(uid::kMbr, method::kSet, {uid::kAceAdmin});
  builder.allow(uid::kDataStore, method::kGet, {kAceDataStoreGet});
  builder.allow(uid::kDataStore, method::kSet, {kAceDataStoreSet});
  builder.allow(uid::kThisSp, method::kRevertSp, {uid::kAceAdmin});
  builder.allow(uid::kThisSp, method::kAuthenticate, {uid::kAceAnybody});
  builder.allow(uid::kThisSp, method::kRandom, {uid::kAceAnybody});
}

}  // namespace

Row locking_info(const EmulatedDriveOptions& options) {
  const std::uint32_t alignment = options.alignment_sectors;
  return {{1, text("LockingInfo")},
          {2, number(1)},
          {3, number(options.family == Family::pyrite2 ? 0 : 1)},  // EncryptSupport: media.
          {4, number(options.ranges)},
          {5, number(0)},
          {6, number(0)},
          {7, boolean_value(alignment != 0)},
          {8, number(options.sector_bytes)},
          {9, number(alignment == 0 ? 1 : alignment)},
          {10, number(0)}};
}

Row locking_row(const EmulatedDriveOptions& options, std::uint32_t n, std::string_view name) {
  return {{1, text(name)},
          {2, text("")},
          {column::kRangeStart, number(0)},
          {column::kRangeLength, number(0)},
          {column::kReadLockEnabled, boolean_value(false)},
          {column::kWriteLockEnabled, boolean_value(false)},
          {column::kReadLocked, boolean_value(false)},
          {column::kWriteLocked, boolean_value(false)},
          {column::kLockOnReset, reset_list({Reset::power_cycle})},
          {column::kActiveKey, uid_value(range_key_uid(options.family, n))}};
}

Sp opal_locking_sp(const EmulatedDriveOptions& options) {
  SpBuilder builder(uid::kLockingSp);
  add_tables(builder, options);
  add_aces(builder);
  add_people(builder, options);
  for (std::uint32_t n = 0; n <= options.ranges; ++n) add_range(builder, options, n);
  add_singletons(builder, options);
  return std::move(builder).finish();
}

}  // namespace keyward::sed::emulator
