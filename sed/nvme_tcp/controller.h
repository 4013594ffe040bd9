// A Controller executes the commands of one host on one drive: NVM Express 1.4, 5 and 6; NVMe over
// Fabrics 1.1, 3.
//
//   Controller controller(7, subsystem, connect_request);
//   Outcome outcome = controller.execute(command, data, Queue::admin);
//   if (outcome.status == status::kSuccess) send(outcome.data);
//
// Connect is the target's (target.h). Each queue has a connection and so a thread of its own; all
// functions are safe from any thread. What a host sends to the drive is never logged.
#pragma once

#include <array>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/nvme_tcp/command.h"

namespace keyward::sed::nvme {

// A drive, and the name by which hosts connect to it.
struct Subsystem {
  std::string nqn;
  EmulatedDrive& drive;
};

class Controller final {
 public:
  Controller(std::uint16_t id, const Subsystem& subsystem, const ConnectRequest& request);

  std::uint16_t id() const { return id_; }
  const Subsystem& subsystem() const { return subsystem_; }
  bool is_of(const ConnectRequest& request) const;

  // `queue_id` 0 is the admin queue. `data`: what came with the command, all of it.
  Outcome execute(const Command& command, ByteView data, std::uint16_t queue_id);

  // An I/O queue can be taken once, when the host has enabled the controller.
  bool take_queue(std::uint16_t queue_id);
  void free_queue(std::uint16_t queue_id);

  // 0: none is asked for.
  std::chrono::milliseconds keep_alive() const;

  // The admin queue has gone: all the others go too.
  void end() { end_.request_stop(); }
  std::stop_token ended() const { return end_.get_token(); }

 private:
  Outcome admin(const Command& command, ByteView data);
  Outcome io(const Command& command, ByteView data);
  Outcome fabrics_command(const Command& command);
  Outcome property_get(const Command& command);
  Outcome property_set(const Command& command);
  void configure(std::uint32_t configuration);
  Outcome identify(const Command& command);
  Outcome drive_page(IdentifyPage page);
  Outcome security_send(const Command& command, ByteView data);
  Outcome security_receive(const Command& command);
  Outcome get_log(const Command& command) const;
  Outcome set_features(const Command& command);
  Outcome get_features(const Command& command) const;
  Outcome async_event();
  bool is_ready() const;

  const std::uint16_t id_;
  const Subsystem& subsystem_;
  const std::array<std::byte, 16> host_id_;
  const std::string host_;

  mutable std::mutex mutex_;
  std::uint32_t configuration_ = 0;  // CC.
  std::uint32_t state_ = 0;          // CSTS.
  std::uint32_t keep_alive_ms_;
  std::uint32_t event_configuration_ = 0;
  std::uint8_t events_held_ = 0;
  std::set<std::uint16_t> queues_;
  std::stop_source end_;
};

}  // namespace keyward::sed::nvme
