#include "sed/enterprise_drive.h"

#include <fmt/format.h>

#include <algorithm>

#include "sed/drive_report.h"
#include "sed/enterprise_owner.h"
#include "sed/opal_erase.h"
#include "sed/opal_owner.h"
#include "sed/range_cells.h"

namespace keyward::sed {

using tcg::Session;
namespace column = tcg::column;

namespace {

bool tells_of_cut_off_erase(const std::optional<OwnerMarker>& marker) {
  return marker && !marker->settled && marker->tag != PinTag{} && marker->next_tag == PinTag{};
}

}  // namespace

EnterpriseDrive::EnterpriseDrive(std::unique_ptr<TcgLink> link)
    : link_(std::move(link)), bands_(*link_) {}

Bytes EnterpriseDrive::knowledge() const {
  if (link_->known().ssc == tcg::Ssc::none) return {};
  return link_->known().render(identity());
}

// No PIN is asked for: a drive without marker and locks is as it came, as far as it tells.
Result<DriveState> EnterpriseDrive::state() {
  const tcg::Discovery found = TRY(link_->discover());
  DriveState state = TRY(report_level0(found, *link_));
  const auto marker = TRY(learn_locking_sp(*link_));
  erase_was_cut_off_ = tells_of_cut_off_erase(marker);
  if (marker) {
    report_marker(*marker, *link_, state);
    if (!marker->settled)
      state.notes.emplace_back("taking, changing or erasing was interrupted: do it once more");
  } else if (TRY(locks_anything())) {
    state.owner = Owner::somebody_else;
  } else {
    state.owner = Owner::nobody;
    state.locking_enabled = false;
  }
  for (const Authority& authority : {who::sid(), who::erase_master(), who::band_master(0)})
    TRY(report_tries(*link_, authority, state));
  return state;
}

Result<bool> EnterpriseDrive::locks_anything() {
  Session session = TRY(link_->start_as_anybody(link_->locking_sp()));
  bool locks = false;
  for (std::uint32_t n = 0; n <= bands_.ranges_max() && !locks; ++n) {
    const Result<tcg::Row> row =
        session.get(tcg::range::band(n),
                    {column::locking::kReadLockEnabled, column::locking::kWriteLockEnabled});
    if (!row && !session.is_open()) return std::unexpected(row.error());
    locks = row && (tcg::number_in(*row, column::locking::kReadLockEnabled).value_or(0) != 0 ||
                    tcg::number_in(*row, column::locking::kWriteLockEnabled).value_or(0) != 0);
  }
  TRY(session.close());
  return locks;
}

Result<void> EnterpriseDrive::take_ownership(const SecretBytes& owner_pin) {
  const tcg::Discovery found = TRY(link_->discover());
  TRY(check_sid_can_speak(found));
  TRY(check_no_ata_password(*link_));
  const auto marker = TRY(read_marker(*link_));
  if (!marker && TRY(locks_anything()))
    return fail(ErrorCode::conflict,
                "the drive has no marker of ours, and locks: somebody else owns it; revert it with "
                "the PSID on its label, which destroys its data");
  TRY(EnterpriseOwner(*link_).take(owner_pin));
  return set_access(owner_pin, Access::unlocked);
}

// Before the stored PIN is sent to a band that may not have it.
Result<void> EnterpriseDrive::mend_erase(const SecretBytes& owner_pin) {
  if (!erase_was_cut_off_) return {};
  if (tells_of_cut_off_erase(TRY(read_marker(*link_))))
    TRY(EnterpriseOwner(*link_).take_back_bands(owner_pin));
  erase_was_cut_off_ = false;
  return {};
}

Result<void> EnterpriseDrive::prove(const SecretBytes& owner_pin) {
  TRY(mend_erase(owner_pin));
  return TRY(link_->start_as(who::band_master(0), owner_pin, Session::Mode::read)).close();
}

Result<void> EnterpriseDrive::set_access(const SecretBytes& owner_pin, Access access) {
  TRY(mend_erase(owner_pin));
  for (const std::uint32_t band : TRY(ranges_in_use(*link_)))
    TRY(bands_.set_access(owner_pin, band, access));
  return {};
}

Result<void> EnterpriseDrive::change_pin(const SecretBytes& current, const SecretBytes& next) {
  TRY(check_sid_can_speak(TRY(link_->discover())));
  return EnterpriseOwner(*link_).change(current, next);
}

Result<void> EnterpriseDrive::erase(EraseMethod method, const SecretBytes& credential, Destroy) {
  switch (method) {
    case EraseMethod::crypto_erase:
      return crypto_erase(credential);
    case EraseMethod::revert:
      return revert(credential);
    case EraseMethod::psid_revert:
      return revert_by_psid(*link_, credential);
    case EraseMethod::revert_locking:
    case EraseMethod::ata_enhanced:
      break;
  }
  return fail(ErrorCode::unsupported,
              "an Enterprise drive is erased by crypto_erase, revert or psid_revert");
}

// The marker is read anew: whoever holds old knowledge must not leave a band out.
Result<void> EnterpriseDrive::crypto_erase(const SecretBytes& owner_pin) {
  link_->known().ranges.reset();
  const std::vector<std::uint32_t> bands = TRY(ranges_in_use(*link_));
  erase_was_cut_off_ = true;
  TRY(EnterpriseOwner(*link_).erase(owner_pin, bands));
  erase_was_cut_off_ = false;
  return {};
}

// Where the drive looks as it came, a revert before may have been cut off after its end: the MSID
// tells.
Result<void> EnterpriseDrive::revert(const SecretBytes& owner_pin) {
  TRY(check_sid_can_speak(TRY(link_->discover())));
  if (!TRY(read_marker(*link_)) && !TRY(locks_anything())) {
    const SecretBytes msid = TRY(link_->read_msid());
    Result<Session> factory = link_->start(who::sid(), msid, Session::Mode::read);
    if (factory) return factory->close();
    if (factory.error().code != ErrorCode::auth_failed) return std::unexpected(factory.error());
  }
  Session session = TRY(link_->start_as(who::sid(), owner_pin, Session::Mode::write));
  return revert_admin_sp(*link_, session);
}

Result<void> EnterpriseDrive::freeze() {
  if (!link_->known().has_block_sid)
    return fail(ErrorCode::unsupported, "the drive has no Block SID");
  return TRY(link_->channel())->block_sid(tcg::Channel::Until::power_cycle);
}

std::uint32_t EnterpriseBands::ranges_max() const {
  return std::min(link_.known().ranges_max, kRangesMarked);
}

Result<void> EnterpriseBands::check_number(std::uint32_t number) const {
  if (number <= ranges_max()) return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("the drive has bands 1 to {} beside the global one, 0; there is no {}",
                          ranges_max(), number));
}

