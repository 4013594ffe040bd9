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

constexpr std::string_view kFile = "file:";
constexpr std::string_view kCredential = "credential:";
constexpr std::string_view kDescriptor = "fd:";
constexpr int kDescriptorMax = 1023;
constexpr unsigned kGroupAndOthers = 077;
// systemd gives a service's user its credentials by an ACL, whose mask shows as the group's bits.
constexpr unsigned kOthers = 007;

std::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("passphrase setting \"source\": {}", what));
}

Result<std::string> credential_path(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
    return wrong("a credential's name is not empty and has no \"/\"");
  // The service manager sets it before the process begins, and nothing changes it.
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");  // NOLINT(concurrency-mt-unsafe)
  if (directory == nullptr)
    return wrong(
        "there are no credentials here (CREDENTIALS_DIRECTORY is not set): add "
        "LoadCredential= to the unit, or use \"file:/path\"");
  return fmt::format("{}/{}", directory, name);
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

Result<void> check_file(const std::string& path, const struct stat& status, unsigned forbidden) {
  const bool is_ours = status.st_uid == ::geteuid() || status.st_uid == 0;
  if (S_ISREG(status.st_mode) && is_ours && (status.st_mode & forbidden) == 0) return {};
  return fail(ErrorCode::not_permitted,
              fmt::format("the passphrase in {} is not used: it must be a regular file of root or "
                          "of keywardd's user that nobody else can read (chmod 0600), and has "
                          "owner {} and mode {:04o}",
                          printable(path), status.st_uid, status.st_mode & 07777));
}

}  // namespace

Result<PassphraseSource> PassphraseSource::parse(std::string_view text) {
  if (text == "prompt") return PassphraseSource(PassphraseSourceKind::prompt, {}, -1);
  if (text.starts_with(kDescriptor))
    return PassphraseSource(PassphraseSourceKind::descriptor, {},
                            TRY(descriptor_number(text.substr(kDescriptor.size()))));
  if (text.starts_with(kCredential))
    return PassphraseSource(PassphraseSourceKind::credential,
                            TRY(credential_path(text.substr(kCredential.size()))), -1);
  if (!text.starts_with(kFile))
    return wrong(
        "must be \"file:/path\", \"credential:NAME\", \"fd:N\" or \"prompt\", never the "
        "passphrase itself");
  std::string path(text.substr(kFile.size()));
  if (!path.starts_with('/') || path.find('\0') != std::string::npos)
    return wrong("the file's path must be absolute");
  return PassphraseSource(PassphraseSourceKind::file, std::move(path), -1);
}

Result<SecretBytes> PassphraseSource::read() const {
  switch (kind_) {
    case PassphraseSourceKind::prompt:
      return fail(ErrorCode::unavailable, "nobody has given the passphrase yet");
    case PassphraseSourceKind::descriptor: {
      const Descriptor descriptor(descriptor_);
      return SecretBytes::read_from(descriptor.get(), kPassphraseBytesMax);
    }
    case PassphraseSourceKind::file:
    case PassphraseSourceKind::credential:
      return read_file();
  }
  return fail(ErrorCode::invalid_argument, "there is no such source of a passphrase");
}

Result<SecretBytes> PassphraseSource::read_file() const {
  // O_NONBLOCK, so that a FIFO in the file's place is refused and not waited for.
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat status {};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0)
    return fail(
        ErrorCode::unavailable,
        fmt::format("open: the passphrase cannot be read from {}: {}. Put it there, readable "
                    "by keywardd's user alone",
                    printable(path_), std::generic_category().message(errno)),
        "open", static_cast<std::uint64_t>(errno));
  TRY(check_file(path_, status, kind_ == PassphraseSourceKind::file ? kGroupAndOthers : kOthers));
  Result<SecretBytes> passphrase = SecretBytes::read_from(file.get(), kPassphraseBytesMax);
  if (!passphrase)
    return std::unexpected(
        with_context(passphrase.error(), "the passphrase in " + printable(path_)));
  return passphrase;
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
