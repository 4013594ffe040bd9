#include "sed/nvme_tcp/target.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "sed/nvme_tcp/limits.h"

namespace keyward::sed::nvme {
namespace {

constexpr std::string_view kNamePrefix = "nqn.2026-01.internal.keyward:drive:";
constexpr std::uint16_t kAnyController = 0xFFFF, kIdMax = 0xFFEF;

bool can_be_named(std::string_view serial) {
  constexpr std::string_view kMarks = "-._";
  return !serial.empty() && std::ranges::all_of(serial, [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           kMarks.contains(c);
  });
}

}  // namespace

Result<std::string> Target::add(EmulatedDrive& drive) {
  const EmulatedDriveOptions& options = drive.options();
  const std::string file = printable(options.backing_file.string());
  if (options.bus != Bus::nvme)
    return fail(ErrorCode::unsupported,
                fmt::format("{} was not made for NVMe: make one with --bus nvme", file));
  const std::string& serial = options.identity.serial;
  if (!can_be_named(serial))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: its serial number has other characters than letters, digits, "
                            "'-', '.' and '_', so it makes no NQN",
                            file));
  std::string nqn = std::string(kNamePrefix) + serial;
  if (std::ranges::find(subsystems_, nqn, &Subsystem::nqn) != subsystems_.end())
    return fail(ErrorCode::already_exists,
                fmt::format("{}: another drive has the serial number {}", file, serial));
  subsystems_.push_back({nqn, drive});
  return nqn;
}

std::expected<std::shared_ptr<Controller>, ConnectRefusal> Target::connect(
    const ConnectRequest& request) {
  constexpr std::uint16_t kQueueField = 42, kControllerField = 16;
  if (request.queue_id == 0) return new_controller(request);
  if (request.queue_id > kIoQueuesMax) return std::unexpected(bad_connect_command(kQueueField));
  const std::lock_guard lock(mutex_);
  const auto found = controllers_.find(request.controller_id);
  if (found == controllers_.end() || !found->second->is_of(request))
    return std::unexpected(bad_connect_data(kControllerField));
  if (!found->second->take_queue(request.queue_id))
    return std::unexpected(ConnectRefusal{status::kSequence, 0});
  return found->second;
}

std::expected<std::shared_ptr<Controller>, ConnectRefusal> Target::new_controller(
    const ConnectRequest& request) {
  constexpr std::uint16_t kControllerField = 16, kSubsystemField = 256;
  const auto subsystem = std::ranges::find(subsystems_, request.subsystem, &Subsystem::nqn);
  if (subsystem == subsystems_.end()) return std::unexpected(bad_connect_data(kSubsystemField));
  if (request.controller_id != kAnyController)
    return std::unexpected(bad_connect_data(kControllerField));
  const std::lock_guard lock(mutex_);
  if (controllers_.size() >= kControllersMax)
    return std::unexpected(ConnectRefusal{status::kControllerBusy, 0});
  do {
    last_id_ = last_id_ == kIdMax ? std::uint16_t{1} : static_cast<std::uint16_t>(last_id_ + 1);
  } while (controllers_.contains(last_id_));
  auto controller = std::make_shared<Controller>(last_id_, *subsystem, request);
  controllers_.emplace(last_id_, controller);
  return controller;
}

void Target::disconnect(const std::shared_ptr<Controller>& controller, std::uint16_t queue_id) {
  controller->free_queue(queue_id);
  if (queue_id != 0) return;
  {
    const std::lock_guard lock(mutex_);
    controllers_.erase(controller->id());
  }
  controller->end();
}

std::size_t Target::controllers() const {
  const std::lock_guard lock(mutex_);
  return controllers_.size();
}

}  // namespace keyward::sed::nvme
