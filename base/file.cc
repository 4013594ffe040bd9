#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/text.h"

namespace keyward {
namespace {

std::unexpected<Error> os_failure(std::string_view function, const std::string& path) {
  const int code = errno;
  ErrorCode kind = ErrorCode::io;
  if (code == ENOENT) kind = ErrorCode::not_found;
  if (code == ENOSPC || code == EDQUOT) kind = ErrorCode::exhausted;
  return fail(kind,
              fmt::format("{}: {}: {}", function, printable(path, 256),
                          std::generic_category().message(code)),
              function, static_cast<std::uint64_t>(code));
}

Result<void> write_all(int descriptor, ByteView content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return os_failure("write", path);
    content = content.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> write_and_sync(const std::string& path, ByteView content) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.is_open()) return os_failure("open", path);
  TRY(write_all(file.get(), content, path));
  if (::fsync(file.get()) != 0) return os_failure("fsync", path);
  return {};
}

Result<void> sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.is_open()) return os_failure("open", directory);
  if (::fsync(file.get()) != 0) return os_failure("fsync", directory);
  return {};
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Result<Bytes> read_file(const std::string& path, std::size_t size_max) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.is_open()) return os_failure("open", path);
  // A limit is for damaged files: as much memory as that is not taken for every small one.
  constexpr std::size_t kFirstBytes = 16384;
  const std::size_t all = size_max + 1;  // One more, to see that there is too much.
  Bytes content(std::min(all, kFirstBytes));
  std::size_t size = 0;
  while (size < all) {
    if (size == content.size()) content.resize(size > all / 2 ? all : 2 * size);
    const ssize_t got = ::read(file.get(), content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return os_failure("read", path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > size_max)
    return fail(ErrorCode::exhausted,
                fmt::format("{} is longer than {} bytes", printable(path, 256), size_max));
  content.resize(size);
  return content;
}

Result<void> write_file_durably(const std::string& path, ByteView content) {
  const std::string fresh = path + ".new";
  TRY(write_and_sync(fresh, content));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return os_failure("rename", path);
  return sync_directory_of(path);
}

}  // namespace keyward
