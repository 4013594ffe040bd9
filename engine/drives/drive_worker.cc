#include "engine/drives/drive_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/event_kinds.h"

namespace keyward::engine {
namespace {

// A drive stays open that long after a task, so that the next one need not open it again.
constexpr std::chrono::milliseconds kLinger{250};

Error cancelled() { return {ErrorCode::cancelled, "it was cancelled before it began"}; }

Error unresponsive(std::chrono::seconds limit) {
  return {ErrorCode::timeout,
          fmt::format("the drive has not answered for {} s, and the command that it was given "
                      "cannot be taken back; look at the drive, its slot and the kernel's log",
                      limit.count())};
}

}  // namespace

bool ControllerSlots::take(const std::string& controller, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    unsigned& taken = taken_[controller];
    if (taken < per_controller_) {
      ++taken;
      return true;
    }
    clock_.wait_until(lock, wake_, stop, MonotonicTime::max());
  }
  return false;
}

void ControllerSlots::give_back(const std::string& controller) {
  const std::lock_guard lock(mutex_);
  --taken_[controller];
  wake_.notify_all();
}

DriveWorker::DriveWorker(DriveLink::Parts parts, sed::DriveAddress address, ControllerSlots& slots)
    : parts_(parts),
      slots_(slots),
      link_(std::move(parts), address),
      address_(std::move(address)),
      row_(link_.row()),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

DriveWorker::~DriveWorker() {
  retire();
  thread_.join();
}

void DriveWorker::retire() {
  thread_.request_stop();
  const std::lock_guard lock(mutex_);
  fail_queue(cancelled());
}

std::shared_ptr<DriveTask> DriveWorker::submit(DriveTask::Work work, DriveTask::Terms terms) {
  auto task = std::make_shared<DriveTask>(DriveTask{std::move(work), std::move(terms)});
  const std::lock_guard lock(mutex_);
  if (thread_.get_stop_token().stop_requested())
    end(*task, std::unexpected(cancelled()));
  else if (unresponsive_)
    end(*task, std::unexpected(unresponsive(current_->terms.limit)));
  else
    queue_.push_back(task);
  wake_.notify_all();
  return task;
}

bool DriveWorker::wait(const DriveTask& task, MonotonicTime until) {
  Lock lock(mutex_);
  while (!task.ended) {
    const MonotonicTime now = parts_.clock.monotonic();
    const auto limit = due();
    if (limit && *limit <= now)
      give_up();
    else if (until <= now)
      return false;
    else
      parts_.clock.wait_until(lock, wake_, {}, std::min(until, limit.value_or(until)));
  }
  return true;
}

std::optional<MonotonicTime> DriveWorker::check_limit() {
  const std::lock_guard lock(mutex_);
  if (const auto limit = due(); limit && *limit <= parts_.clock.monotonic()) give_up();
  return due();
}

std::optional<MonotonicTime> DriveWorker::due() const {
  if (!current_ || unresponsive_ || !current_->begun) return std::nullopt;
  return *current_->begun + current_->terms.limit;
}

// The thread is left with the drive; nobody waits for either.
void DriveWorker::give_up() {
  const Error error = unresponsive(current_->terms.limit);
  unresponsive_ = true;
  release_slot();
  end(*current_, std::unexpected(error));
  fail_queue(error);
  row_.error = error.message;
  row_.access = api::DriveAccess::unknown;
  parts_.events.raise(kDriveUnresponsive, subject(), error.message);
}

void DriveWorker::fail_queue(const Error& error) {
  for (const auto& task : std::exchange(queue_, {})) end(*task, std::unexpected(error));
}

void DriveWorker::end(DriveTask& task, Result<void> outcome) {
  if (task.ended) return;
  task.ended = parts_.clock.monotonic();
  task.outcome = std::move(outcome);
  wake_.notify_all();
}

void DriveWorker::release_slot() {
  if (slot_) slots_.give_back(*std::exchange(slot_, std::nullopt));
}

std::string DriveWorker::subject() const { return key_.empty() ? address_.node : key_; }

void DriveWorker::set_address(sed::DriveAddress address) {
  const std::lock_guard lock(mutex_);
  address_ = std::move(address);
}

sed::DriveAddress DriveWorker::address() const {
  const std::lock_guard lock(mutex_);
  return address_;
}

api::DriveRow DriveWorker::row() const {
  const std::lock_guard lock(mutex_);
  return row_;
}

std::string DriveWorker::key() const {
  const std::lock_guard lock(mutex_);
  return key_;
}

// ---- The thread ----

void DriveWorker::run(std::stop_token stop) {
  Lock lock(mutex_);
  while (const auto task = next(lock, stop)) {
    const std::string controller = address_.controller;
    lock.unlock();
    const bool has_slot = slots_.take(controller, stop);
    lock.lock();
    if (has_slot) slot_ = controller;
    if (has_slot && !task->terms.stop.stop_requested())
      perform(lock, *task);
    else
      end(*task, std::unexpected(cancelled()));
    release_slot();
    current_.reset();
  }
  link_.detach();
  ended_ = true;
}

std::shared_ptr<DriveTask> DriveWorker::next(Lock& lock, std::stop_token stop) {
  const MonotonicTime idle = parts_.clock.monotonic() + kLinger;
  while (queue_.empty() && !stop.stop_requested()) {
    parts_.clock.wait_until(lock, wake_, stop, link_.is_attached() ? idle : MonotonicTime::max());
    if (!link_.is_attached() || parts_.clock.monotonic() < idle || !queue_.empty()) continue;
    lock.unlock();
    link_.release();
    lock.lock();
  }
  if (stop.stop_requested()) return nullptr;
  current_ = queue_.front();
  queue_.pop_front();
  return current_;
}

void DriveWorker::perform(Lock& lock, DriveTask& task) {
  task.begun = parts_.clock.monotonic();
  link_.set_address(address_);
  wake_.notify_all();  // Whoever waits knows the limit now.
  lock.unlock();
  Result<void> outcome = task.work(link_);
  lock.lock();
  if (std::exchange(unresponsive_, false)) parts_.events.clear(kDriveUnresponsive, subject());
  row_ = link_.row();
  key_ = link_.key();
  end(task, std::move(outcome));
}

}  // namespace keyward::engine
