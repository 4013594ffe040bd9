#include "sed/device_node/command_runner.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <system_error>

#include "sed/device_node/system_call_filter.h"

namespace keyward::sed {
namespace {

constexpr int kNotFound = 127, kNotRunnable = 126;

std::unexpected<Error> system_failure(std::string_view function, int code) {
  return fail(code == EBUSY ? ErrorCode::busy : ErrorCode::io,
              fmt::format("{}: {}", function, std::generic_category().message(code)), function,
              static_cast<std::uint64_t>(code));
}

// One int, an errno or 0, and with 0 a descriptor.
union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

void send_listener(int socket, int code, int listener) {
  iovec data{&code, sizeof code};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (code == 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
  }
  static_cast<void>(::sendmsg(socket, &message, MSG_NOSIGNAL));
}

Result<Descriptor> receive_listener(int socket) {
  int code = ECHILD;  // Where the child ended without a word.
  iovec data{&code, sizeof code};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 0) return system_failure("recvmsg", errno);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (code != 0 || header == nullptr) return system_failure("seccomp", code);
  int listener = -1;
  std::memcpy(&listener, CMSG_DATA(header), sizeof listener);
  return Descriptor(listener);
}

// Between fork and exec.
[[noreturn]] void become(const std::vector<std::string>& words, ByteView filter, int socket,
                         const sigset_t& mask) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  // Without its server it could do nothing but fail. And the server must see into it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_DUMPABLE, 1);
  const Result<Descriptor> listener = install_filter(filter);
  const int code = listener ? 0 : static_cast<int>(listener.error().native);
  send_listener(socket, code, listener ? listener->get() : -1);
  if (code != 0) ::_exit(kNotRunnable);
  ::execvp(arguments[0], arguments.data());
  const int failure = errno;
  const std::string text =
      fmt::format("keyward: {}: {}\n", words[0], std::generic_category().message(failure));
  static_cast<void>(::write(STDERR_FILENO, text.data(), text.size()) < 0);
  ::_exit(failure == ENOENT ? kNotFound : kNotRunnable);
}

std::optional<CommandEnd> end_of(pid_t child, int options) {
  int status = 0;
  if (::waitpid(child, &status, options) != child) return std::nullopt;
  if (WIFSIGNALED(status)) return CommandEnd{.by_signal = true, .number = WTERMSIG(status)};
  return CommandEnd{.number = WEXITSTATUS(status)};
}

// A signal that a terminal sent, the command has got as well.
void pass_on(const signalfd_siginfo& signal, pid_t child) {
  const bool from_terminal = signal.ssi_code == SI_KERNEL;
  if (!from_terminal) ::kill(child, static_cast<int>(signal.ssi_signo));
}

// Until no process has the filter any more.
Result<CommandEnd> serve(DeviceServer& server, pid_t child, int signals) {
  std::optional<CommandEnd> end;
  std::array<pollfd, 2> watched{pollfd{server.listener(), POLLIN, 0}, pollfd{signals, POLLIN, 0}};
  for (;;) {
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR)
      return system_failure("poll", errno);
    if ((watched[1].revents & POLLIN) != 0) {
      signalfd_siginfo signal{};
      if (::read(signals, &signal, sizeof signal) != sizeof signal) continue;
      if (signal.ssi_signo == SIGCHLD) {
        if (!end) end = end_of(child, WNOHANG);
      } else if (!end) {
        pass_on(signal, child);
      }
    }
    if ((watched[0].revents & POLLIN) != 0) {
      TRY(server.serve_one());
    } else if ((watched[0].revents & (POLLHUP | POLLERR)) != 0) {
      if (!end) end = end_of(child, 0);
      if (!end) return system_failure("waitpid", errno);
      return *end;
    }
  }
}

class BlockedSignals final {
 public:
  BlockedSignals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD})
      ::sigaddset(&set, number);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
    descriptor_ = Descriptor(::signalfd(-1, &set, SFD_CLOEXEC));
  }
  ~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

  const sigset_t& before() const { return before_; }
  int descriptor() const { return descriptor_.get(); }

 private:
  sigset_t before_{};
  Descriptor descriptor_;
};

}  // namespace

Result<CommandEnd> run_command(const std::vector<std::string>& words, DeviceServer& server) {
  if (words.empty()) return fail(ErrorCode::invalid_argument, "there is no command to run");
  const Bytes filter = TRY(make_filter());
  std::array<int, 2> pair{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return system_failure("socketpair", errno);
  const Descriptor ours(pair[0]);
  Descriptor theirs(pair[1]);
  const BlockedSignals signals;
  const pid_t child = ::fork();
  if (child < 0) return system_failure("fork", errno);
  if (child == 0) become(words, filter, theirs.get(), signals.before());
  theirs = Descriptor();
  Result<Descriptor> listener = receive_listener(ours.get());
  if (!listener) {
    static_cast<void>(end_of(child, 0));
    return std::unexpected(std::move(listener.error()));
  }
  server.listen(std::move(*listener));
  return serve(server, child, signals.descriptor());
}

}  // namespace keyward::sed
