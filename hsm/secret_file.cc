#include "hsm/secret_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/file.h"
#include "base/text.h"

namespace keyward::hsm {
namespace {

constexpr std::string_view kFile = "file:";
constexpr std::string_view kCredential = "credential:";
constexpr unsigned kGroupAndOthers = 077;
// systemd gives a service's user its credentials by an ACL, whose mask shows as the group's bits.
constexpr unsigned kOthers = 007;

std::unexpected<Error> wrong(std::string_view what) {
  return fail(ErrorCode::invalid_argument, std::string(what));
}

Result<void> check_access(const std::string& path, std::string_view what, const struct stat& status,
                          unsigned forbidden_mode) {
  const bool is_ours = status.st_uid == ::geteuid() || status.st_uid == 0;
  if (S_ISREG(status.st_mode) && is_ours && (status.st_mode & forbidden_mode) == 0) return {};
  return fail(ErrorCode::not_permitted,
              fmt::format("{} in {} is not used: it must be a regular file of root or of "
                          "keywardd's user that nobody else can read (chmod 0600), and has owner "
                          "{} and mode {:04o}",
                          what, printable(path), status.st_uid, status.st_mode & 07777));
}

}  // namespace

Result<SecretFile> SecretFile::parse(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return wrong("holds a NUL byte");
  if (text.starts_with(kFile)) {
    std::string path(text.substr(kFile.size()));
    if (!path.starts_with('/')) return wrong("the file's path must be absolute");
    return SecretFile(std::move(path), kGroupAndOthers);
  }
  if (!text.starts_with(kCredential))
    return wrong("must be \"file:/path\" or \"credential:NAME\", never the secret itself");
  const std::string_view name = text.substr(kCredential.size());
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos)
    return wrong("a credential's name is not empty and has no \"/\"");
  // The service manager sets it before the process begins, and nothing changes it.
  const char* directory = std::getenv("CREDENTIALS_DIRECTORY");  // NOLINT(concurrency-mt-unsafe)
  if (directory == nullptr)
    return wrong(
        "there are no credentials here (CREDENTIALS_DIRECTORY is not set): add "
        "LoadCredential= to the unit, or use \"file:/path\"");
  return SecretFile(fmt::format("{}/{}", directory, name), kOthers);
}

Result<FileSecret> SecretFile::read(std::string_view what, std::size_t bytes_max) const {
  // O_NONBLOCK, so that a FIFO in the file's place is refused and not waited for.
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat status {};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0) {
    const int number = errno;
    return fail(ErrorCode::unavailable,
                fmt::format("open: {} cannot be read from {}: {}. Put it there, readable by "
                            "keywardd's user alone",
                            what, printable(path_), std::generic_category().message(number)),
                "open", static_cast<std::uint64_t>(number));
  }
  TRY(check_access(path_, what, status, forbidden_mode_));
  Result<SecretBytes> text = SecretBytes::read_from(file.get(), bytes_max);
  if (!text)
    return std::unexpected(
        with_context(text.error(), fmt::format("{} in {}", what, printable(path_))));
  return FileSecret{
      std::move(*text),
      static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
}

}  // namespace keyward::hsm
