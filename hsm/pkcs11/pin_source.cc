#include "hsm/pkcs11/pin_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/text.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kCredential = "credential:";
constexpr std::size_t kPinBytesMax = 255;
constexpr unsigned kGroupAndOthers = 077;
// systemd gives a service's user its credentials by an ACL, whose mask shows as the group's bits.
constexpr unsigned kOthers = 007;

std::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("pin: {}", what));
}

class OpenFile final {
 public:
  explicit OpenFile(const std::string& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {}
  ~OpenFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace

Result<PinSource> PinSource::parse(std::string_view text) {
  if (text.starts_with(kFile)) {
    std::string path(text.substr(kFile.size()));
    if (!path.starts_with('/')) return wrong("the file's path must be absolute");
    return PinSource(std::move(path), kGroupAndOthers);
  }
  if (!text.starts_with(kCredential))
    return wrong("must be \"file:/path\" or \"credential:NAME\", never the PIN itself");
  const std::string_view name = text.substr(kCredential.size());
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
    return wrong("a credential's name is not empty and has no \"/\"");
  // The service manager sets it before the process begins, and nothing changes it.
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");  // NOLINT(concurrency-mt-unsafe)
  if (directory == nullptr)
    return wrong(
        "there are no credentials here (CREDENTIALS_DIRECTORY is not set): add "
        "LoadCredential= to the unit, or use \"file:/path\"");
  return PinSource(fmt::format("{}/{}", directory, name), kOthers);
}

Result<Pin> PinSource::read() const {
  const OpenFile file(path_);
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    return fail(ErrorCode::unavailable,
                fmt::format("open: the PIN cannot be read from {}: {}. Put it there, readable by "
                            "keywardd's user alone",
                            printable(path_), std::generic_category().message(errno)),
                "open", static_cast<std::uint64_t>(errno));
  }
  if (!S_ISREG(status.st_mode) || (status.st_mode & forbidden_mode_) != 0) {
    return fail(ErrorCode::not_permitted,
                fmt::format("the PIN in {} is not used: it must be a regular file that only its "
                            "owner can read (mode 0400 or 0600), and has mode {:04o}",
                            printable(path_), status.st_mode & 07777));
  }
  Result<SecretBytes> text = SecretBytes::read_from(file.get(), kPinBytesMax);
  if (!text) return std::unexpected(with_context(text.error(), "the PIN in " + printable(path_)));
  if (std::ranges::find(text->reveal(), std::byte{0}) != text->reveal().end())
    return fail(ErrorCode::invalid_argument,
                fmt::format("the PIN in {} holds a NUL byte; write it as text", printable(path_)));
  return Pin{std::move(*text), static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 +
                                   status.st_mtim.tv_nsec};
}

}  // namespace keyward::hsm::pkcs11
