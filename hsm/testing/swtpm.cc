#include "hsm/testing/swtpm.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <system_error>
#include <thread>

namespace keyward::hsm {
namespace {

constexpr int kStartTriesMax = 1000;
constexpr std::chrono::milliseconds kStartPause{10};

// -1 when it could not be started.
pid_t spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            const std::string& output_path) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  variables.reserve(environment.size());
  for (const std::string& part : environment) variables.push_back(const_cast<char*>(part.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  variables.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_path.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return pid;
  std::fprintf(stderr, "%s: %s\n", arguments[0], std::generic_category().message(error).c_str());
  return -1;
}

// Whether somebody listens there; asked without connecting, since a connection is a client that
// must go again (unix(7): the flags 00010000 are those of a socket that accepts).
bool is_listened_to(const std::string& path) {
  std::ifstream sockets("/proc/net/unix");
  for (std::string line; std::getline(sockets, line);)
    if (line.ends_with(" " + path) && line.find(" 00010000 ") != std::string::npos) return true;
  return false;
}

int wait_for_exit(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

bool Swtpm::start() {
  kill();
  ::unlink(socket_path().c_str());
  ::unlink((socket_path() + ".ctrl").c_str());
  pid_ = spawn(
      {"swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + directory_, "--server",
       "type=unixio,path=" + socket_path(), "--ctrl", "type=unixio,path=" + socket_path() + ".ctrl",
       "--flags", "not-need-init,startup-clear"},
      {}, directory_ + "/log");
  for (int tries = 0; pid_ > 0 && tries < kStartTriesMax; ++tries) {
    if (is_listened_to(socket_path()) && is_listened_to(socket_path() + ".ctrl")) return true;
    std::this_thread::sleep_for(kStartPause);
  }
  std::fprintf(stderr, "swtpm did not start; see %s/log\n", directory_.c_str());
  return false;
}

void Swtpm::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Swtpm::stop_answering() { ::kill(pid_, SIGSTOP); }

void Swtpm::go_on() { ::kill(pid_, SIGCONT); }

int Swtpm::run_tool(const std::vector<std::string>& command, LeftOvers left_overs) const {
  const std::vector<std::string> environment = {"TPM2TOOLS_TCTI=" + tcti(), "HOME=" + directory_};
  const int code = wait_for_exit(spawn(command, environment, directory_ + "/tools"));
  if (left_overs == LeftOvers::flush) {
    wait_for_exit(spawn({"tpm2_flushcontext", "-t"}, environment, directory_ + "/tools"));
  }
  return code;
}

}  // namespace keyward::hsm
