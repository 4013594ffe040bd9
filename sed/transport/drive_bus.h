// A DriveBus says which drives this machine has, and opens one.
//
//   for (const DriveAddress& address : TRY(bus.list())) log_info("{}", address.node);
//   std::unique_ptr<SecurityTransport> transport = TRY(bus.open(address));
//   bus.watch([&](const DriveAddress&, DriveChange) { fleet.look_again(); });
//
// Implementations: SysfsDriveBus (every block device, NVMe multipath once) and EmulatedDriveBus.
// Safe from any thread. Opening takes an exclusive lock on the drive, so that the daemon, `keyward
// sed --direct` and a second copy of either never speak to one drive at once: the later one gets
// `busy`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sed/transport/security_transport.h"

namespace keyward::sed {

struct DriveAddress {
  std::string node;  // "/dev/sdaa". For people; it may name another drive tomorrow.
  // What shares a queue or a power budget: the fleet caps work per controller.
  std::string controller;
  // Why this drive must not be provisioned or erased: "it carries /", "… swap". Empty: it may be.
  std::string in_use;

  bool operator==(const DriveAddress&) const = default;
};

enum class DriveChange { added, removed };

class DriveBus {
 public:
  using Watcher = std::function<void(const DriveAddress&, DriveChange)>;

  virtual ~DriveBus() = default;

  // Sends no command to any drive, so a dead one cannot hold it up.
  virtual Result<std::vector<DriveAddress>> list() = 0;
  virtual Result<std::unique_ptr<SecurityTransport>> open(const DriveAddress& address) = 0;
  // Calls `watcher` from a thread of the bus until the bus is destroyed. One watcher; it must not
  // block.
  virtual void watch(Watcher watcher) = 0;
};

}  // namespace keyward::sed
