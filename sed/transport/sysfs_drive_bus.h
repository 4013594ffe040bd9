// SysfsDriveBus is this machine's drives, as Linux shows them in sysfs: every SCSI, SATA and NVMe
// disk, however many there are.
//
//   SysfsDriveBus bus(clock, {.directories = {"/var/lib/keyward"}});
//   for (const DriveAddress& address : TRY(bus.list())) …
//
// What has several nodes is there once, by its first: an NVMe drive with several paths or several
// namespaces, a SAS drive with two ports. It is in use when any of them is. Listing reads files of
// the kernel and asks no drive anything.
//
// watch() hears the kernel's uevents, or looks every two seconds where it may not.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "sed/transport/device_node.h"
#include "sed/transport/drive_bus.h"

namespace keyward::sed {

struct SysfsDriveBusOptions {
  std::filesystem::path root = "/";  // Of /sys, /proc and /dev.
  // Their drives are in use too: the state directory, and those of tokens.
  std::vector<std::string> directories{};
  bool hear_uevents = true;
  std::function<Result<std::unique_ptr<DeviceNode>>(const std::string& path)> open_node =
      DeviceNode::open;
};

class SysfsDriveBus final : public DriveBus {
 public:
  explicit SysfsDriveBus(Clock& clock, SysfsDriveBusOptions options = {});
  ~SysfsDriveBus() override;

  Result<std::vector<DriveAddress>> list() override;
  // `busy` while another process has the node's lock: another Keyward, or udev, for a moment.
  Result<std::unique_ptr<SecurityTransport>> open(const DriveAddress& address) override;
  void watch(Watcher watcher) override;

 private:
  struct Found {
    DriveAddress address;
    std::string sequence;  // Another one is another drive, whatever its node.
  };
  using FoundByNode = std::map<std::string, Found>;

  Result<std::vector<Found>> look();
  void look_every(std::stop_token stop, const Watcher& watcher);
  void tell_changes(const Watcher& watcher);
  void hear(std::stop_token stop);

  Clock& clock_;
  SysfsDriveBusOptions options_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool is_heard_ = false;  // Uevents arrive.
  bool is_told_ = false;   // One has, since the last look.
  FoundByNode known_;      // The watching thread's own.
  Descriptor stop_;        // An eventfd: ends hear().
  std::jthread listener_;
  std::jthread looker_;
};

}  // namespace keyward::sed
