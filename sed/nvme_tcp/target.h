// A Target is what hosts can connect to: the drives under their names, and the controllers that
// hosts have at the moment.
//
//   Target target;
//   TRY(target.add(*drive));
//   auto admitted = target.connect(request);   // std::shared_ptr<Controller>, or why not
//
// Each drive is a subsystem of its own, with one namespace, as TCG expects of a TPer. A host may
// have several controllers on one drive, and a drive several hosts. Drives are added before the
// first connect and must outlive the target. Safe from any thread.
#pragma once

#include <expected>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "sed/nvme_tcp/controller.h"

namespace keyward::sed::nvme {

class Target final {
 public:
  // "nqn.2026-01.internal.keyward:drive:" and the drive's serial number. `unsupported` when the
  // drive was not made for NVMe, `already_exists` when another has the same serial number,
  // `invalid_argument` when that is no part of a name.
  Result<std::string> add(EmulatedDrive& drive);

  // Executes Connect for both kinds of queues.
  std::expected<std::shared_ptr<Controller>, ConnectRefusal> connect(const ConnectRequest& request);
  // The connection of that queue has ended; with the admin queue's the controller ends.
  void disconnect(const std::shared_ptr<Controller>& controller, std::uint16_t queue_id);

  std::size_t controllers() const;

 private:
  std::expected<std::shared_ptr<Controller>, ConnectRefusal> new_controller(
      const ConnectRequest& request);

  std::list<Subsystem> subsystems_;
  mutable std::mutex mutex_;
  std::map<std::uint16_t, std::shared_ptr<Controller>> controllers_;
  std::uint16_t last_id_ = 0;
};

}  // namespace keyward::sed::nvme
