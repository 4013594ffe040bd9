#include "sed/transport/socket_drive_bus.h"

#include <algorithm>

#include "sed/transport/socket_transport.h"

namespace keyward::sed {
namespace {

constexpr std::chrono::seconds kPause{1};

void tell(const std::vector<DriveAddress>& of, const std::vector<DriveAddress>& missing_in,
          DriveChange change, const DriveBus::Watcher& watcher) {
  for (const DriveAddress& address : of)
    if (std::ranges::find(missing_in, address.node, &DriveAddress::node) == missing_in.end())
      watcher(address, change);
}

}  // namespace

Result<std::vector<DriveAddress>> SocketDriveBus::list() { return SocketTransport::list(socket_); }

Result<std::unique_ptr<SecurityTransport>> SocketDriveBus::open(const DriveAddress& address) {
  return TRY(SocketTransport::open(socket_, address.node));
}

void SocketDriveBus::watch(Watcher watcher) {
  watcher_ = std::jthread([this, watcher = std::move(watcher)](const std::stop_token& stop) {
    std::vector<DriveAddress> known;
    bool is_first = true;
    do {
      auto now = list();
      if (!now) continue;
      // What was there before is known by list().
      if (!std::exchange(is_first, false)) {
        tell(known, *now, DriveChange::removed, watcher);
        tell(*now, known, DriveChange::added, watcher);
      }
      known = std::move(*now);
    } while (clock_.sleep_until(stop, clock_.monotonic() + kPause));
  });
}

}  // namespace keyward::sed
