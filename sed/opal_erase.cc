#include "sed/opal_erase.h"

#include <algorithm>

#include "sed/marker_store.h"
#include "sed/opal_owner.h"

namespace keyward::sed {
namespace {

using tcg::Session;
namespace column = tcg::column;

bool is_pyrite(tcg::Ssc ssc) { return ssc == tcg::Ssc::pyrite1 || ssc == tcg::Ssc::pyrite2; }

// The same drive, as it came: what is constant of it is still known.
void forget_what_its_owner_made(TcgLink& link) {
  link.known().ranges.reset();
  link.known().shadow_mbr_enabled = false;
}

Result<void> renew_key(Session& session, std::uint32_t range) {
  const std::uint32_t kKey = column::locking::kActiveKey;
  const tcg::Row row = TRY(session.get(tcg::range::opal(range), {kKey, kKey}));
  const Bytes* key = tcg::bytes_in(row, kKey);
  if (key == nullptr || key->size() != tcg::Uid{}.size())
    return fail(ErrorCode::protocol, "the drive does not name its range's media key");
  tcg::Uid uid;
  std::ranges::copy(*key, uid.begin());
  TRY(session.invoke(uid, tcg::method::kGenKey));
  return {};
}

}  // namespace

Result<void> revert_admin_sp(TcgLink& link, Session& session) {
  TRY(session.invoke(tcg::sp::kAdmin, tcg::method::kRevert));
  forget_what_its_owner_made(link);
  return link.gate().forget();
}

// People mistype PSIDs. How many tries they have, anybody may read.
Result<void> revert_by_psid(TcgLink& link, const SecretBytes& typed_psid) {
  const SecretBytes psid = TRY(normalized_psid(typed_psid));
  Session asking = TRY(link.start_as_anybody(tcg::sp::kAdmin));
  TRY(link.note_limit(asking, who::psid()));
  TRY(asking.close());
  Result<Session> session = link.start(who::psid(), psid, Session::Mode::write);
  if (!session && session.error().code == ErrorCode::invalid_argument)
    return fail(ErrorCode::unsupported, "the drive has no PSID authority");
  if (!session) return std::unexpected(session.error());
  return revert_admin_sp(link, *session);
}

Result<void> OpalErase::run(EraseMethod method, const SecretBytes& credential) {
  switch (method) {
    case EraseMethod::crypto_erase:
      return crypto_erase(credential);
    case EraseMethod::revert:
      return revert(credential);
    case EraseMethod::revert_locking:
      return revert_locking(credential);
    case EraseMethod::psid_revert:
      return revert_by_psid(link_, credential);
    case EraseMethod::ata_enhanced:
      break;
  }
  return fail(ErrorCode::unsupported, "the drive is erased by TCG's methods, not by ATA Security");
}

Result<void> OpalErase::renew_keys(const SecretBytes& owner_pin,
                                   const std::vector<std::uint32_t>& ranges) {
  if (is_pyrite(link_.known().ssc))
    return fail(ErrorCode::unsupported,
                "a Pyrite drive has no media key that a host could renew; revert it");
  Session session = TRY(link_.start_as(who::admin1(), owner_pin, Session::Mode::write));
  for (const std::uint32_t range : ranges) TRY(renew_key(session, range));
  return session.close();
}

// The marker is read anew: whoever holds old knowledge must not leave a range out.
Result<void> OpalErase::crypto_erase(const SecretBytes& owner_pin) {
  link_.known().ranges.reset();
  return renew_keys(owner_pin, TRY(ranges_in_use(link_)));
}

// A drive that was reverted already has the MSID as its SID's PIN and no active Locking SP.
Result<void> OpalErase::revert(const SecretBytes& owner_pin) {
  const tcg::Discovery found = TRY(link_.discover());
  TRY(check_sid_can_speak(found));
  const bool active = locking_is_active(found);
  if (!active && found.block_sid && !found.block_sid->sid_pin_changed) return link_.gate().forget();
  Result<Session> session = link_.start_as(who::sid(), owner_pin, Session::Mode::write);
  if (session) return revert_admin_sp(link_, *session);
  if (session.error().code != ErrorCode::auth_failed || active || found.block_sid)
    return std::unexpected(session.error());
  const SecretBytes msid = TRY(link_.read_msid());
  Result<Session> factory = link_.start(who::sid(), msid, Session::Mode::read);
  if (!factory) return std::unexpected(session.error());
  return factory->close();
}

Result<void> OpalErase::revert_locking(const SecretBytes& owner_pin) {
  const tcg::Discovery found = TRY(link_.discover());
  if (!locking_is_active(found)) return note_locking_reverted();
  Result<Session> session = link_.start_as(who::admin1(), owner_pin, Session::Mode::write);
  if (!session && session.error().code == ErrorCode::locked_out) {
    TRY(check_sid_can_speak(found));
    return revert_locking_as_sid(owner_pin);
  }
  if (!session) return std::unexpected(session.error());
  TRY(session->invoke(tcg::kThisSp, tcg::method::kRevertSp));
  return note_locking_reverted();
}

// The way when Admin1 has no tries left.
Result<void> OpalErase::revert_locking_as_sid(const SecretBytes& owner_pin) {
  Session session = TRY(link_.start_as(who::sid(), owner_pin, Session::Mode::write));
  TRY(session.invoke(tcg::sp::kLocking, tcg::method::kRevert));
  TRY(session.close());
  return note_locking_reverted();
}

// The Locking SP's authorities have new tries; the SID has not.
Result<void> OpalErase::note_locking_reverted() {
  forget_what_its_owner_made(link_);
  for (std::uint32_t n = 1; n <= std::min<std::uint32_t>(link_.known().users, 32); ++n)
    TRY(link_.gate().renew(who::user(n).name));
  return link_.gate().renew(who::admin1().name);
}

}  // namespace keyward::sed
