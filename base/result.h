// Result<T> is how every fallible function answers: a value, or an Error that says what went wrong.
//
//   SecretBytes key = TRY(custodian.unseal(copy, context));   // the value, or return its error
//
//   Result<SecretBytes> key = custodian.unseal(copy, context);
//   if (!key && key.error().code == ErrorCode::locked_out) return report_lock_out(key.error());
//
// Callers branch on the code and on nothing else; people read the message, which says what to do
// next. A bug does not return an Error: CHECK(...) stops the process, in release builds too.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace keyward {

// One table (api/error_table.h) gives each code its exit code, HTTP status and problem type.
enum class ErrorCode : std::uint8_t {
  invalid_argument,  // The caller gave something that can never work.
  not_permitted,     // The caller's role does not allow it. Nothing was tried.
  auth_failed,  // A device or server refused our credential. Never retried: tries may be counted.
  locked_out,   // It counts tries and no longer listens, or one more try would make it so.
  not_found,
  already_exists,
  conflict,     // The state is not the one that the call needs: read again, then decide.
  busy,         // Somebody else is at it. Retry after a pause.
  unavailable,  // It cannot be reached, or is not unsealed yet. Retry after a pause.
  timeout,      // No answer in time. The command may have taken effect: look before trying again.
  cancelled,    // The caller's stop_token asked for it. What was committed before stays.
  exhausted,    // Disk full, no slot left, locked-memory limit, 2^32 encryptions under one key.
  unsupported,  // The device or server lacks the feature.
  corrupt,      // Stored bytes fail their checks: an entry, a sealed copy, a database.
  protocol,     // A peer's answer breaks its own specification.
  io,           // The operating system reported anything else.
};

// "auth_failed", as it stands in JSON, logs and audit records.
std::string_view error_code_name(ErrorCode code);

// Error is a value. No field ever holds a secret.
struct Error {
  ErrorCode code;
  std::string message;        // Starts with the foreign function's name where there is one.
  std::string_view origin{};  // That function, a literal: "C_Login".
  std::uint64_t native = 0;   // Its own code: a CK_RV, a TSS2_RC, an SQLite extended code.
};

// True for busy and unavailable only; so never for a failed authentication, nor for a timeout.
constexpr bool is_retryable(ErrorCode code) {
  return code == ErrorCode::busy || code == ErrorCode::unavailable;
}

// std::expected is not [[nodiscard]]; this is.
template <typename T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

inline std::unexpected<Error> fail(ErrorCode code, std::string message,
                                   std::string_view origin = {}, std::uint64_t native = 0) {
  return std::unexpected(Error{code, std::move(message), origin, native});
}

// The same error with "context: " before its message.
Error with_context(Error error, std::string_view context);

namespace detail {
template <typename T>
T take(Result<T>&& result) {
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}
}  // namespace detail

}  // namespace keyward

// Yields the value, or returns the error from the function around it. May be nested: each use names
// its temporary by __COUNTER__, so that -Wshadow stays quiet.
#define KEYWARD_TRY_AS(name, expression)                        \
  __extension__({                                               \
    auto name = (expression);                                   \
    if (!name) return std::unexpected(std::move(name).error()); \
    ::keyward::detail::take(std::move(name));                   \
  })
#define KEYWARD_TRY_JOIN2(a, b) a##b
#define KEYWARD_TRY_JOIN(a, b) KEYWARD_TRY_JOIN2(a, b)
// Users of the installed emulator get KEYWARD_NO_TRY from its target, so that no short macro of
// ours meets one of theirs.
#ifndef KEYWARD_NO_TRY
#define TRY(expression) KEYWARD_TRY_AS(KEYWARD_TRY_JOIN(try_result_, __COUNTER__), expression)
#endif
