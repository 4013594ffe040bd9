// keywardd: reads its configuration, starts the Daemon, and waits for SIGTERM or SIGINT.
//
//   keywardd --config /etc/keyward/keyward.toml [--check] | --version | --openapi

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "api/error_table.h"
#include "api/openapi.h"
#include "api/version.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "crypto/aead.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/service_manager.h"

namespace keyward::daemon {
namespace {

struct Options {
  std::string config = "/etc/keyward/keyward.toml";
  bool check = false;
};

constexpr std::string_view kUsage =
    "usage: keywardd [--config FILE] [--check] | --version | --openapi | --help\n"
    "\n"
    "  --config FILE  the configuration; /etc/keyward/keyward.toml when not given\n"
    "  --check        read and check it whole, print what is wrong, and end\n"
    "  --version      print the version and the AEAD engines that this CPU runs\n"
    "  --openapi      print the description of the API\n";

int usage_error(std::string_view what) {
  std::fputs(fmt::format("keywardd: {}\n{}", what, kUsage).c_str(), stderr);
  return api::kExitUsage;
}

int report(const Error& error) {
  std::fputs(fmt::format("keywardd: {}\n", error.message).c_str(), stderr);
  return api::exit_code(error.code);
}

int print_version() {
  std::string engines;
  for (const crypto::AeadEngine* engine : crypto::aead_engines())
    engines += fmt::format(" {}", engine->name());
  std::fputs(fmt::format("keywardd {}\nAEAD engines:{}\n", api::kProductVersion, engines).c_str(),
             stdout);
  return api::kExitDone;
}

// Measured with 1 MiB entries: without these, glibc gives memory back and takes it again all the
// time. Two arenas keep the threads from hoarding memory of their own.
void tune_allocator() {
  // NOLINTBEGIN(concurrency-mt-unsafe): no other thread is there yet.
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_TRIM_THRESHOLD, 16 * 1024 * 1024);
  ::mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
  ::mallopt(M_TOP_PAD, 16 * 1024 * 1024);
  // NOLINTEND(concurrency-mt-unsafe)
}

// Blocked before any thread is started, so that only wait_for_signal() gets them.
sigset_t block_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return signals;
}

void wait_for_signal(const sigset_t& signals) {
  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  log(LogLevel::notice, "signal {}: stopping", signal);
}

Result<void> serve(const Config& config) {
  tune_allocator();
  const sigset_t signals = block_signals();
  TRY(harden_process(config.memory_lock));
  const std::unique_ptr<Clock> clock = real_clock();
  std::unique_ptr<Daemon> daemon =
      TRY(Daemon::start(config, TRY(open_parts(config, *clock)), *clock));
  notify_ready();
  wait_for_signal(signals);
  notify_stopping();
  daemon->stop();
  return {};
}

Result<void> check(const Options& options, const Config& config) {
  TRY(check_custodians(config, options.config));
  std::fputs(fmt::format("{}: nothing wrong\n", options.config).c_str(), stdout);
  return {};
}

int run(const Options& options) {
  const Result<Config> config = read_config(options.config);
  if (!config) return report(config.error());
  set_log_level(config->log_level);
  const Result<void> done = options.check ? check(options, *config) : serve(*config);
  return done ? api::kExitDone : report(done.error());
}

int main_of(const std::vector<std::string_view>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--version") return print_version();
    if (arguments[i] == "--openapi") {
      std::fputs(api::render_openapi().c_str(), stdout);
      return api::kExitDone;
    }
    if (arguments[i] == "--help") {
      std::fputs(std::string(kUsage).c_str(), stdout);
      return api::kExitDone;
    }
    if (arguments[i] == "--check") {
      options.check = true;
    } else if (arguments[i] == "--config" && i + 1 < arguments.size()) {
      options.config = arguments[++i];
    } else {
      return usage_error(fmt::format("unknown or incomplete argument {}", arguments[i]));
    }
  }
  return run(options);
}

}  // namespace
}  // namespace keyward::daemon

int main(int count, char** arguments) {
  return keyward::daemon::main_of({arguments + 1, arguments + count});
}
