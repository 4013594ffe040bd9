// A file that holds one secret, a PIN, a password or a passphrase, and that others cannot read.
//
//   SecretFile file = TRY(SecretFile::parse("file:/etc/keyward/hsm1.pin"));
//   FileSecret pin = TRY(file.read("the PIN", 255));   // each time it is needed: it may be new
//
//   file:/path        root's or our own, mode 0400 or 0600
//   credential:NAME   a systemd credential (systemd.exec(5), LoadCredential=)
//
// A value; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::hsm {

struct FileSecret {
  SecretBytes text;
  std::int64_t changed_at_ns;  // The file's modification time: a touched file asks to try again.
};

class SecretFile final {
 public:
  // `invalid_argument` otherwise, also for a secret written there, which the text does not repeat.
  static Result<SecretFile> parse(std::string_view text);

  // Without the trailing newline. `what` is for the error texts. `unavailable` when it cannot be
  // read now, `not_permitted` when it is no regular file or others may read it, `invalid_argument`
  // when it is empty or longer than `bytes_max`.
  Result<FileSecret> read(std::string_view what, std::size_t bytes_max) const;
  const std::string& path() const { return path_; }

 private:
  SecretFile(std::string path, unsigned forbidden_mode)
      : path_(std::move(path)), forbidden_mode_(forbidden_mode) {}

  std::string path_;
  unsigned forbidden_mode_;
};

}  // namespace keyward::hsm
