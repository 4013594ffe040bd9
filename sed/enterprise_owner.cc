#include "sed/enterprise_owner.h"

#include <algorithm>

#include "sed/range_cells.h"

namespace keyward::sed {
namespace {

using tcg::Session;
namespace column = tcg::column;

std::unexpected<Error> somebody_elses() {
  return fail(ErrorCode::conflict,
              "the drive is owned by somebody else, or by an owner PIN that this node does not "
              "know of; revert it with the PSID on its label, which destroys its data");
}

bool is_refused(ErrorCode code) {
  return code == ErrorCode::auth_failed || code == ErrorCode::invalid_argument ||
         code == ErrorCode::unsupported;
}

bool is_in(const std::vector<std::uint32_t>& bands, std::uint32_t band) {
  return std::ranges::find(bands, band) != bands.end();
}

}  // namespace

Result<SecretBytes> EnterpriseOwner::Pins::of(const Authority& authority) const {
  return are_factory() ? secret.duplicate() : authority_pin(secret, authority.name);
}

Result<EnterpriseOwner::Pins> EnterpriseOwner::owners(const SecretBytes& owner_pin) {
  return Pins{owner_pin, TRY(pin_tag(owner_pin))};
}

Result<Session> EnterpriseOwner::start(const Authority& authority, const Pins& pins) {
  const SecretBytes pin = TRY(pins.of(authority));
  return link_.start(authority, pin, Session::Mode::write);
}

Result<std::vector<Authority>> EnterpriseOwner::authorities() {
  if (link_.known().ranges_max == 0) TRY(learn_locking_sp(link_));
  std::vector<Authority> all{who::sid(), who::erase_master()};
  Session session = TRY(link_.start_as_anybody(link_.locking_sp()));
  for (std::uint32_t n = 0; n <= link_.known().ranges_max; ++n) {
    const Authority master = who::band_master(n);
    const std::uint32_t kEnabled = column::authority::kEnabled;
    const Result<tcg::Row> row = session.get(master.uid, {kEnabled, kEnabled});
    if (!row && !session.is_open()) return std::unexpected(row.error());
    if (!row && n > 0) break;  // There are no more.
    if (!row || tcg::number_in(*row, kEnabled) != 0) all.push_back(master);
  }
  TRY(session.close());
  return all;
}

Result<void> EnterpriseOwner::write(const Pins& erase_masters, OwnerMarker& marker) {
  ++marker.generation;
  Session session = TRY(start(who::erase_master(), erase_masters));
  const Result<void> written = write_marker(session, marker);
  if (!written && session.is_open() && is_refused(written.error().code))
    return fail(ErrorCode::unsupported,
                "the drive's DataStore cannot be written by its EraseMaster, so its owner could "
                "not be told: " +
                    written.error().message);
  TRY(written);
  return session.close();
}

Result<void> EnterpriseOwner::settle(const Pins& pins, OwnerMarker marker) {
  marker.settled = true;
  marker.tag = pins.tag;
  marker.next_tag = {};
  TRY(write(pins, marker));
  link_.known().ranges = marker.ranges;
  return {};
}

Result<void> EnterpriseOwner::take(const SecretBytes& owner_pin) {
  const Pins ours = TRY(owners(owner_pin));
  const auto found = TRY(read_marker(link_));
  OwnerMarker marker = found.value_or(OwnerMarker{});
  if (found && marker.settled && marker.tag == ours.tag) {
    if (marker.node == link_.node()) return {};
    marker.node = link_.node();
    return settle(ours, marker);
  }
  if (found && (marker.settled || marker.tag != PinTag{} || marker.next_tag != ours.tag))
    return somebody_elses();
  const SecretBytes msid = TRY(link_.read_msid());
  marker.node = link_.node();
  marker.next_tag = ours.tag;
  return hand_over_all({msid}, ours, found.has_value(), marker);
}

Result<void> EnterpriseOwner::change(const SecretBytes& current, const SecretBytes& next) {
  const Pins from = TRY(owners(current));
  const Pins to = TRY(owners(next));
  if (from.tag == to.tag) return {};
  const auto found = TRY(read_marker(link_));
  if (!found) return somebody_elses();
  OwnerMarker marker = *found;
  if (marker.settled && marker.tag == to.tag) return {};
  const bool resumed = !marker.settled && marker.tag == from.tag && marker.next_tag == to.tag;
  if (!resumed && (!marker.settled || marker.tag != from.tag))
    return fail(ErrorCode::conflict,
                "neither of the two owner PINs is the one that the drive's marker names; or taking "
                "or erasing the drive was interrupted: finish that first");
  marker.next_tag = to.tag;
  return hand_over_all(from, to, resumed, marker);
}

// One authority after another. What is found unsettled may have changed some of them.
Result<void> EnterpriseOwner::hand_over_all(const Pins& from, const Pins& to, bool resumed,
                                            OwnerMarker marker) {
  const std::vector<Authority> all = TRY(authorities());
  if (!resumed) {
    marker.settled = false;
    marker.tag = from.tag;
    Result<void> written = write(from, marker);
    if (!written && written.error().code == ErrorCode::auth_failed && from.are_factory())
      return somebody_elses();
    TRY(written);
  }
  for (const Authority& authority : all) TRY(hand_over(authority, from, to, resumed));
  if (from.are_factory()) TRY(open_band(to.secret, 0));
  return settle(to, marker);
}

Result<void> EnterpriseOwner::hand_over(const Authority& authority, const Pins& from,
                                        const Pins& to, bool resumed) {
  const bool to_first = resumed && TRY(link_.gate().intends(authority.name, to.tag));
  if (to_first) {
    Result<Session> session = start(authority, to);
    if (session) return session->close();
    if (session.error().code != ErrorCode::auth_failed) return std::unexpected(session.error());
    TRY(link_.gate().note_intent(authority.name, from.tag));  // Not sent again.
  }
  Result<Session> session = start(authority, from);
  if (!session && session.error().code == ErrorCode::auth_failed && resumed && !to_first) {
    TRY(link_.gate().note_intent(authority.name, to.tag));
    return TRY(start(authority, to)).close();
  }
  if (!session) return std::unexpected(session.error());
  TRY(link_.note_limit(*session, authority));
  TRY(link_.gate().note_intent(authority.name, to.tag));
  const SecretBytes pin = TRY(to.of(authority));
  TRY(session->set_pin(authority.credential, pin));
  return session->close();
}

Result<void> EnterpriseOwner::open_band(const SecretBytes& owner_pin, std::uint32_t band) {
  Session session = TRY(link_.start_as(who::band_master(band), owner_pin, Session::Mode::write));
  TRY(session.set(tcg::range::band(band), lockable_and_open()));
  return session.close();
}

Result<void> EnterpriseOwner::enable_band_master(const Pins& pins, std::uint32_t band) {
  const Authority master = who::band_master(band);
  const std::uint32_t kEnabled = column::authority::kEnabled;
  Session session = TRY(start(who::erase_master(), pins));
  const tcg::Row row = TRY(session.get(master.uid, {kEnabled, kEnabled}));
  if (tcg::number_in(row, kEnabled) != 0) return session.close();
  TRY(session.set(master.uid, {{kEnabled, std::uint64_t{1}}}));
  TRY(session.close());
  const SecretBytes msid = TRY(link_.read_msid());
  return hand_over(master, {msid}, pins, true);
}

Result<OwnerMarker> EnterpriseOwner::marker_of(const SecretBytes& owner_pin) {
  const auto marker = TRY(read_marker(link_));
  if (!marker || marker->tag != TRY(pin_tag(owner_pin))) return somebody_elses();
  if (!marker->settled && marker->next_tag != PinTag{})
    return fail(ErrorCode::conflict,
                "the drive's owner PIN is being changed; finish that first, with both PINs");
  return *marker;
}

// An erase that was interrupted has left the marker unsettled between our PINs and the factory's.
Result<void> EnterpriseOwner::erase(const SecretBytes& owner_pin,
                                    const std::vector<std::uint32_t>& bands) {
  OwnerMarker marker = TRY(marker_of(owner_pin));
  const bool resumed = !marker.settled;
  const Pins ours = TRY(owners(owner_pin));
  const SecretBytes msid = TRY(link_.read_msid());
  marker.settled = false;
  TRY(write(ours, marker));
  // From here on the factory's PIN is the likelier one.
  for (const std::uint32_t band : bands)
    TRY(link_.gate().note_intent(who::band_master(band).name, PinTag{}));
  Session session = TRY(start(who::erase_master(), ours));
  for (const std::uint32_t band : bands)
    TRY(session.invoke(tcg::range::band(band), tcg::method::kErase));
  TRY(session.close());
  TRY(give_back_bands({msid}, ours, bands, resumed));
  for (const std::uint32_t band : TRY(ranges_in_use(link_))) TRY(open_band(owner_pin, band));
  return settle(ours, marker);
}

Result<void> EnterpriseOwner::take_back_bands(const SecretBytes& owner_pin) {
  if (TRY(marker_of(owner_pin)).settled) return {};
  const Pins ours = TRY(owners(owner_pin));
  const SecretBytes msid = TRY(link_.read_msid());
  for (const std::uint32_t band : TRY(ranges_in_use(link_))) {
    TRY(hand_over(who::band_master(band), {msid}, ours, true));
    TRY(open_band(owner_pin, band));
  }
  return {};
}

// Whose band was erased just now has the factory's PIN. Of the others an earlier erase may have.
Result<void> EnterpriseOwner::give_back_bands(const Pins& factory, const Pins& pins,
                                              const std::vector<std::uint32_t>& erased,
                                              bool resumed) {
  for (const std::uint32_t band : erased)
    TRY(hand_over(who::band_master(band), factory, pins, false));
  if (!resumed) return {};
  for (const std::uint32_t band : TRY(ranges_in_use(link_)))
    if (!is_in(erased, band)) TRY(hand_over(who::band_master(band), factory, pins, true));
  return {};
}

Result<void> EnterpriseOwner::mark(const SecretBytes& owner_pin, std::uint32_t band, bool in_use) {
  OwnerMarker marker = TRY(marker_of(owner_pin));
  if (!marker.settled)
    return fail(ErrorCode::conflict, "erasing the drive was interrupted; erase it again first");
  const Pins ours = TRY(owners(owner_pin));
  if (in_use) TRY(enable_band_master(ours, band));
  const std::uint64_t bit = std::uint64_t{1} << (band - 1);
  marker.ranges = in_use ? marker.ranges | bit : marker.ranges & ~bit;
  return settle(ours, marker);
}

}  // namespace keyward::sed
