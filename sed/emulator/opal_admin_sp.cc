// Opal SSC 2.01, section 4.2: the Admin SP.
#include <fmt/format.h>

#include "base/text.h"
#include "sed/emulator/ssc.h"

namespace keyward::sed::emulator {
namespace {

constexpr Uid ace(std::uint32_t row) { return make_uid(table::kAce, row); }

constexpr Uid kAceSetEnabled = ace(0x00030001);
constexpr Uid kAceSpSid = ace(0x00030002);
constexpr Uid kAceTPerInfoSet = ace(0x00030003);
constexpr Uid kAcePinSidGet = ace(0x00008C02);
constexpr Uid kAcePinSidSet = ace(0x00008C03);
constexpr Uid kAcePinMsidGet = ace(0x00008C04);
constexpr Uid kAcePinAdminsSet = ace(0x0003A001);
// The PSID feature set's own.
constexpr Uid kAceSpPsid = ace(0x000100E0);
constexpr Uid kAcePinPsidGet = ace(0x000100E1);

void add_tables(SpBuilder& builder) {
  builder.object_table(table::kTable, "Table");
  builder.object_table(table::kSpInfo, "SPInfo");
  builder.object_table(table::kSpTemplates, "SPTemplates");
  builder.object_table(table::kMethodId, "MethodID");
  builder.object_table(table::kAccessControl, "AccessControl");
  builder.object_table(table::kAce, "ACE");
  builder.object_table(table::kAuthority, "Authority");
  builder.object_table(table::kCPin, "C_PIN");
  builder.object_table(table::kTPerInfo, "TPerInfo");
  builder.object_table(table::kTemplate, "Template");
  builder.object_table(table::kSp, "SP");
  builder.methods({{method::kNext, "Next"},
                   {method::kGetAcl, "GetACL"},
                   {method::kGet, "Get"},
                   {method::kSet, "Set"},
                   {method::kAuthenticate, "Authenticate"},
                   {method::kRevert, "Revert"},
                   {method::kActivate, "Activate"},
                   {method::kRandom, "Random"}});
}

void add_readable(SpBuilder& builder, Uid uid, Row cells) {
  builder.row(uid, std::move(cells));
  builder.allow(uid, method::kGet, {uid::kAceAnybody});
}

void add_aces(SpBuilder& builder) {
  builder.ace(uid::kAceAnybody, "ACE_Anybody", {uid::kAnybody});
  builder.ace(uid::kAceAdmin, "ACE_Admin", {uid::kAdmins});
  builder.ace(kAceSetEnabled, "ACE_Set_Enabled", {uid::kSid}, {column::kEnabled});
  builder.ace(kAceSpSid, "ACE_SP_SID", {uid::kSid});
  builder.ace(kAceTPerInfoSet, "ACE_TPerInfo_Set_ProgrammaticResetEnable", {uid::kSid},
              {column::kResetEnable});
  builder.ace(kAcePinSidGet, "ACE_C_PIN_SID_Get_NOPIN", {uid::kAdmins, uid::kSid}, kAllButPin);
  builder.ace(kAcePinSidSet, "ACE_C_PIN_SID_Set_PIN", {uid::kSid}, {column::kPin});
  builder.ace(kAcePinMsidGet, "ACE_C_PIN_MSID_Get_PIN", {uid::kAnybody}, {0, column::kPin});
  builder.ace(kAcePinAdminsSet, "ACE_C_PIN_Admins_Set_PIN", {uid::kAdmins, uid::kSid},
              {column::kPin});
  for (const Uid uid :
       {uid::kAceAnybody, uid::kAceAdmin, kAceSetEnabled, kAceSpSid, kAceTPerInfoSet, kAcePinSidGet,
        kAcePinSidSet, kAcePinMsidGet, kAcePinAdminsSet})
    builder.allow(uid, method::kGet, {uid::kAceAnybody});
}

void add_authorities(SpBuilder& builder, const EmulatedDriveOptions& options,
                     const FactoryPins& pins) {
  const TryRule rule{options.try_limit, options.tries_persist};
  builder.authority(uid::kAnybody, "Anybody", 0, true, 0);
  builder.authority_class(uid::kAdmins, "Admins");
  builder.authority(uid::kMakers, "Makers", 0, false, 0);
  builder.authority(uid::kSid, "SID", 0, true, uid::kPinSid);
  builder.authority(uid::kAdminSpAdmin1, "Admin1", uid::kAdmins, false, uid::kPinAdminSpAdmin1);
  for (const Uid uid : {uid::kAnybody, uid::kAdmins, uid::kMakers, uid::kSid, uid::kAdminSpAdmin1})
    builder.allow(uid, method::kGet, {uid::kAceAnybody});
  builder.allow(uid::kMakers, method::kSet, {kAceSetEnabled});
  builder.allow(uid::kAdminSpAdmin1, method::kSet, {kAceSetEnabled});

  builder.pin(uid::kPinSid, "C_PIN_SID", pins.sid, rule);
  builder.pin(uid::kPinMsid, "C_PIN_MSID", pins.msid, {});
  builder.pin(uid::kPinAdminSpAdmin1, "C_PIN_Admin1", {}, rule);
  builder.allow(uid::kPinSid, method::kGet, {kAcePinSidGet});
  builder.allow(uid::kPinSid, method::kSet, {kAcePinSidSet});
  builder.allow(uid::kPinMsid, method::kGet, {kAcePinMsidGet});
  builder.allow(uid::kPinAdminSpAdmin1, method::kGet, {kAcePinSidGet});
  builder.allow(uid::kPinAdminSpAdmin1, method::kSet, {kAcePinAdminsSet});
}

}  // namespace

void add_psid(SpBuilder& builder, const EmulatedDriveOptions& options, const FactoryPins& pins) {
  builder.authority(uid::kPsid, "PSID", 0, true, uid::kPinPsid);
  builder.allow(uid::kPsid, method::kGet, {uid::kAceAnybody});
  builder.pin(uid::kPinPsid, "C_PIN_PSID", pins.psid, {options.try_limit, options.tries_persist});
  builder.ace(kAceSpPsid, "ACE_SP_PSID", {uid::kPsid});
  builder.ace(kAcePinPsidGet, "ACE_C_PIN_Get_PSID_NoPIN", {uid::kAnybody}, kAllButPin);
  builder.allow(uid::kPinPsid, method::kGet, {kAcePinPsidGet});
  builder.allow(uid::kAdminSp, method::kRevert, {kAceSpSid, uid::kAceAdmin, kAceSpPsid});
}

Sp opal_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins) {
  SpBuilder builder(uid::kAdminSp);
  add_tables(builder);
  add_aces(builder);
  add_authorities(builder, options, pins);
  add_readable(builder, make_uid(table::kSpInfo, 1),
               {{1, uid_value(uid::kAdminSp)}, {2, text("Admin")}, {6, boolean_value(true)}});
  add_readable(
      builder, make_uid(table::kSpTemplates, 1),
      {{1, uid_value(make_uid(table::kTemplate, 1))}, {2, text("Base")}, {3, number(0x00000002)}});
  add_readable(
      builder, make_uid(table::kSpTemplates, 2),
      {{1, uid_value(make_uid(table::kTemplate, 2))}, {2, text("Admin")}, {3, number(0x00000002)}});
  add_readable(builder, uid::kTPerInfo,
               {{4, number(1)},
                {5, number(1)},
                {6, number(0)},
                {7, list({text("Opal")})},
                {column::kResetEnable, boolean_value(false)}});
  builder.allow(uid::kTPerInfo, method::kSet, {kAceTPerInfoSet});
  constexpr std::pair<std::uint32_t, std::string_view> kTemplates[] = {
      {1, "Base"}, {2, "Admin"}, {6, "Locking"}};
  for (const auto& [n, name] : kTemplates)
    add_readable(builder, make_uid(table::kTemplate, n),
                 {{1, text(name)}, {2, number(1)}, {3, number(1)}, {4, number(1)}});
  add_readable(builder, uid::kAdminSp,
               {{1, text("Admin")},
                {column::kLifeCycle, number(static_cast<std::uint64_t>(LifeCycle::manufactured))},
                {7, boolean_value(false)}});
  add_readable(
      builder, uid::kLockingSp,
      {{1, text("Locking")},
       {column::kLifeCycle, number(static_cast<std::uint64_t>(LifeCycle::manufactured_inactive))},
       {7, boolean_value(false)}});
  add_psid(builder, options, pins);
  builder.allow(uid::kLockingSp, method::kRevert, {uid::kAceAdmin, kAceSpSid});
  builder.allow(uid::kLockingSp, method::kActivate, {kAceSpSid});
  builder.allow(uid::kThisSp, method::kAuthenticate, {uid::kAceAnybody});
  builder.allow(uid::kThisSp, method::kRandom, {uid::kAceAnybody});
  return std::move(builder).finish();
}

}  // namespace keyward::sed::emulator
