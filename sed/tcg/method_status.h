// What a method's status means (Core 5.1.5), and what to do about it.
//
//   if (status != 0) return std::unexpected(method_error(status, "Set of the global range"));
//
// The number stands in Error::native, the name in Error::origin. Codes:
//   NOT_AUTHORIZED                                   auth_failed
//   AUTHORITY_LOCKED_OUT                             locked_out
//   SP_BUSY, NO_SESSIONS_AVAILABLE                   busy
//   INVALID_PARAMETER                                invalid_argument
//   SP_DISABLED, SP_FROZEN, FAIL,
//   TRANSACTION_FAILURE, UNIQUENESS_CONFLICT         conflict
//   INSUFFICIENT_SPACE, INSUFFICIENT_ROWS            exhausted
//   INVALID_FUNCTION, INVALID_REFERENCE              unsupported (they left the specification, and
//   are
//                                                    still given)
//   SP_FAILED, TPER_MALFUNCTION                      io
//   all else                                         protocol
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace keyward::sed::tcg {

namespace status {
inline constexpr std::uint64_t kSuccess = 0x00, kNotAuthorized = 0x01, kSpBusy = 0x03,
                               kSpFailed = 0x04, kSpDisabled = 0x05, kSpFrozen = 0x06,
                               kNoSessionsAvailable = 0x07, kUniquenessConflict = 0x08,
                               kInsufficientSpace = 0x09, kInsufficientRows = 0x0A,
                               kInvalidFunction = 0x0B, kInvalidParameter = 0x0C,
                               kInvalidReference = 0x0D, kTPerMalfunction = 0x0F,
                               kTransactionFailure = 0x10, kResponseOverflow = 0x11,
                               kAuthorityLockedOut = 0x12, kFail = 0x3F;
}  // namespace status

// "NOT_AUTHORIZED"; "an unknown status" for what Core does not name.
std::string_view status_name(std::uint64_t status);

// `what` is the act that was refused, for people: "StartSession as SID".
Error method_error(std::uint64_t status, std::string_view what);

}  // namespace keyward::sed::tcg
