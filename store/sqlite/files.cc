#include "store/sqlite/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <system_error>

#include "base/log.h"

namespace keyward::store {
namespace {

ErrorCode code_of(int number) {
  switch (number) {
    case ENOENT:
      return ErrorCode::not_found;
    case EEXIST:
      return ErrorCode::already_exists;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return ErrorCode::exhausted;
    default:
      return ErrorCode::io;
  }
}

std::unexpected<Error> failed(std::string_view call, std::string_view path) {
  return std::unexpected(os_error(call, path, errno));
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("unlink", path);
  return {};
}

std::string mark_of(const std::string& path) { return path + std::string(kUnsyncedSuffix); }

// 0 when the file does not say.
pid_t owner_of(int descriptor) {
  std::array<char, 32> text{};
  const ssize_t size = ::pread(descriptor, text.data(), text.size(), 0);
  pid_t pid = 0;
  if (size > 0) std::from_chars(text.data(), text.data() + size, pid);
  return pid;
}

// A process that is killed while it starts a child leaves its open files to that child until the
// child runs a program of its own: for these milliseconds the lock is held by nobody who is at
// work.
Result<bool> lock_of_the_living(int descriptor, const std::string& path) {
  constexpr int kTries = 200;
  constexpr int kPauseMs = 10;
  for (int tried = 0;; ++tried) {
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return failed("flock", path);
    const pid_t owner = owner_of(descriptor);
    const bool is_dead = owner > 0 && ::kill(owner, 0) != 0 && errno == ESRCH;
    if (!is_dead || tried == kTries) return false;
    ::poll(nullptr, 0, kPauseMs);
  }
}

// For the message above only: a full disk must not keep a daemon from serving reads.
void write_owner(int descriptor, const std::string& path) {
  const std::string pid = fmt::format("{}\n", ::getpid());
  const bool written =
      ::ftruncate(descriptor, 0) == 0 &&
      ::pwrite(descriptor, pid.data(), pid.size(), 0) == static_cast<ssize_t>(pid.size());
  if (!written)
    log(LogLevel::warning, "{} does not name its owner: {}", path,
        std::generic_category().message(errno));
}

}  // namespace

Error os_error(std::string_view call, std::string_view path, int number) {
  return {code_of(number),
          fmt::format("{} {}: {}", call, path, std::generic_category().message(number)), call,
          static_cast<std::uint64_t>(number)};
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return sync_parent(path);
  if (errno != EEXIST) return failed("mkdir", path);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return failed("stat", path);
  if (!S_ISDIR(found.st_mode)) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is no directory; name another state directory", path));
  }
  return {};
}

Result<bool> file_exists(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0) return true;
  if (errno == ENOENT) return false;
  return failed("stat", path);
}

Result<void> sync_directory(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return failed("open", path);
  const int code = ::fsync(descriptor);
  const int number = errno;
  ::close(descriptor);
  if (code != 0) return std::unexpected(os_error("fsync", path, number));
  return {};
}

Result<void> sync_parent(const std::string& path) { return sync_directory(parent_of(path)); }

Result<void> publish_database(const std::string& unfinished, const std::string& path) {
  // An empty WAL would stay behind under the old name.
  TRY(remove_file(unfinished + "-wal"));
  if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0)
    return failed("rename", path);
  return sync_parent(path);
}

Result<void> remove_database(const std::string& path) {
  // The file goes first: without it the others mean nothing, but a file without its WAL would be an
  // older state.
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) TRY(remove_file(path + suffix));
  TRY(remove_file(mark_of(path)));
  return sync_parent(path);
}

Result<void> mark_unsynced(const std::string& path) {
  const std::string mark = mark_of(path);
  const int descriptor = ::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return failed("open", mark);
  ::close(descriptor);
  // It has no content: its entry in the directory is all of it.
  return sync_parent(path);
}

Result<bool> is_marked_unsynced(const std::string& path) { return file_exists(mark_of(path)); }

Result<void> clear_unsynced(const std::string& path) {
  TRY(remove_file(mark_of(path)));
  return sync_parent(path);
}

Result<void> read_anew(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return failed("open", path);
  const int code = ::fsync(descriptor);
  const int number = errno;
  // Pages that were written out only; all are, now. It is advice, which a file system may ignore.
  static_cast<void>(::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED));
  ::close(descriptor);
  if (code != 0) return std::unexpected(os_error("fsync", path, number));
  return {};
}

Result<StateLock> StateLock::acquire(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return failed("open", path);
  StateLock lock(descriptor);
  if (!TRY(lock_of_the_living(descriptor, path))) {
    const pid_t owner = owner_of(descriptor);
    return fail(ErrorCode::busy,
                fmt::format("{} is locked by {}: the state directory has one owner at a time. Stop "
                            "it first, or use it through the daemon",
                            path, owner > 0 ? fmt::format("process {}", owner) : "another process"),
                "flock");
  }
  write_owner(descriptor, path);
  return lock;
}

StateLock::~StateLock() {
  // The file stays: removing it would let two processes hold locks on two files of one name.
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace keyward::store
