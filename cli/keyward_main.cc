// keyward: the command. It parses, asks keywardd over its socket, and prints.
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "api/version.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/completion.h"

namespace keyward::cli {
namespace {

constexpr std::string_view kDefaultSocket = "/run/keyward/keyward.sock";

void build(CLI::App& app, Session& session) {
  app.name("keyward");
  app.set_version_flag("--version", "keyward " + std::string(api::kProductVersion));
  app.require_subcommand(1);
  app.add_option("--socket", session.socket_path, "keywardd's Unix socket")
      ->envname("KEYWARD_SOCKET")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->capture_default_str();
  add_cluster_commands(app, session);
  add_sed_commands(app, session);
  add_entry_commands(app, session);
  add_custodian_commands(app, session);
  add_key_commands(app, session);
  add_event_commands(app, session);
  add_audit_commands(app, session);
  add_admin_commands(app, session);
  add_emulator_commands(app, session);
  add_emulator_serve_command(app, session);
  CLI::App* completion = app.add_subcommand("completion", "Print a shell's completion script");
  completion->require_subcommand(1);
  completion->add_subcommand("bash", "For bash")->callback([&app, &session] {
    session.action = [&app](ApiClient&) -> Result<int> {
      std::cout << bash_completion(app);
      return api::kExitDone;
    };
  });
}

// `isi keymanager …` scripts work with `alias isi=keyward`.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && words.front() == "keymanager") words.erase(words.begin());
  // CLI11 takes them from the back.
  std::ranges::reverse(words);
  return words;
}

int run(int argc, char** argv) {
  Session session;
  session.socket_path = kDefaultSocket;
  CLI::App app("Hardware-backed master keys for storage appliances.");
  build(app, session);
  try {
    app.parse(arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? api::kExitDone : api::kExitUsage;
  }
  ApiClient client(session.socket_path);
  const Result<int> code = session.action ? session.action(client) : api::kExitUsage;
  std::cout << std::flush;
  if (!std::cout) {
    std::cerr << "keyward: standard output cannot be written.\n";
    return api::kExitFailed;
  }
  if (code) return *code;
  std::cerr << "keyward: " << printable(code.error().message, 4096) << '\n';
  return api::exit_code(code.error().code);
}

}  // namespace
}  // namespace keyward::cli

int main(int argc, char** argv) {
  // Secrets pass through. What cannot be locked is still not dumped and is wiped.
  static_cast<void>(keyward::harden_process(keyward::MemoryLock::best_effort));
  std::signal(SIGPIPE, SIG_IGN);
  return keyward::cli::run(argc, argv);
}
