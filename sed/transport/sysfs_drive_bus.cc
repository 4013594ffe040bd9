#include "sed/transport/sysfs_drive_bus.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <regex>
#include <system_error>

#include "base/check.h"
#include "base/log.h"
#include "base/text.h"
#include "sed/transport/block_topology.h"
#include "sed/transport/device_transport.h"
#include "sed/transport/system_storage.h"
#include "sed/transport/uevent_socket.h"

namespace keyward::sed {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kLookEvery{2};
// Where uevents arrive, for one that was lost.
constexpr std::chrono::seconds kLookEveryAnyway{60};

// "sdaa"; "nvme0n1", but not "nvme0c1n1", which is one path of several to it.
bool is_drive_name(const std::string& name) {
  static const std::regex pattern("sd[a-z]+|nvme[0-9]+n[0-9]+");
  return std::regex_match(name, pattern);
}

// sda, sdb, … sdz, sdaa; nvme2n1, nvme10n1.
bool comes_before(const std::string& a, const std::string& b) {
  if (a[0] != b[0]) return a[0] > b[0];
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

Result<std::vector<std::string>> drive_names(const BlockTopology& topology, const fs::path& root) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator entry(root / "sys/block", failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    const std::string directory = "/sys/block/" + name;
    if (!is_drive_name(name) || topology.attribute(directory + "/hidden") == "1") continue;
    // A host managed zoned disk has type 20.
    const std::string type = topology.attribute(directory + "/device/type");
    if (type.empty() || type == "0" || type == "20") names.push_back(name);
  }
  if (failed)
    return fail(ErrorCode::io, fmt::format("opendir /sys/block: {}", failed.message()), "opendir",
                static_cast<std::uint64_t>(failed.value()));
  std::ranges::sort(names, comes_before);
  return names;
}

// Nodes with the same key lead to one drive.
std::string key_of(const BlockTopology& topology, const std::string& name) {
  const std::string device = "/sys/block/" + name + "/device";
  if (name.starts_with("nvme")) {
    const std::string subsystem = topology.attribute(device + "/subsysnqn");
    if (subsystem.empty()) return topology.link(device).string();
    return subsystem + ' ' + topology.attribute(device + "/serial");
  }
  // Some USB bridges give one name to all their drives: so the serial is asked too. The kernel has
  // both since it found the drive.
  const std::string wwid = topology.attribute(device + "/wwid");
  if (!wwid.starts_with("naa.") && !wwid.starts_with("eui.")) return name;
  return wwid + ' ' + topology.attribute(device + "/vpd_pg80");
}

// The last PCI function on the way to a device.
std::string pci_address(const std::string& path) {
  static const std::regex pattern("[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\\.[0-7]");
  std::string address;
  for (std::sregex_iterator match(path.begin(), path.end(), pattern), end; match != end; ++match)
    address = match->str();
  return address;
}

std::string controller_of(const BlockTopology& topology, const std::string& name) {
  const fs::path device = topology.link("/sys/block/" + name + "/device");
  std::string address = pci_address(device.string());
  if (!address.empty()) return address;
  // An NVMe subsystem is under no bus; its controllers are linked in it.
  std::vector<std::string> controllers;
  std::error_code failed;
  static const std::regex pattern("nvme[0-9]+");
  for (const auto& entry : fs::directory_iterator(device, failed))
    if (std::regex_match(entry.path().filename().string(), pattern))
      controllers.push_back(entry.path().string());
  std::ranges::sort(controllers);
  for (const std::string& controller : controllers) {
    const fs::path real = fs::canonical(controller, failed);
    if (!failed) address = pci_address(real.string());
    if (!address.empty()) return address;
  }
  if (!controllers.empty()) return fs::path(controllers.front()).filename().string();
  static const std::regex host("/(host[0-9]+)/");
  std::smatch match;
  const std::string path = device.string();
  if (std::regex_search(path, match, host)) return match[1].str();
  return device.empty() ? "unknown" : device.filename().string();
}

}  // namespace

SysfsDriveBus::SysfsDriveBus(Clock& clock, SysfsDriveBusOptions options)
    : clock_(clock), options_(std::move(options)) {}

