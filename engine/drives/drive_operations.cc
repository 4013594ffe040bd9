#include "engine/drives/drive_operations.h"

#include <fmt/format.h>

#include <utility>

#include "api/fields.h"
#include "base/log.h"
#include "base/text.h"
#include "engine/drives/erase_certificate.h"
#include "engine/event_kinds.h"
#include "engine/host_name.h"

namespace keyward::engine {

using sed::Access;
using sed::Destroy;
using sed::EraseMethod;

namespace {

bool is_link_lost(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::timeout || code == ErrorCode::io ||
         code == ErrorCode::protocol;
}

bool sends_our_pin(DriveAction action) {
  return action != DriveAction::psid_revert && action != DriveAction::psid_record;
}

// Their answer does not hang on what the drive was like when it was attached.
bool is_quick(DriveAction action) {
  return action == DriveAction::unlock || action == DriveAction::verify;
}

EraseMethod method_of(DriveAction action) {
  switch (action) {
    case DriveAction::crypto_erase:
      return EraseMethod::crypto_erase;
    case DriveAction::ata_erase:
      return EraseMethod::ata_enhanced;
    default:
      return EraseMethod::revert;
  }
}

}  // namespace

Result<void> DriveOperations::run(DriveAction action) {
  Result<void> done = begin(action);
  if (done) {
    applied_ = order_.named || is_for(action);
    if (!applied_) return {};
    done = act(action);
  } else if (!order_.named && done.error().code == ErrorCode::unsupported) {
    applied_ = false;  // It has nothing to lock.
    return {};
  }
  report(action, done);
  return done;
}

Result<void> DriveOperations::welcome(bool provision_new) {
  if (Result<void> begun = begin(DriveAction::unlock); !begun) {
    applied_ = begun.error().code != ErrorCode::unsupported;
    report(DriveAction::unlock, begun);
    return begun;
  }
  const bool is_known = pins_.current || pins_.pending;
  const bool is_welcome = provision_new && standing_ == Standing::unowned && !is_known &&
                          link_.address().in_use.empty();
  applied_ = is_known || is_welcome;
  if (!applied_) return {};
  const DriveAction action = is_welcome ? DriveAction::provision : DriveAction::unlock;
  const Result<void> done = act(action);
  report(action, done);
  return done;
}

Result<void> DriveOperations::begin(DriveAction action) {
  const bool is_old = link_.has_seen() && !is_quick(action);  // Attaching looks at a new one.
  TRY(link_.attach());
  if (!order_.key.empty() && order_.key != link_.key())
    return fail(ErrorCode::unavailable,
                fmt::format("another drive, {} {}, is at {} now; nothing was done",
                            link_.row().model, link_.row().serial, link_.address().node));
  pins_ = TRY(credentials_.load(link_.key(), caller_));
  if (is_old) TRY(link_.look());
  standing_ = TRY(find_standing());
  begun_ = true;
  show();
  return {};
}

Result<DriveOperations::Standing> DriveOperations::find_standing() const {
  const sed::DriveState& state = link_.state();
  for (const auto* pin : {&pins_.current, &pins_.pending}) {
    if (!*pin) continue;
    const sed::PinTag tag = TRY(sed::pin_tag(**pin));
    if (state.pin == tag || state.next_pin == tag) return Standing::ours;
  }
  if (state.owner == sed::Owner::nobody) return Standing::unowned;
  const bool has_pins = pins_.current || pins_.pending;
  if (!has_pins && state.owner != sed::Owner::us) return Standing::foreign;
  if (state.pin || state.next_pin || !has_pins) return Standing::outdated;
  return state.owner == sed::Owner::somebody_else ? Standing::unmarked : Standing::ours;
}

bool DriveOperations::is_for(DriveAction action) const {
  if (action != DriveAction::provision) return pins_.current || pins_.pending;
  if (!pins_.current && pins_.pending) return true;
  return standing_ == Standing::unowned && link_.address().in_use.empty();
}

Result<void> DriveOperations::act(DriveAction action) {
  switch (action) {
    case DriveAction::provision:
      return provision();
    case DriveAction::unlock:
      return set_access(Access::unlocked);
    case DriveAction::lock:
      TRY(must_not_be_in_use());
      return set_access(Access::locked);
    case DriveAction::rotate:
      return rotate();
    case DriveAction::verify:
      return verify();
    case DriveAction::crypto_erase:
    case DriveAction::revert:
    case DriveAction::ata_erase:
      return erase(action);
    case DriveAction::psid_revert:
      return psid_revert();
    case DriveAction::psid_record:
      break;
  }
  return fail(ErrorCode::invalid_argument, "that is nothing to do with a drive");
}

// ---- What stands in the way ----

Result<bool> DriveOperations::was_refused() const {
  for (const auto* pin : {&pins_.current, &pins_.pending})
    if (*pin && to_hex(TRY(sed::pin_tag(**pin))) == link_.record().refused_pin) return true;
  return false;
}

Result<void> DriveOperations::may_send() const {
  switch (standing_) {
    case Standing::foreign:
      return fail(ErrorCode::conflict,
                  link_.state().owner_node
                      ? fmt::format("it is owned by node {}; it is left alone",
                                    link_.state().owner_node->to_text())
                      : "it is owned by somebody else, or by a PIN that is not in the keystore; it "
                        "is left alone");
    case Standing::outdated:
      return fail(ErrorCode::conflict,
                  "the stored PIN is older than the drive's; this state directory was restored, or "
                  "the drive got another owner. No PIN is sent. Restore a newer backup, then run: "
                  "keyward sed drives verify");
    case Standing::unmarked:
      return fail(ErrorCode::conflict,
                  "our marker is gone from the drive, so it may be another owner's; to try the "
                  "stored PIN once, run: keyward sed drives verify");
    case Standing::unowned:
    case Standing::ours:
      break;
  }
  const bool is_verified = link_.record().verified_restore == order_.restored;
  if (!order_.restored.empty() && !is_verified && standing_ == Standing::ours)
    return fail(ErrorCode::conflict,
                "this state directory was restored from a backup, so no PIN is sent before you "
                "have run: keyward sed drives verify");
  if (TRY(was_refused()))
    return fail(ErrorCode::auth_failed,
                "the drive refused the stored PIN before, so it is not sent again; to try it once "
                "more, run: keyward sed drives verify");
  return {};
}

// One that is nobody's may still be provisioned with a PIN that is pending.
Result<void> DriveOperations::must_be_owned() const {
  if (standing_ != Standing::unowned || (pins_.pending && !pins_.current)) return {};
  return fail(ErrorCode::conflict,
              pins_.current ? "the drive is as it came from its factory, though a PIN of it is "
                              "stored: provision it anew, or order a revert to forget the PIN"
                            : "nobody owns the drive; provision it first");
}

Result<void> DriveOperations::must_not_be_in_use() const {
  if (link_.address().in_use.empty()) return {};
  return fail(ErrorCode::conflict,
              fmt::format("the drive is in use: {}; it is left alone", link_.address().in_use));
}

// ---- PINs ----

Result<void> DriveOperations::begin_pin() {
  SecretBytes pin = TRY(SecretBytes::random(sed::kOwnerPinBytes));
  TRY(credentials_.begin(link_.key(), pin, caller_));
  pins_.pending = std::move(pin);
  return {};
}

// Idempotent, and the way back from a crash.
Result<void> DriveOperations::settle() {
  if (!pins_.pending) return {};
  if (standing_ == Standing::unowned) TRY(must_not_be_in_use());
  const bool is_first = !pins_.current || standing_ == Standing::unowned;
  TRY(is_first ? link_.drive().take_ownership(*pins_.pending)
               : link_.drive().change_pin(*pins_.current, *pins_.pending));
  return promote();
}

Result<void> DriveOperations::promote() {
  TRY(credentials_.promote(link_.key(), caller_));
  pins_.current = std::exchange(pins_.pending, std::nullopt);
  note_proved();
  return look();
}

Result<void> DriveOperations::forget() {
  TRY(credentials_.forget(link_.key(), caller_));
  pins_ = {};
  note_proved();
  return {};
}

Result<void> DriveOperations::look() {
  TRY(link_.look());
  standing_ = TRY(find_standing());
  return {};
}

void DriveOperations::note_proved() {
  link_.record().refused_pin.clear();
  link_.record().verified_restore = order_.restored;
  link_.keep_record();
}

// ---- Actions ----

Result<void> DriveOperations::provision() {
  if (standing_ == Standing::unowned) {
    TRY(must_not_be_in_use());
    if (!pins_.pending) TRY(begin_pin());
    return settle();
  }
  TRY(may_send());
  return settle();
}

Result<void> DriveOperations::set_access(Access access) {
  TRY(must_be_owned());
  TRY(may_send());
  TRY(settle());
  TRY(link_.drive().set_access(*pins_.current, access));
  link_.note_access(access);
  if (access == Access::unlocked) reread_partitions();
  return {};
}

void DriveOperations::reread_partitions() {
  sed::BlockAccess* blocks = link_.drive().blocks();
  if (blocks == nullptr) return;
  const Result<void> reread = blocks->reread_partitions();
  // Busy: a partition is mounted, so the table is known.
  if (!reread && reread.error().code != ErrorCode::busy)
    link_.add_note("its partitions could not be read anew: " + reread.error().message);
}

Result<void> DriveOperations::rotate() {
  TRY(must_be_owned());
  TRY(may_send());
  if (!pins_.pending) TRY(begin_pin());
  return settle();
}

Result<void> DriveOperations::verify() {
  if (standing_ == Standing::foreign) return may_send();
  if (!pins_.current && !pins_.pending)
    return fail(ErrorCode::not_found,
                "the drive's marker is this node's, but none of its PINs is in the keystore; "
                "restore a newer backup, or use the PSID on its label, with the loss of its data");
  TRY(must_be_owned());
  if (pins_.pending) return by_order([&] { return settle(); });
  const bool was_marked = standing_ != Standing::unmarked;
  TRY(by_order([&] { return link_.drive().prove(*pins_.current); }));
  note_proved();
  if (was_marked) return {};
  if (const auto marked = link_.drive().take_ownership(*pins_.current); !marked)
    link_.add_note("its marker could not be written again: " + marked.error().message);
  return look();
}

// A person has made sure: where our count has come to its end, one try more is given, once.
Result<void> DriveOperations::by_order(const std::function<Result<void>()>& send) {
  Result<void> sent = send();
  if (sent || sent.error().code != ErrorCode::locked_out) return sent;
  TRY(link_.parts().ledger.forgive(link_.key()));
  return send();
}

Result<void> DriveOperations::erase(DriveAction action) {
  TRY(must_not_be_in_use());
  // A revert that was cut off before its PINs were forgotten.
  if (action == DriveAction::revert && standing_ == Standing::unowned) return forget();
  // An ATA erase takes the password away with the data. Whether one that was cut off came to its
  // end the drive does not tell: so it is done once more.
  const bool is_repeated =
      action == DriveAction::ata_erase && standing_ == Standing::unowned && pins_.current;
  if (!is_repeated) TRY(must_be_owned());
  TRY(may_send());
  TRY(settle());
  TRY(erase_by(method_of(action), *pins_.current));
  TRY(look());
  if (standing_ == Standing::unowned) TRY(forget());
  return {};
}

Result<void> DriveOperations::psid_revert() {
  TRY(must_not_be_in_use());
  std::optional<SecretBytes> recorded;
  if (order_.psid == nullptr) recorded = TRY(credentials_.reveal_psid(link_.key(), caller_));
  const SecretBytes& psid = order_.psid == nullptr ? *recorded : *order_.psid;
  TRY(erase_by(EraseMethod::psid_revert, psid));
  return look();
}

Result<void> DriveOperations::erase_by(EraseMethod method, const SecretBytes& credential) {
  const SecretBytes seed = TRY(certificates_.signing_key());
  const std::string id = new_certificate_id();
  EraseFacts facts{link_.drive().identity(),
                   link_.state().feature,
                   method,
                   link_.parts().clock.now(),
                   {},
                   caller_.actor,
                   host_name()};
  const ReadProbe before = ReadProbe::take(link_.drive().blocks(), id);
  TRY(link_.drive().erase(method, credential, Destroy::all_data));
  if (method == EraseMethod::revert || method == EraseMethod::psid_revert) TRY(forget());
  facts.finished = link_.parts().clock.now();
  const ReadProbe after = ReadProbe::take(link_.drive().blocks(), id);
  api::EraseCertificate certificate = make_certificate(id, facts, before, after);
  if (const auto issued = certificates_.issue(certificate, seed, caller_); !issued)
    log(LogLevel::error, "drive {} was erased, but its certificate could not be stored: {}; {}",
        link_.key(), issued.error().message, api::to_json(certificate));
  return {};
}

// ---- What people see ----

void DriveOperations::show() {
  api::DriveRow& row = link_.row();
  row.pins = pins_.state();
  if (standing_ == Standing::ours) row.owner = api::DriveOwner::us;
  if (standing_ == Standing::unmarked || standing_ == Standing::outdated)
    row.owner = api::DriveOwner::unknown;
  EventLog& events = link_.parts().events;
  if (link_.take_new())
    events.raise(kDriveNew, link_.key(),
                 fmt::format("{} {} at {}", row.model, row.serial, row.node));
  if (standing_ == Standing::foreign)
    events.raise(kDriveForeign, link_.key(),
                 fmt::format("{} {} at {} is owned by another", row.model, row.serial, row.node));
  else
    events.clear(kDriveForeign, link_.key());
}

void DriveOperations::report(DriveAction action, const Result<void>& done) {
  link_.row().error = done ? "" : done.error().message;
  if (!done) {
    report_failure(action, done.error());
    if (is_link_lost(done.error().code)) link_.detach();
  }
  if (begun_) show();
  if (!done) return;
  for (const EventKind* kind : {&kDriveLockedOut, &kDrivePinRefused, &kDriveUnlockFailed})
    link_.parts().events.clear(*kind, link_.key());
  if (sends_our_pin(action) && (pins_.current || pins_.pending)) note_proved();
}

void DriveOperations::report_failure(DriveAction action, const Error& error) {
  EventLog& events = link_.parts().events;
  const std::string subject = link_.key().empty() ? link_.address().node : link_.key();
  if (error.code == ErrorCode::locked_out) {
    events.raise(kDriveLockedOut, subject, error.message);
  } else if (sends_our_pin(action) &&
             (error.code == ErrorCode::auth_failed || standing_ == Standing::outdated)) {
    events.raise(kDrivePinRefused, subject, error.message);
  } else if (action == DriveAction::unlock) {
    events.raise(kDriveUnlockFailed, subject, error.message);
  }
  if (error.code != ErrorCode::auth_failed || !sends_our_pin(action)) return;
  const auto& pin = pins_.current ? pins_.current : pins_.pending;
  if (!pin) return;
  const Result<sed::PinTag> tag = sed::pin_tag(*pin);
  if (tag) link_.record().refused_pin = to_hex(*tag);
  link_.keep_record();
}

}  // namespace keyward::engine
