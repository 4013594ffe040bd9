// Where the user PIN of a token rests: a file that only its owner can read, or a systemd
// credential.
//
//   PinSource source = TRY(PinSource::parse("file:/etc/keyward/hsm1.pin"));
//   Pin pin = TRY(source.read());       // each time that a login is due, so a new PIN is seen
//
// A value; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::hsm::pkcs11 {

struct Pin {
  SecretBytes text;            // 1 to 255 bytes without NUL.
  std::int64_t changed_at_ns;  // The file's modification time: a touched file asks to try again.
};

class PinSource final {
 public:
  // "file:/path" or "credential:NAME". `invalid_argument` otherwise, also for a PIN written there.
  static Result<PinSource> parse(std::string_view text);

  // `unavailable` when it cannot be read, `not_permitted` when others may read it too.
  Result<Pin> read() const;
  const std::string& path() const { return path_; }

 private:
  PinSource(std::string path, unsigned forbidden_mode)
      : path_(std::move(path)), forbidden_mode_(forbidden_mode) {}

  std::string path_;
  unsigned forbidden_mode_;
};

}  // namespace keyward::hsm::pkcs11