SysfsDriveBus::~SysfsDriveBus() {
  listener_.request_stop();
  if (stop_.is_open()) CHECK(::eventfd_write(stop_.get(), 1) == 0, "an eventfd takes a one");
}

Result<std::vector<DriveAddress>> SysfsDriveBus::list() {
  std::vector<DriveAddress> addresses;
  for (Found& found : TRY(look())) addresses.push_back(std::move(found.address));
  return addresses;
}

Result<std::vector<SysfsDriveBus::Found>> SysfsDriveBus::look() {
  const BlockTopology topology(options_.root);
  const SystemStorage storage = SystemStorage::read(topology, options_.root, options_.directories);
  std::vector<Found> drives;
  std::map<std::string, std::size_t> index;
  for (const std::string& name : TRY(drive_names(topology, options_.root))) {
    const auto [known, is_new] = index.emplace(key_of(topology, name), drives.size());
    if (is_new)
      drives.push_back({{"/dev/" + name, controller_of(topology, name), storage.use_of(name)},
                        topology.attribute("/sys/block/" + name + "/diskseq")});
    DriveAddress& address = drives[known->second].address;
    const std::string use = storage.use_of(name);
    if (!is_new && address.in_use.empty() && !use.empty())
      address.in_use = fmt::format("{} (as /dev/{})", use, name);
  }
  return drives;
}

Result<std::unique_ptr<SecurityTransport>> SysfsDriveBus::open(const DriveAddress& address) {
  const fs::path node = options_.root / fs::path(address.node).relative_path();
  return speak_to(TRY(options_.open_node(node.string())));
}

void SysfsDriveBus::watch(Watcher watcher) {
  CHECK(!looker_.joinable(), "a bus has one watcher");
  if (auto now = look())
    for (Found& found : *now) known_.emplace(found.address.node, std::move(found));
  stop_ = Descriptor(::eventfd(0, EFD_CLOEXEC));
  if (options_.hear_uevents && stop_.is_open())
    listener_ = std::jthread([this](std::stop_token stop) { hear(stop); });
  looker_ = std::jthread(
      [this, watcher = std::move(watcher)](std::stop_token stop) { look_every(stop, watcher); });
}

void SysfsDriveBus::hear(std::stop_token stop) {
  Result<UeventSocket> socket = UeventSocket::open();
  if (!socket) {
    log(LogLevel::info, "drives: {}; new ones are looked for every {} s", socket.error().message,
        kLookEvery.count());
    return;
  }
  const auto set = [this](bool heard) {
    const std::lock_guard lock(mutex_);
    is_heard_ = heard;
    is_told_ = true;
    wake_.notify_all();
  };
  // The first look comes at once: for what happened before the socket was there.
  set(true);
  while (!stop.stop_requested() && socket->wait(stop_.get())) set(true);
  if (!stop.stop_requested()) set(false);
}

void SysfsDriveBus::look_every(std::stop_token stop, const Watcher& watcher) {
  MonotonicTime last = clock_.monotonic();
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const MonotonicTime due = last + (is_heard_ ? kLookEveryAnyway : kLookEvery);
    if (!is_told_ && clock_.monotonic() < due) {
      clock_.wait_until(lock, wake_, stop, due);
      continue;
    }
    is_told_ = false;
    lock.unlock();
    tell_changes(watcher);
    last = clock_.monotonic();
    lock.lock();
  }
}

void SysfsDriveBus::tell_changes(const Watcher& watcher) {
  auto now = look();
  if (!now) {
    log(LogLevel::warning, "drives: {}", now.error().message);
    return;
  }
  FoundByNode found;
  for (Found& drive : *now) found.emplace(drive.address.node, std::move(drive));
  const auto is_in = [](const FoundByNode& drives, const Found& drive) {
    const auto same = drives.find(drive.address.node);
    return same != drives.end() && same->second.sequence == drive.sequence;
  };
  for (const auto& [node, drive] : known_)
    if (!is_in(found, drive)) watcher(drive.address, DriveChange::removed);
  for (const auto& [node, drive] : found)
    if (!is_in(known_, drive)) watcher(drive.address, DriveChange::added);
  known_ = std::move(found);
}

}  // namespace keyward::sed