Result<std::vector<Range>> EnterpriseBands::list(const SecretBytes&) {
  Session session = TRY(link_.start_as_anybody(link_.locking_sp()));
  std::vector<Range> bands;
  for (std::uint32_t n = 0; n <= ranges_max(); ++n)
    bands.push_back(range_of(
        n, TRY(session.get(tcg::range::band(n),
                           {column::locking::kRangeStart, column::locking::kWriteLocked}))));
  TRY(session.close());
  return bands;
}

// The marker names a band before it is there and until it is gone: so none is ever forgotten.
Result<void> EnterpriseBands::place(const SecretBytes& owner_pin, std::uint32_t number,
                                    std::uint64_t first_sector, std::uint64_t sectors) {
  if (number == 0)
    return fail(ErrorCode::invalid_argument, "the global band lies where no other band does");
  TRY(check_number(number));
  const std::vector<Range> before = TRY(list(owner_pin));
  const auto mark = [&](bool in_use) {
    return EnterpriseOwner(link_).mark(owner_pin, number, in_use);
  };
  if (sectors != 0) TRY(mark(true));
  Session session = TRY(link_.start_as(who::band_master(number), owner_pin, Session::Mode::write));
  Result<void> placed = session.set(tcg::range::band(number), placed_at(first_sector, sectors));
  if (!placed && session.is_open()) {
    placed = std::unexpected(misplaced(session, tcg::kEnterpriseLockingInfo, placed.error()));
    TRY(session.close());
    if (before[number].sectors == 0) TRY(mark(false));
    return placed;
  }
  TRY(placed);
  TRY(session.close());
  return sectors == 0 ? mark(false) : Result<void>{};
}

Result<void> EnterpriseBands::set_access(const SecretBytes& owner_pin, std::uint32_t number,
                                         Access access) {
  TRY(check_number(number));
  Session session = TRY(link_.start_as(who::band_master(number), owner_pin, Session::Mode::write));
  TRY(session.set(tcg::range::band(number), locks_of(access)));
  return session.close();
}

Result<void> EnterpriseBands::erase(const SecretBytes& owner_pin, std::uint32_t number, Destroy) {
  TRY(check_number(number));
  return EnterpriseOwner(link_).erase(owner_pin, {number});
}

Result<void> EnterpriseBands::grant_user(const SecretBytes&, std::uint32_t, std::uint32_t) {
  return fail(ErrorCode::unsupported,
              "an Enterprise drive has no users: a band's BandMaster opens it and no other, with "
              "the PIN that is derived for \"BandMaster<n>\"");
}

Result<void> EnterpriseBands::set_access_as_user(const SecretBytes&, std::uint32_t, std::uint32_t,
                                                 Access) {
  return fail(ErrorCode::unsupported, "an Enterprise drive has no users");
}

}  // namespace keyward::sed
