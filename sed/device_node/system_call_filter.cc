#include "sed/device_node/system_call_filter.h"

#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <system_error>

#include "base/c_ptr.h"

namespace keyward::sed {
namespace {

constexpr auto kAskedAbout = std::to_array<int>({
    SCMP_SYS(open),       SCMP_SYS(openat),     SCMP_SYS(creat),
    SCMP_SYS(stat),       SCMP_SYS(lstat),      SCMP_SYS(fstat),
    SCMP_SYS(newfstatat), SCMP_SYS(statx),      SCMP_SYS(access),
    SCMP_SYS(faccessat),  SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(ioctl),      SCMP_SYS(read),
    SCMP_SYS(pread64),    SCMP_SYS(readv),      SCMP_SYS(preadv),
    SCMP_SYS(preadv2),    SCMP_SYS(write),      SCMP_SYS(pwrite64),
    SCMP_SYS(writev),     SCMP_SYS(pwritev),    SCMP_SYS(pwritev2),
    SCMP_SYS(fallocate),  SCMP_SYS(flock),      SCMP_SYS(copy_file_range),
    SCMP_SYS(splice),     SCMP_SYS(getxattr),   SCMP_SYS(lgetxattr),
    SCMP_SYS(listxattr),  SCMP_SYS(llistxattr), SCMP_SYS(sendfile),
});
// Ways to reach a file past the calls above. Programs fall back to those.
constexpr auto kAbsent = std::to_array<int>({
    SCMP_SYS(openat2),
    SCMP_SYS(io_setup),
    SCMP_SYS(io_uring_setup),
});
constexpr std::size_t kProgramBytesMax = 4096 * sizeof(sock_filter);

std::unexpected<Error> system_failure(std::string_view function, int code) {
  return fail(code == EBUSY ? ErrorCode::busy : ErrorCode::io,
              fmt::format("{}: {}", function, std::generic_category().message(code)), function,
              static_cast<std::uint64_t>(code));
}

// No name of a call that this architecture lacks is an error: libseccomp passes over those.
int add_rules(scmp_filter_ctx filter) {
  for (const int call : kAskedAbout)
    if (const int code = ::seccomp_rule_add(filter, SCMP_ACT_NOTIFY, call, 0)) return code;
  for (const int call : kAbsent)
    if (const int code = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0)) return code;
  // Of files, and SEEK_DATA and SEEK_HOLE.
  if (const int code =
          ::seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(mmap), 1,
                             SCMP_A3(SCMP_CMP_MASKED_EQ, std::uint64_t{MAP_ANONYMOUS}, 0ull)))
    return code;
  return ::seccomp_rule_add(filter, SCMP_ACT_NOTIFY, SCMP_SYS(lseek), 1,
                            SCMP_A2(SCMP_CMP_GE, std::uint64_t{SEEK_DATA}, 0ull));
}

Result<Bytes> exported(scmp_filter_ctx filter) {
  const Descriptor file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file.is_open()) return system_failure("memfd_create", errno);
  if (const int code = ::seccomp_export_bpf(filter, file.get()))
    return system_failure("seccomp_export_bpf", -code);
  Bytes program(kProgramBytesMax);
  const ssize_t size = ::pread(file.get(), program.data(), program.size(), 0);
  if (size <= 0 || static_cast<std::size_t>(size) == program.size())
    return system_failure("pread", size < 0 ? errno : EIO);
  program.resize(static_cast<std::size_t>(size));
  return program;
}

}  // namespace

Result<Bytes> make_filter() {
  const CPtr<void, seccomp_release> filter(::seccomp_init(SCMP_ACT_ALLOW));
  if (filter == nullptr) return system_failure("seccomp_init", ENOMEM);
  // A program of another architecture would reach the empty file behind a node.
  if (const int code =
          ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS)))
    return system_failure("seccomp_attr_set", -code);
  if (const int code = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2))
    return system_failure("seccomp_attr_set", -code);
  if (const int code = add_rules(filter.get())) return system_failure("seccomp_rule_add", -code);
  return exported(filter.get());
}

Result<Descriptor> install_filter(ByteView program) {
  std::array<sock_filter, kProgramBytesMax / sizeof(sock_filter)> instructions;
  const std::size_t count = program.size() / sizeof(sock_filter);
  std::ranges::copy(program, std::as_writable_bytes(std::span(instructions)).begin());
  sock_fprog filter{static_cast<unsigned short>(count), instructions.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_failure("prctl", errno);
  // A call that was received is not interrupted by a signal: it might be done twice.
  constexpr unsigned long kFlags =
      SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  const long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, kFlags, &filter);
  if (listener < 0) return system_failure("seccomp", errno);
  return Descriptor(static_cast<int>(listener));
}

}  // namespace keyward::sed
