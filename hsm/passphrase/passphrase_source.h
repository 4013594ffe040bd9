// Where the passphrase comes from.
//
//   PassphraseSource source = TRY(PassphraseSource::parse("credential:keyward-passphrase"));
//   SecretBytes passphrase = TRY(source.read());     // each time that none is at hand
//
//   file:/path, credential:NAME   a file, as SecretFile
//   fd:N                          a descriptor that the process was started with: read once, at
//   open prompt                        a person, through NeedsPassphrase
//
// A value; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/secret_bytes.h"
#include "hsm/secret_file.h"

namespace keyward::hsm {

inline constexpr std::size_t kPassphraseBytesMin = 12;
inline constexpr std::size_t kPassphraseBytesMax = 1024;

enum class PassphraseSourceKind : std::uint8_t { file, descriptor, prompt };

class PassphraseSource final {
 public:
  // `invalid_argument` when it is none of the above.
  static Result<PassphraseSource> parse(std::string_view text);

  // `unavailable` when it cannot be read now, which for a prompt is always so; `not_permitted` when
  // others may read the file too. A descriptor is closed by this.
  Result<SecretBytes> read() const;

  PassphraseSourceKind kind() const { return kind_; }
  // What was read once may be read again, and may be another one then.
  bool is_readable_again() const { return file_.has_value(); }

 private:
  PassphraseSource(PassphraseSourceKind kind, std::optional<SecretFile> file, int descriptor)
      : kind_(kind), file_(std::move(file)), descriptor_(descriptor) {}

  PassphraseSourceKind kind_;
  std::optional<SecretFile> file_;
  int descriptor_;
};

// `invalid_argument` unless it has 12 to 1,024 bytes.
Result<void> check_passphrase_size(const SecretBytes& passphrase);

}  // namespace keyward::hsm
