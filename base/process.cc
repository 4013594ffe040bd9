#include "base/process.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/log.h"
#include "base/secret_arena.h"

namespace keyward {
namespace {

// Key schedules, connection buffers and secrets in flight at the daemon's default limits. Debian's
// and systemd's own default limit is 8 MiB.
constexpr std::size_t kLockedBytesNeeded = 4 * 1024 * 1024;

std::unexpected<Error> system_failure(std::string_view function, std::string_view what) {
  const int code = errno;
  return fail(ErrorCode::io,
              fmt::format("{}: {}: {}", function, what, std::generic_category().message(code)),
              function, static_cast<std::uint64_t>(code));
}

Result<void> forbid_dumps() {
  if (::prctl(PR_SET_DUMPABLE, 0) != 0)
    return system_failure("prctl", "the process cannot be made undumpable");
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0)
    return system_failure("setrlimit", "core files cannot be switched off");
  return {};
}

void raise_soft_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  static_cast<void>(::setrlimit(RLIMIT_MEMLOCK, &limit));  // The trial below sees what came of it.
}

// Tries it, since the limit alone does not tell: CAP_IPC_LOCK lifts it, containers lower it.
bool can_lock(std::size_t size) {
  void* pages = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return false;
  const bool locked = ::mlock2(pages, size, MLOCK_ONFAULT) == 0;
  ::munmap(pages, size);
  return locked;
}

std::string lock_limit_text() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "an unknown amount";
  if (limit.rlim_cur == RLIM_INFINITY) return "any amount, yet the system refuses it";
  return fmt::format("{} KiB", limit.rlim_cur / 1024);
}

}  // namespace

Result<void> harden_process(MemoryLock lock) {
  TRY(forbid_dumps());
  raise_soft_limit();
  SecretArena::instance().set_memory_lock(lock);
  if (can_lock(kLockedBytesNeeded)) return {};
  const std::string message = fmt::format(
      "mlock2: RLIMIT_MEMLOCK allows {} of locked memory, {} KiB are needed so that no secret "
      "reaches swap. Raise it (LimitMEMLOCK= in the unit, ulimit -l in a shell), or configure "
      "best-effort memory locking",
      lock_limit_text(), kLockedBytesNeeded / 1024);
  if (lock == MemoryLock::required) return fail(ErrorCode::exhausted, message, "mlock2");
  log(LogLevel::warning, "{}. Going on as configured: secrets may reach swap", message);
  return {};
}

}  // namespace keyward
