// Turns OpenSSL's error queue into an Error, and empties it.
//
//   if (EVP_Digest(...) != 1) return openssl_failure("EVP_Digest", "no SHA-256");
#pragma once

#include <expected>
#include <string_view>

#include "base/result.h"

namespace keyward::crypto {

// `origin` is a literal. The code is `io`: nothing that a caller did is at fault.
std::unexpected<Error> openssl_failure(std::string_view origin, std::string_view what);

}  // namespace keyward::crypto
