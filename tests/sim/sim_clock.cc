#include "tests/sim/sim_clock.h"

#include <algorithm>
#include <utility>

namespace keyward::sim {

SimClock::SimClock(UtcTime start, std::uint64_t seed)
    : utc_offset_(start.time_since_epoch() -
                  std::chrono::floor<std::chrono::milliseconds>(monotonic_.time_since_epoch())),
      random_(seed) {}

UtcTime SimClock::now() const {
  const std::lock_guard lock(mutex_);
  return UtcTime{std::chrono::floor<std::chrono::milliseconds>(monotonic_.time_since_epoch()) +
                 utc_offset_};
}

MonotonicTime SimClock::monotonic() const {
  const std::lock_guard lock(mutex_);
  return monotonic_;
}

void SimClock::shift_utc(std::chrono::milliseconds step) {
  const std::lock_guard lock(mutex_);
  utc_offset_ += step;
}

// The mutex is held.
SimClock::Thread& SimClock::enlist() {
  const auto id = std::this_thread::get_id();
  const auto known =
      std::ranges::find_if(threads_, [&](const Thread& one) { return one.id == id; });
  if (known != threads_.end()) return *known;
  Thread& thread = threads_.emplace_back();
  thread.id = id;
  return thread;
}

void SimClock::leave(std::thread::id id) {
  bool had_turn = false;
  {
    const std::lock_guard lock(mutex_);
    had_turn = running_ != nullptr && running_->id == id;
    if (had_turn) running_ = nullptr;
    std::erase_if(threads_, [&](const Thread& one) { return one.id == id; });
    changed_.notify_all();
  }
  if (had_turn) driver_.give();
}

// Gives the turn back and takes the next one.
void SimClock::stand(Thread& thread, MonotonicTime deadline) {
  bool had_turn = false;
  {
    const std::lock_guard own(mutex_);
    thread.deadline = deadline;
    thread.waits = true;
    had_turn = running_ == &thread;
    if (had_turn) running_ = nullptr;
    if (!had_turn) changed_.notify_all();  // It is new.
  }
  if (had_turn) driver_.give();
  thread.turn.take();
  const std::lock_guard own(mutex_);
  thread.waits = false;
}

void SimClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any&,
                          std::stop_token stop, MonotonicTime deadline) {
  if (stop.stop_requested()) return;
  Thread* me = nullptr;
  {
    const std::lock_guard own(mutex_);
    if (deadline <= monotonic_) return;
    me = &enlist();
  }
  lock.unlock();
  {
    const std::stop_callback on_stop(stop, [&] { me->turn.give(); });
    stand(*me, deadline);
  }
  if (stop.stop_requested()) leave(me->id);
  lock.lock();
}

std::jthread SimClock::spawn(std::function<void(std::stop_token)> body) {
  std::size_t before = 0;
  {
    const std::lock_guard own(mutex_);
    before = threads_.size();
  }
  std::jthread thread([this, body = std::move(body)](const std::stop_token& stop) {
    Thread* me = nullptr;
    {
      const std::lock_guard own(mutex_);
      me = &enlist();
    }
    {
      const std::stop_callback on_stop(stop, [&] { me->turn.give(); });
      stand(*me, MonotonicTime::min());
    }
    if (!stop.stop_requested()) body(stop);
    leave(std::this_thread::get_id());
  });
  await_threads(before + 1);
  return thread;
}

void SimClock::await_threads(std::size_t count) {
  std::unique_lock own(mutex_);
  changed_.wait(own, [&] {
    return std::ranges::count_if(threads_, &Thread::waits) == static_cast<std::ptrdiff_t>(count);
  });
}

bool SimClock::resume(Thread& thread) {
  const std::uint64_t before = activity();
  std::size_t count = 0;
  {
    const std::lock_guard own(mutex_);
    running_ = &thread;
    count = threads_.size();
  }
  thread.turn.give();
  driver_.take();
  const std::lock_guard own(mutex_);
  return before != activity() || count != threads_.size();
}

std::vector<SimClock::Thread*> SimClock::waiting() const {
  std::vector<Thread*> all;
  for (const Thread& thread : threads_) all.push_back(const_cast<Thread*>(&thread));
  return all;
}

void SimClock::settle() {
  for (bool active = true; active && !is_interrupted();) {
    active = false;
    std::vector<Thread*> round = waiting();
    std::ranges::shuffle(round, random_);
    for (Thread* thread : round) {
      if (is_interrupted()) return;
      active = resume(*thread) || active;
    }
  }
}

// The earliest deadline up to `target`; among equals a random one.
SimClock::Thread* SimClock::next_due(MonotonicTime target) {
  MonotonicTime earliest = target;
  for (const Thread& thread : threads_) earliest = std::min(earliest, thread.deadline);
  std::vector<Thread*> due;
  for (Thread& thread : threads_)
    if (thread.deadline <= earliest) due.push_back(&thread);
  return due.empty() ? nullptr : due[random_() % due.size()];
}

void SimClock::advance(std::chrono::nanoseconds step) {
  settle();
  const MonotonicTime target = monotonic() + step;
  while (!is_interrupted()) {
    Thread* due = next_due(target);
    if (due == nullptr) break;
    {
      const std::lock_guard own(mutex_);
      monotonic_ = std::max(monotonic_, due->deadline);
    }
    const std::uint64_t before = activity();
    resume(*due);
    if (before != activity()) settle();
  }
  const std::lock_guard own(mutex_);
  if (!is_interrupted()) monotonic_ = std::max(monotonic_, target);
}

void StoreClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                            std::stop_token stop, MonotonicTime) {
  real_->wait_until(lock, wake, std::move(stop), real_->monotonic() + std::chrono::milliseconds{1});
}

}  // namespace keyward::sim
