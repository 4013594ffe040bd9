#include "hsm/passphrase/passphrase_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <system_error>

#include "base/file.h"
#include "base/text.h"

namespace keyward::hsm {
namespace {

constexpr std::string_view kDescriptor = "fd:";
constexpr int kDescriptorMax = 1023;

std::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("passphrase setting \"source\": {}", what));
}

// 1 and 2 are where the product's own words go.
Result<int> descriptor_number(std::string_view text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0 ||
      number > kDescriptorMax || number == STDOUT_FILENO || number == STDERR_FILENO)
    return wrong(fmt::format("\"fd:{}\" is no descriptor to read from: use fd:0, or fd:3 to fd:{}",
                             printable(text), kDescriptorMax));
  return number;
}

}  // namespace

Result<PassphraseSource> PassphraseSource::parse(std::string_view text) {
  if (text == "prompt") return PassphraseSource(PassphraseSourceKind::prompt, std::nullopt, -1);
  if (text.starts_with(kDescriptor))
    return PassphraseSource(PassphraseSourceKind::descriptor, std::nullopt,
                            TRY(descriptor_number(text.substr(kDescriptor.size()))));
  Result<SecretFile> file = SecretFile::parse(text);
  if (!file) return wrong(fmt::format("{} (or \"fd:N\", or \"prompt\")", file.error().message));
  return PassphraseSource(PassphraseSourceKind::file, std::move(*file), -1);
}

Result<SecretBytes> PassphraseSource::read() const {
  if (file_) return TRY(file_->read("the passphrase", kPassphraseBytesMax)).text;
  if (kind_ == PassphraseSourceKind::prompt)
    return fail(ErrorCode::unavailable, "nobody has given the passphrase yet");
  const Descriptor descriptor(descriptor_);
  return SecretBytes::read_from(descriptor.get(), kPassphraseBytesMax);
}

Result<void> check_passphrase_size(const SecretBytes& passphrase) {
  if (passphrase.size() >= kPassphraseBytesMin && passphrase.size() <= kPassphraseBytesMax)
    return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("the passphrase has {} bytes, {} to {} are needed: whoever gets the files "
                  "can try short ones without limit",
                  passphrase.size(), kPassphraseBytesMin, kPassphraseBytesMax));
}

}  // namespace keyward::hsm
