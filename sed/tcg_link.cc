#include "sed/tcg_link.h"

#include <fmt/format.h>

#include "sed/ata/ata_security.h"

namespace keyward::sed {

using tcg::Session;
using tcg::Uid;

namespace who {

Authority sid() { return {"SID", tcg::authority::kSid, tcg::pin::kSid, tcg::sp::kAdmin}; }
Authority psid() { return {"PSID", tcg::authority::kPsid, tcg::pin::kPsid, tcg::sp::kAdmin}; }
Authority admin1() {
  return {"Admin1", tcg::authority::admin(1), tcg::pin::admin(1), tcg::sp::kLocking};
}
Authority user(std::uint32_t n) {
  return {fmt::format("User{}", n), tcg::authority::user(n), tcg::pin::user(n), tcg::sp::kLocking};
}
Authority band_master(std::uint32_t n) {
  return {fmt::format("BandMaster{}", n), tcg::authority::band_master(n), tcg::pin::band_master(n),
          tcg::sp::kEnterpriseLocking};
}
Authority erase_master() {
  return {"EraseMaster", tcg::authority::kEraseMaster, tcg::pin::kEraseMaster,
          tcg::sp::kEnterpriseLocking};
}

}  // namespace who

TcgLink::TcgLink(std::unique_ptr<SecurityTransport> transport, Clock& clock,
                 const AttachOptions& options, const Knowledge& known)
    : transport_(std::move(transport)),
      clock_(clock),
      node_(options.node),
      gate_(*options.ledger, drive_key(transport_->identity())),
      quirks_(tcg::quirks_of(transport_->identity())),
      known_(known) {}

Uid TcgLink::locking_sp() const {
  return is_enterprise() ? tcg::sp::kEnterpriseLocking : tcg::sp::kLocking;
}

Result<tcg::Channel*> TcgLink::channel() {
  if (!channel_)
    channel_ = TRY(tcg::Channel::open(*transport_, clock_, known_.discovery(),
                                      {.quirks = quirks_, .known = known_.properties}));
  return &*channel_;
}

Result<void> TcgLink::negotiate() {
  tcg::Channel* channel = TRY(this->channel());
  TRY(channel->negotiate());
  known_.properties = channel->properties();
  return {};
}

Result<tcg::Discovery> TcgLink::discover() {
  tcg::Discovery found = TRY(tcg::discover(*transport_));
  doubts_ = false;
  const Knowledge now = Knowledge::of(found);
  if (now.ssc == known_.ssc && now.com_id == known_.com_id) {
    known_.has_shadow_mbr = now.has_shadow_mbr;
    known_.shadow_mbr_enabled = now.shadow_mbr_enabled;
    known_.has_block_sid = now.has_block_sid;
    known_.users = now.users;
    return found;
  }
  const bool same_kind =
      now.ssc != tcg::Ssc::none && (now.ssc == tcg::Ssc::enterprise) == is_enterprise();
  channel_.reset();
  if (!same_kind) {
    known_ = {};
    return fail(ErrorCode::conflict,
                "the drive is of another kind than it was; it has to be attached anew");
  }
  known_ = now;
  return found;
}

Result<bool> TcgLink::look_again(const Uid& provider) {
  const std::uint16_t com_id = known_.com_id;
  const tcg::Discovery found = TRY(discover());
  if (provider == locking_sp() && found.locking && !found.locking->enabled)
    return fail(ErrorCode::conflict,
                "the drive's Locking SP is not active: nobody owns the drive; take ownership");
  return known_.com_id != com_id;
}

Result<Session> TcgLink::start_once(const Authority& authority, const SecretBytes& pin,
                                    Session::Mode mode) {
  tcg::Channel* channel = TRY(this->channel());
  std::optional<Session> session;
  const auto send = [&]() -> Result<void> {
    session.emplace(TRY(Session::start(*channel, authority.provider, {authority.uid, &pin}, mode)));
    return {};
  };
  const auto is_there = [&]() -> Result<void> {
    TRY(tcg::discover(*transport_));
    return {};
  };
  TRY(gate_.attempt(authority.name, send, is_there));
  return std::move(*session);
}

// INVALID_PARAMETER, and a ComID that the drive does not have, come before any PIN is looked at.
// Some drives are silent on a ComID that is not theirs.
Result<Session> TcgLink::start(const Authority& authority, const SecretBytes& pin,
                               Session::Mode mode) {
  if (doubts_) TRY(discover());
  Result<Session> session = start_once(authority, pin, mode);
  doubts_ = !session && session.error().code == ErrorCode::timeout;
  if (session || session.error().code != ErrorCode::invalid_argument) return session;
  if (!TRY(look_again(authority.provider))) return session;
  return start_once(authority, pin, mode);
}

Result<Session> TcgLink::start_as(const Authority& authority, const SecretBytes& owner_pin,
                                  Session::Mode mode) {
  const SecretBytes pin = TRY(authority_pin(owner_pin, authority.name));
  return start(authority, pin, mode);
}

Result<Session> TcgLink::start_as_anybody(const Uid& provider) {
  if (doubts_) TRY(discover());
  Result<Session> session = Session::start(*TRY(channel()), provider, {}, Session::Mode::read);
  doubts_ = !session && session.error().code == ErrorCode::timeout;
  if (session || session.error().code != ErrorCode::invalid_argument) return session;
  if (!TRY(look_again(provider))) return session;
  return Session::start(*TRY(channel()), provider, {}, Session::Mode::read);
}

Result<SecretBytes> TcgLink::read_msid() {
  Session session = TRY(start_as_anybody(tcg::sp::kAdmin));
  Result<tcg::Row> row =
      session.get(tcg::pin::kMsid, {tcg::column::pin::kPin, tcg::column::pin::kPin});
  if (!row && row.error().code != ErrorCode::auth_failed) return std::unexpected(row.error());
  TRY(session.close());
  const Bytes* cell = row ? tcg::bytes_in(*row, tcg::column::pin::kPin) : nullptr;
  if (cell == nullptr || cell->empty())
    return fail(ErrorCode::conflict,
                "the drive does not tell its MSID, so its first PIN is not known; revert it with "
                "the PSID on its label, which destroys its data, or ask its vendor for the PIN");
  Bytes msid = *cell;
  return SecretBytes::take_from(msid);
}

Result<void> TcgLink::note_limit(Session& session, const Authority& authority) {
  const Result<tcg::Row> row =
      session.get(authority.credential, {tcg::column::pin::kTryLimit, tcg::column::pin::kTryLimit});
  if (!row) return session.is_open() ? Result<void>{} : std::unexpected(row.error());
  const auto limit = tcg::number_in(*row, tcg::column::pin::kTryLimit);
  if (!limit || *limit > UINT32_MAX) return {};
  return gate_.note_limit(authority.name, static_cast<std::uint32_t>(*limit));
}

bool TcgLink::has_ata_password() {
  const auto status = ata::read_status(*transport_);
  return status && status->enabled;
}

}  // namespace keyward::sed
