#include "daemon/drives.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "engine/drives/drive_records.h"
#include "engine/drives/node_id.h"
#include "sed/transport/emulated/emulated_drive_bus.h"
#include "sed/transport/socket_drive_bus.h"
#include "sed/transport/sysfs_drive_bus.h"

namespace keyward::daemon {
namespace {

Result<std::unique_ptr<sed::DriveBus>> open_bus(const Config& config, Clock& clock) {
  const DriveConfig& drives = *config.drives;
  if (!drives.emulated.empty()) {
    log(LogLevel::warning, "the drives of {} are emulated: they protect nothing", drives.emulated);
    std::error_code error;
    if (std::filesystem::is_socket(drives.emulated, error))
      return std::make_unique<sed::SocketDriveBus>(drives.emulated, clock);
    return TRY(sed::EmulatedDriveBus::scan(drives.emulated, clock));
  }
  std::vector<std::string> keep = drives.keep;
  keep.push_back(config.state_dir);
  sed::SysfsDriveBusOptions options;
  options.directories = std::move(keep);
  return std::make_unique<sed::SysfsDriveBus>(clock, std::move(options));
}

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  if (!error) return {};
  return fail(ErrorCode::io,
              fmt::format("the directory {} cannot be made private: {}", path, error.message()));
}

}  // namespace

Result<std::unique_ptr<Drives>> Drives::open(const Config& config, engine::Keyring& keyring,
                                             engine::EventLog& events, store::ControlStore& control,
                                             Clock& clock) {
  const std::string ledger = config.state_dir + "/drives";
  TRY(make_directory(ledger));
  std::unique_ptr<Drives> drives(new Drives(*config.drives, TRY(open_bus(config, clock)), ledger));
  if (TRY(engine::DriveRecords(control, clock).take_restored_mark(config.state_dir)))
    log(LogLevel::warning,
        "the state directory was restored: no PIN is sent to a drive before keyward sed drives "
        "verify");
  engine::DriveFleet::Settings settings;
  settings.node = TRY(engine::load_or_make_node_id(control));
  settings.per_controller = config.drives->per_controller;
  settings.per_drive = config.drives->per_drive;
  settings.provision_new = config.drives->provision_new;
  drives->fleet_ = std::make_unique<engine::DriveFleet>(
      engine::DriveFleet::Parts{*drives->bus_, keyring, events, control, drives->ledger_, clock},
      std::move(settings));
  return drives;
}

void Drives::unlock_all(const std::stop_token& stop) {
  const auto results = fleet_->recover(stop, config_.start_patience);
  const auto failed = std::ranges::count_if(
      results, [](const api::DriveResult& result) { return !result.code.empty(); });
  for (const api::DriveResult& result : results)
    if (!result.code.empty())
      log(LogLevel::error, "drive {} ({}): {}", result.serial, result.node, result.error);
  log(LogLevel::notice, "{} drives are ready, {} are not",
      results.size() - static_cast<std::size_t>(failed), failed);
}

}  // namespace keyward::daemon
