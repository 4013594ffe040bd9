#include "hsm/pkcs11/helper_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/log.h"
#include "base/text.h"
#include "hsm/pkcs11/cryptoki_error.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::uint64_t kPinLocked = 0xa4;
// Of errors that the process had, not the module in it.
constexpr std::string_view kHelperOrigin = "keyward-p11";

// The same text, in a file that was not written since.
bool is_same(const Pin& a, const Pin& b) {
  return a.changed_at_ns == b.changed_at_ns &&
         constant_time_equal(a.text.reveal(), b.text.reveal());
}

template <std::size_t Size>
std::string text_of(const std::array<char, Size>& field) {
  return std::string(field.data(), ::strnlen(field.data(), Size));
}

template <std::size_t Size>
void copy_text(std::array<char, Size>& target, std::string_view text) {
  std::memcpy(target.data(), text.data(), std::min(text.size(), Size - 1));
}

Error error_of(const HelperMessage& reply) {
  const auto code =
      static_cast<ErrorCode>(std::min(reply.status - 1, static_cast<std::uint32_t>(ErrorCode::io)));
  const std::size_t size = std::min<std::size_t>(reply.data_size, reply.data.size());
  return {code, std::string(reinterpret_cast<const char*>(reply.data.data()), size),
          cryptoki_function(text_of(reply.origin)), reply.native};
}

}  // namespace

LockedMessage::LockedMessage(SecretBytes bytes)
    : bytes_(std::move(bytes)), message_(new (bytes_.reveal_mutable().data()) HelperMessage{}) {}

Result<LockedMessage> LockedMessage::make() {
  return LockedMessage(TRY(SecretBytes::allocate(sizeof(HelperMessage))));
}

void LockedMessage::wipe() { ::explicit_bzero(message_, sizeof(HelperMessage)); }

Result<std::unique_ptr<HelperLink>> HelperLink::make(Pkcs11Settings settings, Clock& clock) {
  LockedMessage request = TRY(LockedMessage::make());
  LockedMessage reply = TRY(LockedMessage::make());
  return std::unique_ptr<HelperLink>(
      new HelperLink(std::move(settings), clock, std::move(request), std::move(reply)));
}

HelperMessage& HelperLink::begin(HelperOp op) {
  wipe();
  request_.get().op = op;
  return request_.get();
}

void HelperLink::wipe() {
  request_.wipe();
  reply_.wipe();
}

Result<TokenDescription> HelperLink::token() {
  if (!token_) TRY(ensure_open());
  return *token_;
}

Result<Mechanism> HelperLink::mechanism() {
  TRY(ensure_open());
  return mechanism_;
}

Result<void> HelperLink::call() {
  TRY(ensure_open());
  Result<void> done = exchange();
  if (!done && may_repeat(done.error())) {
    end_helper();
    TRY(ensure_open());
    done = exchange();
    // Whatever it is, this process does not mend it.
    if (!done && is_session_error(done.error().native)) end_helper();
  }
  if (done) {
    pause_ = {};
    return done;
  }
  wipe();
  if (process_ == nullptr || !process_->is_alive()) {
    end_helper();
    note_failure(done.error());
  }
  return done;
}

Result<void> HelperLink::exchange() {
  const bool slow = request_.get().op == HelperOp::generate;
  TRY(process_->exchange(request_.get(), reply_.get(),
                         slow ? settings_.slow_limit : settings_.call_limit));
  if (reply_.get().status == 0) return {};
  return std::unexpected(error_of(reply_.get()));
}

// All but generate have the same effect twice as once. An object that is not found may be one that
// this process does not see: a token that went and came back leaves stale views.
bool HelperLink::may_repeat(const Error& error) const {
  if (request_.get().op == HelperOp::generate) return false;
  if (error.code == ErrorCode::not_found || error.origin == kHelperOrigin)
    return error.code != ErrorCode::timeout;
  return is_session_error(error.native) || is_ambiguous(error.native);
}

Result<void> HelperLink::ensure_open() {
  if (process_ != nullptr && process_->is_alive()) return {};
  end_helper();
  const MonotonicTime now = clock_.monotonic();
  if (last_failure_ && now < next_try_) {
    Error error = *last_failure_;
    error.message +=
        fmt::format(" (tried a moment ago; the next try is due in {} ms)",
                    std::chrono::ceil<std::chrono::milliseconds>(next_try_ - now).count());
    return std::unexpected(std::move(error));
  }
  Result<void> opened = open();
  if (!opened) note_failure(opened.error());
  return opened;
}

