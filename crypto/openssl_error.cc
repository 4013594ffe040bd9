#include "crypto/openssl_error.h"

#include <fmt/format.h>
#include <openssl/err.h>

namespace keyward::crypto {

std::unexpected<Error> openssl_failure(std::string_view origin, std::string_view what) {
  const unsigned long code = ERR_get_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return fail(ErrorCode::io,
              fmt::format("{}: {}: {}", origin, what, reason == nullptr ? "no reason" : reason),
              origin, code);
}

}  // namespace keyward::crypto
