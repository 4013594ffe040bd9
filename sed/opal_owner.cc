#include "sed/opal_owner.h"

#include <algorithm>

#include "sed/range_cells.h"

namespace keyward::sed {
namespace {

using tcg::List;
using tcg::Session;
namespace column = tcg::column;

std::unexpected<Error> somebody_elses() {
  return fail(ErrorCode::conflict,
              "the drive is owned by somebody else, or by an owner PIN that this node does not "
              "know of; revert it with that PIN, or with the PSID on its label, which destroys "
              "its data");
}

std::unexpected<Error> without_msid() {
  return fail(ErrorCode::conflict,
              "the SID's PIN is not the MSID: the vendor gave the drive a PIN of its own, or "
              "somebody has owned it. Revert it with the PSID on its label, which destroys its "
              "data, or ask its vendor for the PIN");
}

// Anybody OR Admins, in postfix as Core 5.1.3.3 has it.
List anybody_or_admins() {
  const auto authority = [](const tcg::Uid& uid) {
    return tcg::named(tcg::bytes(tcg::expression::kAuthorityRef), tcg::bytes(uid));
  };
  List expression;
  expression.push_back(authority(tcg::authority::kAnybody));
  expression.push_back(authority(tcg::authority::kAdmins));
  expression.push_back(
      tcg::named(tcg::bytes(tcg::expression::kBooleanOperator), tcg::number(tcg::expression::kOr)));
  return expression;
}

Result<void> set_pin_of(Session& session, const Authority& authority,
                        const SecretBytes& owner_pin) {
  const SecretBytes pin = TRY(authority_pin(owner_pin, authority.name));
  return session.set_pin(authority.credential, pin);
}

}  // namespace

bool locking_is_active(const tcg::Discovery& found) {
  return found.locking && found.locking->enabled;
}

Result<void> check_sid_can_speak(const tcg::Discovery& found) {
  if (found.block_sid && found.block_sid->sid_blocked)
    return fail(ErrorCode::conflict,
                "Block SID is set: the machine's firmware has blocked the drive's SID until the "
                "drive's power goes. Switch that off in the firmware's setup, or take the drive's "
                "power off and on (or plug it in) while the system runs");
  return {};
}

Result<void> check_no_ata_password(TcgLink& link) {
  if (link.has_ata_password())
    return fail(ErrorCode::conflict,
                "an ATA password is set on the drive, so it takes no TCG owner; disable the "
                "password first (in the machine's setup, or with hdparm --security-disable)");
  return {};
}

Result<void> OpalOwner::take(const SecretBytes& owner_pin) {
  const PinTag tag = TRY(pin_tag(owner_pin));
  const tcg::Discovery found = TRY(link_.discover());
  if (!locking_is_active(found)) {
    TRY(check_sid_can_speak(found));
    TRY(check_no_ata_password(link_));
    TRY(take_sid(found, owner_pin, tag));
    return take_locking_sp(owner_pin, tag);
  }
  const auto marker = TRY(read_marker(link_));
  if (marker) return adopt(*marker, owner_pin, tag);
  if (!TRY(link_.gate().intends(who::sid().name, tag))) return somebody_elses();
  return take_locking_sp(owner_pin, tag);
}

// The PIN is the drive's: whose marker it has may be another node's, from which we have the PIN.
Result<void> OpalOwner::adopt(const OwnerMarker& marker, const SecretBytes& owner_pin,
                              const PinTag& tag) {
  if (marker.tag != tag) return somebody_elses();
  if (!marker.settled)
    return fail(ErrorCode::conflict,
                "the drive's owner PIN is being changed; finish that first, with both PINs");
  if (marker.node == link_.node()) return {};
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  OwnerMarker ours = marker;
  ours.node = link_.node();
  ++ours.generation;
  TRY(write_marker(session, ours));
  return session.close();
}

// The SID gets its PIN, and its session activates the Locking SP.
Result<void> OpalOwner::take_sid(const tcg::Discovery& found, const SecretBytes& owner_pin,
                                 const PinTag& tag) {
  const Authority sid = who::sid();
  const bool may_be_ours = TRY(link_.gate().intends(sid.name, tag));
  const bool is_said = found.block_sid.has_value();
  const bool changed = is_said && found.block_sid->sid_pin_changed;
  std::optional<Session> session;
  if (may_be_ours && (changed || !is_said)) {
    Result<Session> started = link_.start_as(sid, owner_pin, Session::Mode::write);
    if (started)
      session.emplace(std::move(*started));
    else if (is_said || started.error().code != ErrorCode::auth_failed)
      return std::unexpected(started.error());
  } else if (changed) {
    if (found.ssc()->first_sid_pin_is_msid == false) return without_msid();
    return somebody_elses();
  }
  if (!session) {
    session.emplace(TRY(start_as_factory_sid(found)));
    TRY(link_.note_limit(*session, sid));
    TRY(link_.gate().note_intent(sid.name, tag));
    TRY(set_pin_of(*session, sid, owner_pin));
  }
  TRY(session->invoke(tcg::sp::kLocking, tcg::method::kActivate));
  return session->close();
}

Result<Session> OpalOwner::start_as_factory_sid(const tcg::Discovery& found) {
  if (found.ssc()->first_sid_pin_is_msid == false && found.ssc()->reverted_sid_pin_is_msid != true)
    return without_msid();
  const SecretBytes msid = TRY(link_.read_msid());
  Result<Session> session = link_.start(who::sid(), msid, Session::Mode::write);
  if (!session && session.error().code == ErrorCode::auth_failed) return without_msid();
  return session;
}

// Activate gave Admin1 the SID's PIN. It has its own already where only the marker is lost.
Result<Session> OpalOwner::start_as_new_admin1(const SecretBytes& owner_pin) {
  const SecretBytes sids = TRY(authority_pin(owner_pin, who::sid().name));
  Result<Session> session = link_.start(who::admin1(), sids, Session::Mode::write);
  if (session || session.error().code != ErrorCode::auth_failed) return session;
  return link_.start_as(who::admin1(), owner_pin, Session::Mode::write);
}

// As a marker has them: there are some where only the marker is lost.
Result<std::uint64_t> OpalOwner::placed_ranges(Session& session) {
  const std::uint32_t kLength = column::locking::kRangeLength;
  std::uint64_t placed = 0;
  for (std::uint32_t n = 1; n <= std::min(link_.known().ranges_max, kRangesMarked); ++n) {
    const tcg::Row row = TRY(session.get(tcg::range::opal(n), {kLength, kLength}));
    if (tcg::number_in(row, kLength).value_or(0) != 0) placed |= std::uint64_t{1} << (n - 1);
  }
  return placed;
}

// All or nothing, and with it the marker becomes readable.
Result<void> OpalOwner::take_locking_sp(const SecretBytes& owner_pin, const PinTag& tag) {
  const Authority admin1 = who::admin1();
  Session session = TRY(start_as_new_admin1(owner_pin));
  TRY(link_.note_limit(session, admin1));
  TRY(session.begin_transaction());
  TRY(session.set(tcg::ace::kDataStoreGet, {{column::ace::kExpression, anybody_or_admins()}}));
  TRY(session.set(tcg::range::kGlobal, lockable_and_open()));
  TRY(set_pin_of(session, admin1, owner_pin));
  OwnerMarker marker;
  marker.settled = true;
  marker.generation = 1;
  marker.node = link_.node();
  marker.tag = tag;
  marker.ranges = TRY(placed_ranges(session));
  TRY(write_marker(session, marker));
  TRY(session.commit());
  TRY(session.close());
  static_cast<void>(learn_locking_sp(link_));  // For the next time only.
  return {};
}

Result<void> OpalOwner::change(const SecretBytes& current, const SecretBytes& next) {
  const PinTag from = TRY(pin_tag(current));
  const PinTag to = TRY(pin_tag(next));
  if (from == to) return {};
  const tcg::Discovery found = TRY(link_.discover());
  if (!locking_is_active(found)) {
    TRY(check_sid_can_speak(found));
    return change_sid(current, next);
  }
  const auto marker = TRY(read_marker(link_));
  if (!marker)
    return fail(ErrorCode::conflict,
                "the drive has no marker of ours: if taking ownership was interrupted, finish that "
                "first; else somebody else owns it");
  if (marker->tag == to && marker->settled) return {};
  TRY(check_sid_can_speak(found));
  if (marker->tag == from && (marker->settled || marker->next_tag == to))
    TRY(change_locking_sp(*marker, current, next));
  else if (marker->tag != to || marker->next_tag != from)
    return fail(ErrorCode::conflict,
                "neither of the two owner PINs is the one that the drive's marker names");
  TRY(change_sid(current, next));
  return settle(next);
}

Result<void> OpalOwner::change_locking_sp(const OwnerMarker& marker, const SecretBytes& current,
                                          const SecretBytes& next) {
  OwnerMarker changed = marker;
  changed.settled = false;
  changed.tag = TRY(pin_tag(next));
  changed.next_tag = TRY(pin_tag(current));
  ++changed.generation;
  Session session = TRY(link_.start_as(who::admin1(), current, Session::Mode::write));
  TRY(session.begin_transaction());
  TRY(set_pin_of(session, who::admin1(), next));
  for (std::uint32_t n = 1; n <= 32; ++n)
    if ((marker.users >> (n - 1) & 1) != 0) TRY(set_pin_of(session, who::user(n), next));
  TRY(write_marker(session, changed));
  TRY(session.commit());
  return session.close();
}

// Either PIN may be the SID's after a crash; the ledger says with which one to begin.
Result<void> OpalOwner::change_sid(const SecretBytes& current, const SecretBytes& next) {
  const Authority sid = who::sid();
  const PinTag to = TRY(pin_tag(next));
  const bool next_first = TRY(link_.gate().intends(sid.name, to));
  if (next_first) {
    Result<Session> session = link_.start_as(sid, next, Session::Mode::write);
    if (session) return session->close();
    if (session.error().code != ErrorCode::auth_failed) return std::unexpected(session.error());
    TRY(link_.gate().note_intent(sid.name, TRY(pin_tag(current))));  // Not sent again.
  }
  Result<Session> session = link_.start_as(sid, current, Session::Mode::write);
  if (!session && session.error().code == ErrorCode::auth_failed && !next_first) {
    TRY(link_.gate().note_intent(sid.name, to));
    return TRY(link_.start_as(sid, next, Session::Mode::write)).close();
  }
  if (!session) return std::unexpected(session.error());
  TRY(link_.gate().note_intent(sid.name, to));
  TRY(set_pin_of(*session, sid, next));
  return session->close();
}

Result<void> OpalOwner::settle(const SecretBytes& owner_pin) {
  const auto marker = TRY(read_marker(link_));
  if (!marker) return fail(ErrorCode::protocol, "the drive's marker was there and is not now");
  OwnerMarker settled = *marker;
  settled.settled = true;
  settled.next_tag = {};
  ++settled.generation;
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  TRY(write_marker(session, settled));
  return session.close();
}

}  // namespace keyward::sed
