// SocketDriveBus is the drives of another process, which lends them by SocketDriveServer: `keyward
// emulator serve --socket`. So drives keep their power while whoever uses them is started anew.
//
//   SocketDriveBus bus("/run/drives.sock", clock);
//   for (const DriveAddress& address : TRY(bus.list())) …
//
// watch() looks every second. While nobody listens at the socket, list() answers `unavailable`, and
// nothing is said to have been removed.
#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "sed/transport/drive_bus.h"

namespace keyward::sed {

class SocketDriveBus final : public DriveBus {
 public:
  SocketDriveBus(std::string socket, Clock& clock) : socket_(std::move(socket)), clock_(clock) {}

  Result<std::vector<DriveAddress>> list() override;
  Result<std::unique_ptr<SecurityTransport>> open(const DriveAddress& address) override;
  void watch(Watcher watcher) override;

 private:
  std::string socket_;
  Clock& clock_;
  std::jthread watcher_;
};

}  // namespace keyward::sed
