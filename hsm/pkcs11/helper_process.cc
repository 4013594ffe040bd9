#include "hsm/pkcs11/helper_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// glibc 2.36 forgot this for C++.
extern "C" {
#include <sys/pidfd.h>
}

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include "base/log.h"
#include "base/text.h"

namespace keyward::hsm::pkcs11 {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFinalizeLimit{2000};
constexpr milliseconds kKillLimit{1000};

std::unexpected<Error> system_failure(std::string_view function, std::string_view what, int code) {
  return fail(ErrorCode::unavailable,
              fmt::format("{}: {}: {}", function, what, std::generic_category().message(code)),
              function, static_cast<std::uint64_t>(code));
}

// What the child is to be, for posix_spawn.
class SpawnPlan final {
 public:
  SpawnPlan() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0, or an errno. The new session keeps a terminal's Ctrl-C away: the helper ends with us.
  int prepare(int socket) {
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    for (const int code : {
             ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0),
             ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0),
             ::posix_spawn_file_actions_adddup2(&actions_, socket, kHelperSocket),
             ::posix_spawn_file_actions_addclosefrom_np(&actions_, kHelperSocket + 1),
             ::posix_spawnattr_setsigmask(&attributes_, &none),
             ::posix_spawnattr_setsigdefault(&attributes_, &all),
             ::posix_spawnattr_setflags(
                 &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID),
         }) {
      if (code != 0) return code;
    }
    return 0;
  }

  int spawn(const std::string& path, const std::vector<std::string>& environment, pid_t& pid) {
    std::vector<char*> variables;
    for (const std::string& variable : environment)
      variables.push_back(const_cast<char*>(variable.c_str()));
    variables.push_back(nullptr);
    std::array<char*, 2> arguments{const_cast<char*>(path.c_str()), nullptr};
    return ::posix_spawn(&pid, path.c_str(), &actions_, &attributes_, arguments.data(),
                         variables.data());
  }

 private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

int poll_timeout(std::chrono::steady_clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
  return left.count() <= 0 ? 0 : static_cast<int>(left.count());
}

}  // namespace

Result<std::unique_ptr<HelperProcess>> HelperProcess::start(
    const std::string& path, const std::vector<std::string>& environment) {
  std::array<int, 2> sockets{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.data()) != 0)
    return system_failure("socketpair", "the helper process cannot be started", errno);
  pid_t pid = 0;
  SpawnPlan plan;
  int code = plan.prepare(sockets[1]);
  if (code == 0) code = plan.spawn(path, environment, pid);
  ::close(sockets[1]);
  if (code != 0) {
    ::close(sockets[0]);
    return system_failure("posix_spawn", printable(path, 512) + " cannot be started", code);
  }
  const int pidfd = ::pidfd_open(pid, 0);
  if (pidfd < 0) {  // Out of descriptors. The pid is ours until it is waited for.
    code = errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    ::close(sockets[0]);
    return system_failure("pidfd_open", "the helper process cannot be watched", code);
  }
  return std::unique_ptr<HelperProcess>(new HelperProcess(pid, pidfd, sockets[0]));
}

HelperProcess::~HelperProcess() {
  ::shutdown(socket_, SHUT_RDWR);
  if (!wait_for_end(kFinalizeLimit)) kill();
  siginfo_t info{};
  if (wait_for_end(kKillLimit)) {
    ::waitid(P_PIDFD, static_cast<id_t>(pidfd_), &info, WEXITED | WNOHANG);
  } else {
    log(LogLevel::warning,
        "keyward-p11 (pid {}) does not end although it was killed: its module "
        "waits for the kernel",
        pid_);
  }
  ::close(socket_);
  ::close(pidfd_);
}

bool HelperProcess::wait_for_end(milliseconds limit) const {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  pollfd end{pidfd_, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&end, 1, poll_timeout(deadline));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool HelperProcess::is_alive() const { return !wait_for_end(milliseconds(0)); }

void HelperProcess::kill() { ::pidfd_send_signal(pidfd_, SIGKILL, nullptr, 0); }

std::string HelperProcess::end_text() {
  siginfo_t info{};
  if (!wait_for_end(kKillLimit) ||
      ::waitid(P_PIDFD, static_cast<id_t>(pidfd_), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return "it closed its socket";
  if (info.si_code == CLD_EXITED) return fmt::format("it exited with status {}", info.si_status);
  return fmt::format("it was ended by signal {}", info.si_status);
}

Result<bool> HelperProcess::receive(const HelperMessage& request, HelperMessage& reply) {
  const ssize_t size = ::recv(socket_, &reply, sizeof(reply), MSG_DONTWAIT | MSG_TRUNC);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (size <= 0) {
    return fail(ErrorCode::unavailable,
                fmt::format("keyward-p11: the process that runs the PKCS#11 module is gone: {}. "
                            "Keyward starts another; when it happens again, look at the module",
                            end_text()),
                "keyward-p11");
  }
  if (size != static_cast<ssize_t>(sizeof(reply)) || reply.seq > request.seq) {
    kill();
    return fail(ErrorCode::protocol,
                "keyward-p11: an answer of another version; restart keywardd after an upgrade");
  }
  return reply.seq == request.seq;  // An older one is dropped.
}

Result<void> HelperProcess::exchange(HelperMessage& request, HelperMessage& reply,
                                     milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  request.seq = ++last_seq_;
  // A process that died is seen by the poll below, which also knows how it ended.
  static_cast<void>(::send(socket_, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT));
  while (!TRY(receive(request, reply))) {
    std::array<pollfd, 2> waiting{{{socket_, POLLIN, 0}, {pidfd_, POLLIN, 0}}};
    const int ready = ::poll(waiting.data(), waiting.size(), poll_timeout(deadline));
    if (ready > 0 || (ready < 0 && errno == EINTR)) continue;
    kill();
    return fail(ErrorCode::timeout,
                fmt::format("keyward-p11: the PKCS#11 module did not answer within {} ms, and its "
                            "process was ended. The call may have had an effect; look at the token "
                            "and its service",
                            limit.count()),
                "keyward-p11");
  }
  return {};
}

}  // namespace keyward::hsm::pkcs11
