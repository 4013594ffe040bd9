// The DriveRoster has a worker for each drive that the bus shows.
//
//   for (const auto& worker : TRY(roster.refresh())) welcome(worker);    // The new ones.
//   for (const auto& worker : roster.all()) tasks.push_back(worker->submit(work, terms));
//
// Safe from any thread. A worker that was taken off stays until its thread has ended; the
// destructor waits for all.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/drives/drive_link.h"
#include "engine/drives/drive_worker.h"

namespace keyward::engine {

class DriveRoster final {
 public:
  using Workers = std::vector<std::shared_ptr<DriveWorker>>;

  DriveRoster(DriveLink::Parts parts, unsigned per_controller)
      : parts_(std::move(parts)), slots_(per_controller, parts_.clock) {}

  // Asks the bus; no drive. Answers the workers that are new.
  Result<Workers> refresh();
  // What was at the node is gone, even if the bus shows something there again.
  void take_off(const std::string& node);

  Workers all() const;  // By node.
  // By serial, WWN or key. Null where no drive that has told its identity has it.
  std::shared_ptr<DriveWorker> find(const std::string& name) const;
  // For tasks that nobody waits for; answers when to ask again.
  std::optional<MonotonicTime> check_limits();

 private:
  void leave(std::shared_ptr<DriveWorker> worker);

  const DriveLink::Parts parts_;
  ControllerSlots slots_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<DriveWorker>> workers_;
  Workers leaving_;
};

}  // namespace keyward::engine
