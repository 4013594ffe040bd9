// Enterprise SSC 1.01, section 10. The SSC names the associations and who satisfies them; the UIDs
// of its ACEs beyond Anybody are this emulator's own, since no host method needs them (Enterprise
// has no GetACL).
#include <fmt/format.h>

#include "sed/emulator/ssc.h"

namespace keyward::sed::emulator {
namespace {

constexpr Uid ace(std::uint32_t row) { return make_uid(table::kAce, row); }

constexpr Uid kAceSid = ace(0x00000006);
constexpr Uid kAceSidSetEnabled = ace(0x00008402);
constexpr Uid kAcePinSidGet = ace(0x00008C02);
constexpr Uid kAcePinSidSet = ace(0x00008C03);
constexpr Uid kAcePinMsidGet = ace(0x00008C04);
constexpr Uid kAceEraseMaster = ace(0x00008401);
constexpr Uid kAceEraseMasterSetEnabled = ace(0x00018401);
constexpr Uid kAceEraseMasterPinSet = ace(0x00028401);
constexpr Uid kAceEraseMasterPinGet = ace(0x00038401);
constexpr Uid kAceDataStore = ace(0x0003FC01);
constexpr Uid kAceBand = ace(0x00008001);        // + band: may set the band.
constexpr Uid kAceBandPinSet = ace(0x00018001);  // + band.
constexpr Uid kAceBandPinGet = ace(0x00028001);  // + band.

void add_base(SpBuilder& builder, Uid sp, std::string_view name) {
  builder.ace(uid::kAceAnybody, "ACE_Anybody", {uid::kAnybody});
  builder.authority(uid::kAnybody, "Anybody", 0, true, 0);
  builder.allow(uid::kAnybody, method::kEnterpriseGet, {uid::kAceAnybody});
  builder.row(make_uid(table::kSpInfo, 1),
              {{1, uid_value(sp)}, {2, text(name)}, {6, boolean_value(true)}});
  builder.allow(make_uid(table::kSpInfo, 1), method::kEnterpriseGet, {uid::kAceAnybody});
  builder.allow(uid::kThisSp, method::kEnterpriseAuthenticate, {uid::kAceAnybody});
  builder.allow(uid::kThisSp, method::kRandom, {uid::kAceAnybody});
}

void add_authority(SpBuilder& builder, Uid uid, std::string_view name, bool enabled,
                   Uid credential) {
  builder.authority(uid, name, 0, enabled, credential);
  builder.allow(uid, method::kEnterpriseGet, {uid::kAceAnybody});
}

void add_band(SpBuilder& builder, const EmulatedDriveOptions& options, const FactoryPins& pins,
              std::uint32_t n) {
  using namespace column;
  const TryRule rule{options.try_limit, options.tries_persist};
  const Uid master = uid::kBandMaster + n;
  const Uid pin = uid::kPinBandMaster + n;
  const Uid band = range_uid(Family::enterprise, n);
  add_authority(builder, master, fmt::format("BandMaster{}", n), true, pin);
  builder.allow(master, method::kEnterpriseSet, {kAceEraseMasterSetEnabled});
  builder.pin(pin, fmt::format("C_PIN_BandMaster{}", n), pins.msid, rule);
  builder.ace(kAceBandPinSet + n, fmt::format("ACE_C_PIN_BandMaster{}_Set_PIN", n), {master},
              {kPin});
  builder.ace(kAceBandPinGet + n, fmt::format("ACE_C_PIN_BandMaster{}_Get_NOPIN", n),
              {master, uid::kEraseMaster}, kAllButPin);
  builder.allow(pin, method::kEnterpriseSet, {kAceBandPinSet + n});
  builder.allow(pin, method::kEnterpriseGet, {kAceBandPinGet + n});
  builder.row(band, locking_row(options, n, n == 0 ? "Global_Range" : fmt::format("Band{}", n)));
  if (n == 0)
    builder.ace(kAceBand, "ACE_BandMaster0_Set", {master},
                {kReadLockEnabled, kWriteLockEnabled, kReadLocked, kWriteLocked, kLockOnReset});
  else
    builder.ace(kAceBand + n, fmt::format("ACE_BandMaster{}_Set", n), {master},
                {kRangeStart, kRangeLength, kReadLockEnabled, kWriteLockEnabled, kReadLocked,
                 kWriteLocked, kLockOnReset});
  builder.allow(band, method::kEnterpriseGet, {uid::kAceAnybody});
  builder.allow(band, method::kEnterpriseSet, {kAceBand + n});
  builder.allow(band, method::kErase, {kAceEraseMaster});
  builder.row(range_key_uid(Family::enterprise, n),
              {{1, text(fmt::format("K_AES_256_Band{}_Key", n))}, {4, number(7)}});
}

}  // namespace

Sp enterprise_admin_sp(const EmulatedDriveOptions& options, const FactoryPins& pins) {
  SpBuilder builder(uid::kAdminSp);
  add_base(builder, uid::kAdminSp, "Admin");
  builder.ace(kAceSid, "ACE_SID", {uid::kSid});
  builder.ace(kAceSidSetEnabled, "ACE_SID_Set_Enabled", {uid::kSid}, {column::kEnabled});
  builder.ace(kAcePinSidGet, "ACE_C_PIN_SID_Get_NOPIN", {uid::kSid}, kAllButPin);
  builder.ace(kAcePinSidSet, "ACE_C_PIN_SID_Set_PIN", {uid::kSid}, {column::kPin});
  builder.ace(kAcePinMsidGet, "ACE_C_PIN_MSID_Get_PIN", {uid::kAnybody}, {0, column::kPin});
  add_authority(builder, uid::kMakers, "Makers", false, 0);
  builder.allow(uid::kMakers, method::kEnterpriseSet, {kAceSidSetEnabled});
  add_authority(builder, uid::kSid, "SID", true, uid::kPinSid);
  builder.pin(uid::kPinSid, "C_PIN_SID", pins.sid, {options.try_limit, options.tries_persist});
  builder.allow(uid::kPinSid, method::kEnterpriseGet, {kAcePinSidGet});
  builder.allow(uid::kPinSid, method::kEnterpriseSet, {kAcePinSidSet});
  builder.pin(uid::kPinMsid, "C_PIN_MSID", pins.msid, {});
  builder.allow(uid::kPinMsid, method::kEnterpriseGet, {kAcePinMsidGet});
  for (const Uid sp : {uid::kAdminSp, uid::kEnterpriseLockingSp}) {
    builder.row(sp,
                {{1, text(sp == uid::kAdminSp ? "Admin" : "Locking")},
                 {column::kLifeCycle, number(static_cast<std::uint64_t>(LifeCycle::manufactured))},
                 {7, boolean_value(false)}});
    builder.allow(sp, method::kEnterpriseGet, {uid::kAceAnybody});
  }
  add_psid(builder, options, pins);
  // Revert is not Enterprise's own; drives of that family in the field take it of the PSID and SID.
  builder.allow(uid::kAdminSp, method::kRevert, {kAceSid, make_uid(table::kAce, 0x000100E0)});
  return std::move(builder).finish();
}

Sp enterprise_locking_sp(const EmulatedDriveOptions& options, const FactoryPins& pins) {
  SpBuilder builder(uid::kEnterpriseLockingSp);
  add_base(builder, uid::kEnterpriseLockingSp, "Locking");
  add_authority(builder, uid::kEraseMaster, "EraseMaster", true, uid::kPinEraseMaster);
  builder.pin(uid::kPinEraseMaster, "C_PIN_EraseMaster", pins.msid,
              {options.try_limit, options.tries_persist});
  builder.ace(kAceEraseMaster, "ACE_EraseMaster", {uid::kEraseMaster});
  builder.ace(kAceEraseMasterSetEnabled, "ACE_EraseMaster_Set_Enabled", {uid::kEraseMaster},
              {column::kEnabled});
  builder.ace(kAceEraseMasterPinSet, "ACE_C_PIN_EraseMaster_Set_PIN", {uid::kEraseMaster},
              {column::kPin});
  builder.ace(kAceEraseMasterPinGet, "ACE_C_PIN_EraseMaster_Get_NOPIN", {uid::kEraseMaster},
              kAllButPin);
  builder.allow(uid::kPinEraseMaster, method::kEnterpriseSet, {kAceEraseMasterPinSet});
  builder.allow(uid::kPinEraseMaster, method::kEnterpriseGet, {kAceEraseMasterPinGet});
  for (std::uint32_t n = 0; n <= options.ranges; ++n) add_band(builder, options, pins, n);
  builder.row(uid::kLockingInfo, locking_info(options));
  builder.allow(uid::kLockingInfo, method::kEnterpriseGet, {uid::kAceAnybody});
  builder.byte_table(uid::kDataStore, "DataStore", options.data_store_bytes);
  builder.ace(kAceDataStore, "ACE_DataStore_Set", {uid::kBandMaster, uid::kEraseMaster});
  builder.allow(uid::kDataStore, method::kEnterpriseGet, {uid::kAceAnybody});
  builder.allow(uid::kDataStore, method::kEnterpriseSet, {kAceDataStore});
  return std::move(builder).finish();
}

}  // namespace keyward::sed::emulator
