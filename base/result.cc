#include "base/result.h"

#include "base/check.h"

namespace keyward {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::not_permitted:
      return "not_permitted";
    case ErrorCode::auth_failed:
      return "auth_failed";
    case ErrorCode::locked_out:
      return "locked_out";
    case ErrorCode::not_found:
      return "not_found";
    case ErrorCode::already_exists:
      return "already_exists";
    case ErrorCode::conflict:
      return "conflict";
    case ErrorCode::busy:
      return "busy";
    case ErrorCode::unavailable:
      return "unavailable";
    case ErrorCode::timeout:
      return "timeout";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::exhausted:
      return "exhausted";
    case ErrorCode::unsupported:
      return "unsupported";
    case ErrorCode::corrupt:
      return "corrupt";
    case ErrorCode::protocol:
      return "protocol";
    case ErrorCode::io:
      return "io";
  }
  CHECK(false, "an ErrorCode outside its enumeration");
  return {};
}

Error with_context(Error error, std::string_view context) {
  error.message.insert(0, ": ");
  error.message.insert(0, context);
  return error;
}

}  // namespace keyward
