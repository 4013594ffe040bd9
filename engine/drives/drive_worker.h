// A DriveWorker is the thread that alone speaks to one drive, for as long as the drive is there.
//
//   DriveWorker worker(link_parts, address, slots);
//   auto task = worker.submit([](DriveLink& link) { return link.attach(); }, {.limit = 30s});
//   while (!worker.wait(*task, clock.monotonic() + 1s)) look_after_the_others();
//   Result<void> done = task->outcome;          // `timeout`: the drive is unresponsive.
//
// Tasks are done one after the other. A moment after the last one the drive is let go, since udev
// and others wait for it. Each takes one of its controller's slots meanwhile. A task that is past
// its limit gives its slot back, and fails, and with it all that wait behind it; so do new ones, at
// once, until the drive answers. The thread cannot be ended before that: the destructor waits for
// it. All functions are safe from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "api/drive_row.h"
#include "base/clock.h"
#include "base/result.h"
#include "engine/drives/drive_link.h"

namespace keyward::engine {

// How many drives of one controller are spoken to at once.
class ControllerSlots final {
 public:
  ControllerSlots(unsigned per_controller, Clock& clock)
      : per_controller_(per_controller), clock_(clock) {}

  // Blocks until there is one; false when `stop` was requested first.
  bool take(const std::string& controller, std::stop_token stop);
  void give_back(const std::string& controller);

 private:
  const unsigned per_controller_;
  Clock& clock_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::string, unsigned> taken_;
};

struct DriveTask {
  using Work = std::function<Result<void>(DriveLink&)>;
  struct Terms {
    std::chrono::seconds limit{30};  // From when it has its slot.
    std::stop_token stop{};          // Requested before it has begun: `cancelled`.
  };

  Work work;
  Terms terms;
  std::optional<MonotonicTime> begun{};
  std::optional<MonotonicTime> ended{};
  Result<void> outcome{};  // Once it has ended.
};

class DriveWorker final {
 public:
  DriveWorker(DriveLink::Parts parts, sed::DriveAddress address, ControllerSlots& slots);
  ~DriveWorker();  // Tasks that have not begun are cancelled.

  std::shared_ptr<DriveTask> submit(DriveTask::Work work, DriveTask::Terms terms);
  // Until it has ended, or the task that is under way is past its limit. False: neither by `until`.
  // Its slot may be held by a drive that hangs, so somebody has to check_limit() the others.
  bool wait(const DriveTask& task, MonotonicTime until);
  // For tasks that nobody waits for. Answers when to ask again.
  std::optional<MonotonicTime> check_limit();
  // No more tasks; ends once the one under way has. Does not block.
  void retire();
  bool has_ended() const { return ended_; }  // Then the destructor does not wait.

  // From the next task on.
  void set_address(sed::DriveAddress address);
  sed::DriveAddress address() const;
  // As after the last task.
  api::DriveRow row() const;
  std::string key() const;

 private:
  using Lock = std::unique_lock<std::mutex>;

  void run(std::stop_token stop);
  std::shared_ptr<DriveTask> next(Lock& lock, std::stop_token stop);
  void perform(Lock& lock, DriveTask& task);
  void end(DriveTask& task, Result<void> outcome);
  void fail_queue(const Error& error);
  std::optional<MonotonicTime> due() const;
  void give_up();
  void release_slot();
  std::string subject() const;

  const DriveLink::Parts parts_;
  ControllerSlots& slots_;
  DriveLink link_;  // The thread's.

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::shared_ptr<DriveTask>> queue_;
  std::shared_ptr<DriveTask> current_;
  std::optional<std::string> slot_;  // The controller whose slot is taken.
  bool unresponsive_ = false;
  sed::DriveAddress address_;
  api::DriveRow row_;
  std::string key_;
  std::atomic<bool> ended_ = false;

  std::jthread thread_;
};

}  // namespace keyward::engine
