// Which token: a PKCS#11 URI (RFC 7512) that names it by what is printed on it, never by a slot.
//
//   TokenUri uri = TRY(TokenUri::parse("pkcs11:token=mktok;serial=5a1b0c3d9e8f7a6b"));
//
// Values; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace keyward::hsm::pkcs11 {

// An empty field matches any token. Label or serial number is there.
struct TokenUri {
  std::string label;         // token=, at most 32 bytes
  std::string serial;        // at most 16
  std::string manufacturer;  // at most 32
  std::string model;         // at most 16

  // `invalid_argument` for slot-id (slots are numbered anew when a token is initialised), for a
  // PIN inside the URI, and for what does not name a token.
  static Result<TokenUri> parse(std::string_view text);
};

}  // namespace keyward::hsm::pkcs11
