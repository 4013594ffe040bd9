// keyward emulator serve: emulated drives over NVMe/TCP, until SIGINT or SIGTERM.
#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <list>

#include "base/os_random.h"
#include "base/text.h"
#include "cli/commands.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/nvme_tcp/server.h"

namespace keyward::cli {
namespace {

struct ServeOptions {
  std::vector<std::string> drives;
  std::string listen = "127.0.0.1:4420";
  std::uint64_t create_mib = 0;
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

Result<int> serve(const ServeOptions& options) {
  sed::nvme::ServerOptions listen = TRY(sed::nvme::parse_listen(options.listen));
  listen.allow_remote = options.allow_remote;
  // Before there are threads, which inherit it.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM}) ::sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  std::list<std::unique_ptr<sed::EmulatedDrive>> drives;
  sed::nvme::Target target;
  for (const std::string& file : options.drives) {
    drives.push_back(TRY(open_drive(file, options.create_mib)));
    const std::string nqn = TRY(target.add(*drives.back()));
    std::cout << nqn << "  " << printable(file, 4096) << '\n';
  }
  auto server = TRY(sed::nvme::Server::start(target, listen));
  std::cout << "ready: NVMe/TCP on " << listen.address << " port " << server->port() << std::endl;
  int signal = 0;
  ::sigwait(&signals, &signal);
  server.reset();
  return api::kExitDone;
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
  CLI::App* command =
      group->add_subcommand("serve", "Drives for a kernel to attach, until interrupted");
  command->add_flag("--nvme-tcp", options->nvme_tcp, "Over NVMe/TCP")->required();
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
