// HelperLink is the custodian's line to its token: it starts the helper process when one is needed,
// logs in, repeats what may be repeated once, and knows when to leave the token alone.
//
//   link.begin(HelperOp::random).data_size = 32;
//   TRY(link.call());
//   use(link.reply().data);
//   link.wipe();
//
// Sessions that are lost, crashes, and answers that leave the device in doubt: the helper first
// opens a new session; then a fresh process (Finalize, Initialize, login, find the object) gets the
// call once more; then it fails. A call that timed out, and one that makes an object, is not
// repeated. After failures the next try waits, twice as long each time.
//
// A refused PIN is remembered: the token is not asked again until the PIN, or its file's time,
// changes. One whose login was not answered is tried again only while the token counts no wrong
// try, as far as it counts them. Not safe from threads.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "hsm/pkcs11/helper_process.h"
#include "hsm/pkcs11/pkcs11_settings.h"

namespace keyward::hsm::pkcs11 {

// A message in locked memory.
class LockedMessage final {
 public:
  static Result<LockedMessage> make();
  HelperMessage& get() { return *message_; }
  const HelperMessage& get() const { return *message_; }
  void wipe();

 private:
  explicit LockedMessage(SecretBytes bytes);

  SecretBytes bytes_;
  HelperMessage* message_;  // In bytes_.
};

// What the token says of itself.
struct TokenDescription {
  std::string label;
  std::string serial;
  std::string manufacturer;
  std::string model;
  bool operator==(const TokenDescription&) const = default;
};

class HelperLink final {
 public:
  static Result<std::unique_ptr<HelperLink>> make(Pkcs11Settings settings, Clock& clock);

  // An empty request for `op`, to be filled.
  HelperMessage& begin(HelperOp op);
  // Wipes both messages when it fails.
  Result<void> call();
  // Valid after a call that succeeded, until the next begin() or wipe().
  const HelperMessage& reply() const { return reply_.get(); }
  void wipe();

  // Of the token that was found first; a helper is started for it when there is none.
  Result<TokenDescription> token();
  Result<Mechanism> mechanism();

  // The next call gets a fresh process, and so sees the token as it is now.
  void end_helper() { process_.reset(); }
  // The next call is made although the last one failed a moment ago: a person asks.
  void forget_back_off() { next_try_ = {}; }
  const Pkcs11Settings& settings() const { return settings_; }

 private:
  struct RefusedPin {
    Pin pin;
    Error error;
  };

  HelperLink(Pkcs11Settings settings, Clock& clock, LockedMessage request, LockedMessage reply)
      : settings_(std::move(settings)),
        clock_(clock),
        request_(std::move(request)),
        reply_(std::move(reply)) {}

  Result<void> ensure_open();
  Result<void> open();
  Result<void> hello(HelperProcess& process, const Pin& pin);
  Result<void> check_not_refused(const Pin& pin) const;
  void note_refusal(Pin pin, const Error& error);
  Result<void> adopt(const HelperMessage& reply);
  Result<void> exchange();
  bool may_repeat(const Error& error) const;
  void note_failure(const Error& error);

  Pkcs11Settings settings_;
  Clock& clock_;
  LockedMessage request_;
  LockedMessage reply_;
  std::unique_ptr<HelperProcess> process_;
  std::optional<TokenDescription> token_;
  Mechanism mechanism_ = Mechanism::automatic;
  std::optional<RefusedPin> refused_;
  std::optional<Pin> unanswered_;
  std::optional<Error> last_failure_;
  std::chrono::milliseconds pause_{0};
  MonotonicTime next_try_{};
};

}  // namespace keyward::hsm::pkcs11