void HelperLink::note_failure(const Error& error) {
  pause_ = std::clamp(pause_ * 2, settings_.reconnect_min,
                      std::max(settings_.reconnect_min, settings_.reconnect_max));
  next_try_ = clock_.monotonic() + pause_;
  last_failure_ = error;
}

Result<void> HelperLink::open() {
  Pin pin = TRY(settings_.pin.read());
  TRY(check_not_refused(pin));
  auto process = TRY(HelperProcess::start(settings_.helper, settings_.environment));
  Result<void> done = hello(*process, pin);
  if (!done) {
    note_refusal(std::move(pin), done.error());
    return done;
  }
  refused_.reset();
  unanswered_.reset();
  process_ = std::move(process);
  return {};
}

void HelperLink::note_refusal(Pin pin, const Error& error) {
  if (error.code == ErrorCode::auth_failed || error.native == kPinLocked)
    refused_.emplace(RefusedPin{std::move(pin), error});
  else if (error.origin == kHelperOrigin)
    unanswered_.emplace(std::move(pin));
}

Result<void> HelperLink::check_not_refused(const Pin& pin) const {
  if (!refused_ || !is_same(refused_->pin, pin)) return {};
  Error error = refused_->error;
  error.message += fmt::format(
      " (not tried again: {} still holds the PIN that was refused; write the right one there)",
      printable(settings_.pin.path()));
  return std::unexpected(std::move(error));
}

Result<void> HelperLink::hello(HelperProcess& process, const Pin& pin) {
  LockedMessage request = TRY(LockedMessage::make());
  LockedMessage reply = TRY(LockedMessage::make());
  request.get().op = HelperOp::hello;
  request.get().mechanism = settings_.mechanism;
  request.get().data_size = sizeof(HelloRequest);
  auto* hello = new (request.get().data.data()) HelloRequest{};
  copy_text(hello->module, settings_.module);
  copy_text(hello->label, settings_.token.label);
  copy_text(hello->serial, settings_.token.serial);
  copy_text(hello->manufacturer, settings_.token.manufacturer);
  copy_text(hello->model, settings_.token.model);
  std::memcpy(hello->pin.data(), pin.text.reveal().data(),
              std::min(pin.text.size(), hello->pin.size() - 1));
  hello->allow_network = settings_.network;
  hello->is_pin_doubtful = unanswered_ && is_same(*unanswered_, pin);
  TRY(process.exchange(request.get(), reply.get(), settings_.slow_limit));
  if (reply.get().status != 0) return std::unexpected(error_of(reply.get()));
  return adopt(reply.get());
}

// The first token that was found is the one that this custodian speaks to until it ends.
Result<void> HelperLink::adopt(const HelperMessage& reply) {
  if (reply.mechanism != Mechanism::aes_gcm && reply.mechanism != Mechanism::key_wrap)
    return fail(ErrorCode::protocol,
                "keyward-p11: an answer of another version; restart keywardd after an upgrade");
  HelloReply found{};
  std::memcpy(&found, reply.data.data(), sizeof(found));
  TokenDescription token{text_of(found.label), text_of(found.serial), text_of(found.manufacturer),
                         text_of(found.model)};
  if (token_ && *token_ != token) {
    return fail(ErrorCode::conflict,
                fmt::format("another token is in place of \"{}\" (serial {}): \"{}\" (serial {}). "
                            "Put the right one back, or add the new one as a custodian of its own",
                            printable(token_->label), printable(token_->serial),
                            printable(token.label), printable(token.serial)));
  }
  if (!token_ && token.manufacturer.starts_with("SoftHSM") && settings_.sync_dirs.empty())
    log(LogLevel::warning,
        "the SoftHSM token \"{}\" does not sync its files: name its directory in sync_dirs, else a "
        "power cut may lose a key. SoftHSM is for tests",
        token.label);
  token_ = std::move(token);
  mechanism_ = reply.mechanism;
  return {};
}

}  // namespace keyward::hsm::pkcs11
