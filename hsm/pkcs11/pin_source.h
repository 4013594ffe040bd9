// Where the user PIN of a token rests.
//
//   PinSource source = TRY(PinSource::parse("file:/etc/keyward/hsm1.pin"));
//   Pin pin = TRY(source.read());       // each time that a login is due, so a new PIN is seen
//
// A value; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "hsm/secret_file.h"

namespace keyward::hsm::pkcs11 {

using Pin = FileSecret;  // 1 to 255 bytes without NUL.

class PinSource final {
 public:
  // As SecretFile.
  static Result<PinSource> parse(std::string_view text);
  Result<Pin> read() const;
  const std::string& path() const { return file_.path(); }

 private:
  explicit PinSource(SecretFile file) : file_(std::move(file)) {}

  SecretFile file_;
};

}  // namespace keyward::hsm::pkcs11
