#include "sed/ata/ata_drive.h"

#include <fmt/format.h>

namespace keyward::sed {
namespace {

using ata::AtaStatus;
using ata::Command;

constexpr std::string_view kUser = "ATA user";
constexpr std::string_view kMaster = "ATA master";
// The master password's identifier: for people who look at the drive with other tools.
constexpr std::uint16_t kMasterId = 0x4B57;
// What the feature set allows until a reset (ACS-3, 4.20.3.2).
constexpr std::uint32_t kAttempts = 5;

std::unexpected<Error> only_by_power() {
  return fail(ErrorCode::unsupported,
              "ATA Security locks a drive when its power goes, and at no command");
}

}  // namespace

AtaDrive::AtaDrive(std::unique_ptr<SecurityTransport> transport, const AttachOptions& options)
    : transport_(std::move(transport)), gate_(*options.ledger, drive_key(transport_->identity())) {}

Result<DriveState> AtaDrive::state() {
  const AtaStatus status = TRY(ata::read_status(*transport_));
  const TryRecord record = TRY(gate_.record(kUser));
  DriveState state;
  state.feature = "ATA Security";
  state.owner = status.enabled ? Owner::unknown : Owner::nobody;
  if (status.enabled) state.pin = record.intent;
  state.access = status.locked ? Access::locked : Access::unlocked;
  state.locking_enabled = status.enabled;
  if (status.enabled) state.tries_left = status.attempts_expired ? 0 : record.tries_left();
  if (status.frozen)
    state.notes.emplace_back("ATA Security is frozen until the drive's power goes off and on");
  if (status.attempts_expired)
    state.notes.emplace_back("too many wrong passwords: the drive's power must go off and on");
  if (status.maximum)
    state.notes.emplace_back("security level maximum: the master password can only erase");
  if (status.enhanced_erase_minutes != 0)
    state.notes.push_back(
        fmt::format("an enhanced erase takes about {} minutes", status.enhanced_erase_minutes));
  return state;
}

Result<AtaStatus> AtaDrive::usable_status() {
  const AtaStatus status = TRY(ata::read_status(*transport_));
  if (!status.supported)
    return fail(ErrorCode::unsupported,
                "the drive's ATA Security is switched off: TCG may have taken its place");
  if (status.frozen)
    return fail(ErrorCode::conflict,
                "the drive's ATA Security is frozen, most often by the machine's firmware; take "
                "the drive's power off and on while the system runs, or suspend and resume");
  if (status.attempts_expired)
    return fail(ErrorCode::locked_out,
                "too many wrong passwords were given; take the drive's power off and on");
  return status;
}

// ABRT is all that a drive says of a wrong password.
std::unexpected<Error> AtaDrive::why_aborted(const Error& error) {
  if (error.code != ErrorCode::conflict) return std::unexpected(error);
  const Result<AtaStatus> status = usable_status();
  if (!status) return std::unexpected(status.error());
  return fail(ErrorCode::auth_failed,
              "the drive does not take the password; do not send the same one again", error.origin,
              error.native);
}

Result<void> AtaDrive::send_password(Command command, const SecretBytes& owner_pin, bool flag) {
  const SecretBytes password = TRY(authority_pin(owner_pin, kUser));
  const auto send = [&]() -> Result<void> {
    // Any command between these two takes the first one back.
    if (command == Command::erase_unit) TRY(ata::send(*transport_, Command::erase_prepare));
    Result<void> sent = ata::send(*transport_, command, {.password = &password, .flag = flag});
    if (!sent) return why_aborted(sent.error());
    return sent;
  };
  const auto is_there = [&]() -> Result<void> {
    TRY(ata::read_status(*transport_));
    return {};
  };
  return gate_.attempt(kUser, send, is_there);
}

Result<void> AtaDrive::unlock(const SecretBytes& owner_pin) {
  return send_password(Command::unlock, owner_pin, false);
}

// The master's first: from the user's on the drive is protected, by both.
Result<void> AtaDrive::set_passwords(const SecretBytes& owner_pin) {
  const SecretBytes user = TRY(authority_pin(owner_pin, kUser));
  const SecretBytes master = TRY(authority_pin(owner_pin, kMaster));
  TRY(gate_.note_limit(kUser, kAttempts));
  TRY(ata::send(*transport_, Command::set_password,
                {.password = &master, .master = true, .master_id = kMasterId}));
  TRY(gate_.note_intent(kUser, TRY(pin_tag(owner_pin))));
  TRY(ata::send(*transport_, Command::set_password, {.password = &user}));
  return unlock(owner_pin);
}

Result<void> AtaDrive::take_ownership(const SecretBytes& owner_pin) {
  const AtaStatus status = TRY(usable_status());
  if (!status.enabled) return set_passwords(owner_pin);
  if (!TRY(gate_.intends(kUser, TRY(pin_tag(owner_pin)))))
    return fail(ErrorCode::conflict,
                "an ATA password is set on the drive, and it is none of this node's; disable it "
                "with the tool that set it, or erase the drive with it");
  TRY(unlock(owner_pin));
  return {};
}

Result<void> AtaDrive::prove(const SecretBytes& owner_pin) {
  if (TRY(usable_status()).enabled) return unlock(owner_pin);
  return fail(ErrorCode::conflict, "no ATA password is set: nobody owns the drive");
}

Result<void> AtaDrive::set_access(const SecretBytes& owner_pin, Access access) {
  if (access != Access::unlocked) return only_by_power();
  const AtaStatus status = TRY(ata::read_status(*transport_));
  if (!status.locked) return {};
  TRY(usable_status());
  return unlock(owner_pin);
}

// Only an open drive takes a new password, and it asks for no old one: so the old one is proved
// first. After a crash the ledger says which of the two it may be.
Result<void> AtaDrive::change_pin(const SecretBytes& current, const SecretBytes& next) {
  const AtaStatus status = TRY(usable_status());
  if (!status.enabled)
    return fail(ErrorCode::conflict, "no ATA password is set: nobody owns the drive");
  if (TRY(gate_.intends(kUser, TRY(pin_tag(next))))) {
    Result<void> opened = unlock(next);
    if (opened) return set_passwords(next);
    if (opened.error().code != ErrorCode::auth_failed) return opened;
    TRY(gate_.note_intent(kUser, TRY(pin_tag(current))));  // Not sent again.
  }
  TRY(unlock(current));
  return set_passwords(next);
}

Result<void> AtaDrive::erase(EraseMethod method, const SecretBytes& credential, Destroy) {
  if (method != EraseMethod::ata_enhanced)
    return fail(ErrorCode::unsupported, "the drive has no TCG: it is erased by ATA Security alone");
  const AtaStatus status = TRY(usable_status());
  if (!status.enabled) TRY(set_passwords(credential));
  TRY(send_password(Command::erase_unit, credential, status.enhanced_erase));
  return gate_.forget();
}

Result<void> AtaDrive::disable(const SecretBytes& owner_pin) {
  const AtaStatus status = TRY(usable_status());
  if (!status.enabled) return {};
  if (status.locked) TRY(unlock(owner_pin));
  TRY(send_password(Command::disable_password, owner_pin, false));
  return gate_.forget();
}

Result<void> AtaDrive::freeze() {
  const AtaStatus status = TRY(ata::read_status(*transport_));
  if (status.frozen) return {};
  if (status.locked) return fail(ErrorCode::conflict, "a locked drive cannot be frozen; unlock it");
  return ata::send(*transport_, Command::freeze_lock);
}

}  // namespace keyward::sed
