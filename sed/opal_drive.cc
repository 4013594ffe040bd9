#include "sed/opal_drive.h"

#include "sed/drive_report.h"
#include "sed/opal_erase.h"
#include "sed/opal_owner.h"
#include "sed/range_cells.h"

namespace keyward::sed {
namespace {

using tcg::Session;

bool is_pyrite(tcg::Ssc ssc) { return ssc == tcg::Ssc::pyrite1 || ssc == tcg::Ssc::pyrite2; }

}  // namespace

OpalDrive::OpalDrive(std::unique_ptr<TcgLink> link)
    : link_(std::move(link)), ranges_(*link_), shadow_mbr_(*link_), data_store_(*link_) {}

Bytes OpalDrive::knowledge() const {
  if (link_->known().ssc == tcg::Ssc::none) return {};
  return link_->known().render(identity());
}

RangeTable* OpalDrive::ranges() { return is_pyrite(link_->known().ssc) ? nullptr : &ranges_; }

ShadowMbr* OpalDrive::shadow_mbr() {
  return link_->known().has_shadow_mbr ? &shadow_mbr_ : nullptr;
}

Result<DriveState> OpalDrive::state() {
  const tcg::Discovery found = TRY(link_->discover());
  DriveState state = TRY(report_level0(found, *link_));
  TRY(find_owner(found, state));
  for (const Authority& authority : {who::sid(), who::admin1()})
    TRY(report_tries(*link_, authority, state));
  return state;
}

Result<void> OpalDrive::find_owner(const tcg::Discovery& found, DriveState& state) {
  if (!locking_is_active(found)) return find_owner_while_inactive(found, state);
  const auto marker = TRY(learn_locking_sp(*link_));
  if (marker) {
    report_marker(*marker, *link_, state);
    return {};
  }
  state.owner = Owner::somebody_else;
  const TryRecord sid = TRY(link_->gate().record(who::sid().name));
  if (!sid.intent) return {};
  state.owner = Owner::unknown;
  state.next_pin = sid.intent;
  state.notes.emplace_back("taking ownership was interrupted: take it again with the same PIN");
  return {};
}

// The Locking SP is as it came. Whether the SID's PIN is, tells the Block SID feature, if any.
Result<void> OpalDrive::find_owner_while_inactive(const tcg::Discovery& found, DriveState& state) {
  state.owner = Owner::nobody;
  const TryRecord sid = TRY(link_->gate().record(who::sid().name));
  const bool changed = found.block_sid && found.block_sid->sid_pin_changed;
  if (!changed && (found.block_sid || !sid.intent)) {
    if (found.ssc()->first_sid_pin_is_msid == false)
      state.notes.emplace_back("the SID's first PIN is the vendor's own, not the MSID");
    return {};
  }
  state.owner = Owner::unknown;
  if (sid.intent) {
    state.next_pin = sid.intent;
    state.notes.emplace_back("the SID's PIN is, or may be, one of this node's");
  } else if (found.ssc()->first_sid_pin_is_msid != false) {
    state.owner = Owner::somebody_else;
  } else {
    state.notes.emplace_back("the SID's PIN is not the MSID; the vendor gave it one of its own");
  }
  return {};
}

Result<void> OpalDrive::take_ownership(const SecretBytes& owner_pin) {
  TRY(OpalOwner(*link_).take(owner_pin));
  return set_access(owner_pin, Access::unlocked);
}

Result<void> OpalDrive::prove(const SecretBytes& owner_pin) {
  return TRY(link_->start_as(who::admin1(), owner_pin, Session::Mode::read)).close();
}

Result<void> OpalDrive::set_access(const SecretBytes& owner_pin, Access access) {
  const std::vector<std::uint32_t> ranges = TRY(ranges_in_use(*link_));
  Session session = TRY(link_->start_as(who::admin1(), owner_pin, Session::Mode::write));
  for (const std::uint32_t range : ranges)
    TRY(session.set(tcg::range::opal(range), locks_of(access)));
  if (access != Access::locked && link_->known().shadow_mbr_enabled)
    TRY(session.set(tcg::kMbrControl, {{tcg::column::mbr_control::kDone, std::uint64_t{1}}}));
  return session.close();
}

Result<void> OpalDrive::change_pin(const SecretBytes& current, const SecretBytes& next) {
  return OpalOwner(*link_).change(current, next);
}

Result<void> OpalDrive::erase(EraseMethod method, const SecretBytes& credential, Destroy) {
  return OpalErase(*link_).run(method, credential);
}

Result<void> OpalDrive::freeze() {
  if (!link_->known().has_block_sid)
    return fail(ErrorCode::unsupported, "the drive has no Block SID");
  return TRY(link_->channel())->block_sid(tcg::Channel::Until::power_cycle);
}

}  // namespace keyward::sed
