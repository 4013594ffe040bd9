// An emulated NVMe drive behind a server on a port of its own.
#pragma once

#include <mutex>
#include <thread>

#include "base/log.h"
#include "sed/emulator/drive_fixture.h"
#include "sed/nvme_tcp/host_fixture.h"
#include "sed/nvme_tcp/server.h"

namespace keyward::sed::nvme {

inline const std::string kNqn = "nqn.2026-01.internal.keyward:drive:KWEMU0000001";

// As Answer::status has them.
inline constexpr int kGood = 0x000, kInvalidOpcode = 0x001, kInvalidField = 0x002,
                     kIdConflict = 0x003, kInvalidNamespace = 0x00B, kSequenceError = 0x00C,
                     kSglLength = 0x00F, kSglType = 0x011, kSglOffset = 0x016,
                     kLbaOutOfRange = 0x080, kEventLimit = 0x105, kInvalidLog = 0x109,
                     kNotSaveable = 0x10D, kConnectFormat = 0x180, kConnectInvalid = 0x182,
                     kAccessDenied = 0x286;

inline Sqe identify(std::uint32_t cns, std::uint32_t nsid = 0) {
  return {.opcode = 0x06, .nsid = nsid, .cdw10 = cns};
}
inline Sqe security_send(std::uint8_t protocol, std::uint16_t specific, std::uint32_t size) {
  return {.opcode = 0x81,
          .cdw10 = static_cast<std::uint32_t>(protocol << 24 | specific << 8),
          .cdw11 = size};
}
inline Sqe security_receive(std::uint8_t protocol, std::uint16_t specific, std::uint32_t size) {
  Sqe command = security_send(protocol, specific, size);
  command.opcode = 0x82;
  return command;
}
// `count` sectors.
inline Sqe read_sectors(std::uint32_t first, std::uint32_t count) {
  return {.opcode = 0x02, .nsid = 1, .cdw10 = first, .cdw12 = count - 1};
}
inline Sqe write_sectors(std::uint32_t first, std::uint32_t count) {
  Sqe command = read_sectors(first, count);
  command.opcode = 0x01;
  return command;
}

class ServerTest : public DriveTest {
 protected:
  ServerTest() {
    options_.bus = Bus::nvme;
    set_log_sink([this](LogLevel, std::string_view line) {
      const std::lock_guard lock(log_mutex_);
      log_ += std::string(line) + '\n';
    });
  }
  ~ServerTest() override {
    server_.reset();
    set_log_sink(nullptr);
  }

  void serve(const ServerOptions& options = {.port = 0}) {
    EXPECT_EQ(target_.add(drive()).value(), kNqn);
    server_ = Server::start(target_, options).value();
  }
  NvmeHost host() const { return NvmeHost(server_->port()); }

  // A host with an enabled controller, on its admin queue.
  NvmeHost admin(std::uint32_t keep_alive_ms = 0) {
    NvmeHost host(server_->port());
    EXPECT_EQ(host.greet().type, 0x01);
    const Answer connected = host.connect(kNqn, 0, 0xFFFF, keep_alive_ms);
    EXPECT_EQ(connected.status, kGood);
    controller_ = static_cast<std::uint16_t>(connected.result);
    EXPECT_EQ(host.enable(), kGood);
    return host;
  }
  // An I/O queue of the controller that admin() made last.
  NvmeHost io(std::uint16_t queue = 1) {
    NvmeHost host(server_->port());
    EXPECT_EQ(host.greet().type, 0x01);
    EXPECT_EQ(host.connect(kNqn, queue, controller_).status, kGood);
    return host;
  }
  // That hosts are served as if nothing had been.
  void expect_service() {
    NvmeHost host = admin();
    EXPECT_EQ(host.run(identify(1), 4096).status, kGood);
  }
  // Ends that others see come a moment later.
  template <typename Condition>
  bool comes_true(Condition&& condition) {
    for (int n = 0; n < 1000; ++n) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  std::string logged() {
    const std::lock_guard lock(log_mutex_);
    return log_;
  }

  std::mutex log_mutex_;
  std::string log_;
  Target target_;
  std::unique_ptr<Server> server_;
  std::uint16_t controller_ = 0;
};

}  // namespace keyward::sed::nvme
