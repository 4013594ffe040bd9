#include "hsm/pkcs11/helper/sandbox.h"

#include <fmt/format.h>
#include <linux/close_range.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <span>

#include "base/c_ptr.h"
#include "base/process.h"
#include "hsm/pkcs11/helper_protocol.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr unsigned kGraceSeconds = 5;

pid_t parent_at_start = 0;

// PR_SET_PDEATHSIG tells when the parent's *thread* that started us ends, so the parent itself may
// well live. When it does not, the main loop sees the end of the socket; the alarm is for a module
// that hangs.
void on_parent_thread_end(int) {
  if (::getppid() != parent_at_start) ::alarm(kGraceSeconds);
}

std::unexpected<Error> system_failure(std::string_view function, int code) {
  return fail(ErrorCode::io, fmt::format("{}: errno {}", function, code), function,
              static_cast<std::uint64_t>(code));
}

Result<void> follow_parent() {
  parent_at_start = ::getppid();
  struct sigaction action {};
  action.sa_handler = on_parent_thread_end;
  action.sa_flags = SA_RESTART;
  if (::sigaction(SIGHUP, &action, nullptr) != 0) return system_failure("sigaction", errno);
  if (::prctl(PR_SET_PDEATHSIG, SIGHUP) != 0) return system_failure("prctl", errno);
  return {};
}

constexpr auto kAlwaysForbidden = std::to_array<int>({
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(kexec_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(add_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(userfaultfd),
});
constexpr auto kNetwork = std::to_array<int>({
    SCMP_SYS(socket),
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(accept),
    SCMP_SYS(accept4),
});

Result<void> forbid(scmp_filter_ctx filter, std::span<const int> calls) {
  for (const int call : calls) {
    const int code = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0);
    if (code != 0) return system_failure("seccomp_rule_add", -code);
  }
  return {};
}

}  // namespace

Result<void> enter_sandbox() {
  TRY(follow_parent());
  TRY(harden_process(MemoryLock::best_effort));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_failure("prctl", errno);
  std::signal(SIGPIPE, SIG_IGN);  // A module's own connection may end at any time.
  if (::close_range(kHelperSocket + 1, ~0U, 0) != 0) return system_failure("close_range", errno);
  return {};
}

Result<void> forbid_system_calls(Network network) {
  const CPtr<void, seccomp_release> filter(::seccomp_init(SCMP_ACT_ALLOW));
  if (filter == nullptr) return system_failure("seccomp_init", ENOMEM);
  TRY(forbid(filter.get(), kAlwaysForbidden));
  if (network == Network::forbidden) TRY(forbid(filter.get(), kNetwork));
  const int code = ::seccomp_load(filter.get());
  if (code != 0) return system_failure("seccomp_load", -code);
  return {};
}

}  // namespace keyward::hsm::pkcs11
