// keyward emulator serve: emulated drives over NVMe/TCP or a Unix socket, until SIGINT or SIGTERM.
#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/os_random.h"
#include "base/text.h"
#include "cli/commands.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/nvme_tcp/server.h"
#include "sed/transport/emulated/emulated_drive_bus.h"
#include "sed/transport/socket_drive_server.h"

namespace keyward::cli {
namespace {

struct ServeOptions {
  std::vector<std::string> drives;
  std::string listen = "127.0.0.1:4420";
  std::uint64_t create_mib = 0;
  std::string socket;
  bool nvme_tcp = false;
  bool allow_remote = false;
};

std::string random_hex(std::size_t bytes) {
  Bytes random(bytes);
  os_random_fill(random);
  return to_hex(random);
}

// A name of its own for each: a kernel refuses two namespaces of one name.
sed::EmulatedDriveOptions new_drive(const std::filesystem::path& file, std::uint64_t mib) {
  sed::EmulatedDriveOptions options{.backing_file = file, .bus = sed::Bus::nvme};
  options.identity.serial = "KW" + random_hex(6);
  options.identity.wwn = "50" + random_hex(7);
  options.sectors = (mib << 20) / options.sector_bytes;
  return options;
}

Result<std::unique_ptr<sed::EmulatedDrive>> open_drive(const std::string& file,
                                                       std::uint64_t create_mib) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) && create_mib == 0)
    return fail(ErrorCode::not_found,
                fmt::format("there is no {}; --create makes it", printable(file)));
  auto drive = sed::EmulatedDrive::open(new_drive(file, create_mib));
  if (!drive) return std::unexpected(with_context(drive.error(), printable(file)));
  return drive;
}

using Drives = std::vector<std::shared_ptr<sed::EmulatedDrive>>;

int wait_for_the_end(const sigset_t& signals) {
  int signal = 0;
  ::sigwait(&signals, &signal);
  return api::kExitDone;
}

Result<int> serve_nvme_tcp(const ServeOptions& options, const sed::nvme::ServerOptions& listen,
                           const Drives& drives, const sigset_t& signals) {
  sed::nvme::Target target;
  for (std::size_t i = 0; i < drives.size(); ++i)
    std::cout << TRY(target.add(*drives[i])) << "  " << printable(options.drives[i], 4096) << '\n';
  const auto server = TRY(sed::nvme::Server::start(target, listen));
  std::cout << "ready: NVMe/TCP on " << listen.address << " port " << server->port() << std::endl;
  return wait_for_the_end(signals);
}

Result<int> serve_socket(const ServeOptions& options, const Drives& drives,
                         const sigset_t& signals) {
  const std::unique_ptr<Clock> clock = real_clock();
  sed::EmulatedDriveBus bus(*clock);
  for (std::size_t i = 0; i < drives.size(); ++i)
    bus.add({.node = options.drives[i], .controller = "emulated", .in_use = {}}, drives[i]);
  const auto server = TRY(sed::SocketDriveServer::start(bus, *clock, options.socket));
  std::cout << "ready: " << drives.size() << " drives on " << printable(options.socket, 4096)
            << std::endl;
  return wait_for_the_end(signals);
}

Result<int> serve(const ServeOptions& options) {
  if (options.nvme_tcp == !options.socket.empty())
    return fail(ErrorCode::invalid_argument, "Give --nvme-tcp or --socket; one of the two.");
  sed::nvme::ServerOptions listen = TRY(sed::nvme::parse_listen(options.listen));
  listen.allow_remote = options.allow_remote;
  // Before there are threads, which inherit it.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Drives drives;
  for (const std::string& file : options.drives)
    drives.push_back(TRY(open_drive(file, options.create_mib)));
  return options.nvme_tcp ? serve_nvme_tcp(options, listen, drives, signals)
                          : serve_socket(options, drives, signals);
}

// The group may be there already, from another command's file.
CLI::App* emulator_group(CLI::App& app) {
  const auto found =
      app.get_subcommands([](CLI::App* sub) { return sub->get_name() == "emulator"; });
  if (!found.empty()) return found.front();
  CLI::App* group = app.add_subcommand("emulator", "Self-encrypting drives in software");
  group->require_subcommand(1);
  return group;
}

}  // namespace

void add_emulator_serve_command(CLI::App& app, Session& session) {
  CLI::App* group = emulator_group(app);
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = group->add_subcommand("serve", "Lend drives to others, until interrupted");
  command->add_flag("--nvme-tcp", options->nvme_tcp, "To kernels, over NVMe/TCP");
  command->add_option("--socket", options->socket,
                      "To keywardd and `keyward sed drives --direct`, at this Unix socket");
  command->add_option("--listen", options->listen, "Address and port")->capture_default_str();
  command->add_flag("--allow-remote", options->allow_remote,
                    "Listen where other machines can connect; nothing protects the drives");
  command->add_option("--drive", options->drives, "A drive's file")->required()->expected(1, -1);
  command
      ->add_option("--create", options->create_mib,
                   "Make drives that are not there: NVMe, Opal, of so many MiB")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 24));
  command->callback(
      [&session, options] { session.action = [options](ApiClient&) { return serve(*options); }; });
}

}  // namespace keyward::cli
