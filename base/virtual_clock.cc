#include <algorithm>
#include <list>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace keyward {
namespace {

constexpr std::chrono::seconds kPatience{10};  // Of real time.
// Not zero, so that a test may look back a day.
constexpr MonotonicTime kMonotonicStart{std::chrono::hours{24}};

struct Waiter {
  MonotonicTime deadline;
  std::mutex* mutex;
  std::condition_variable_any* wake;
  std::thread::id thread;
  bool is_due = false;
};

}  // namespace

// Locks are taken in the order: the waiter's own, then `mutex`. advance() needs them the other way
// round and therefore only tries the waiter's.
struct VirtualClock::State {
  std::mutex advancing;  // One advance() at a time.
  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  MonotonicTime monotonic = kMonotonicStart;
  UtcTime utc_at_start;
  std::list<Waiter> waiters;       // In order of arrival.
  std::set<std::thread::id> owed;  // Woken by advance(), and not yet in their next wait.

  std::list<Waiter>::iterator next_due(MonotonicTime target);
  void wake_one(std::unique_lock<std::mutex>& lock, MonotonicTime target);
  void settle(std::unique_lock<std::mutex>& lock);
  void thread_runs_on(std::thread::id thread) {
    if (owed.erase(thread) > 0) changed.notify_all();
  }
};

namespace {

// Tells the clocks that a thread has used when it ends.
class ThreadBook final {
 public:
  void add(const std::shared_ptr<VirtualClock::State>& state) {
    std::erase_if(states_, [](const auto& known) { return known.expired(); });
    const auto is_same = [&](const auto& known) {
      return !known.owner_before(state) && !state.owner_before(known);
    };
    if (std::ranges::none_of(states_, is_same)) states_.push_back(state);
  }
  ~ThreadBook() {
    for (const auto& known : states_) {
      if (const auto state = known.lock()) {
        const std::lock_guard lock(state->mutex);
        state->thread_runs_on(std::this_thread::get_id());
      }
    }
  }

 private:
  std::vector<std::weak_ptr<VirtualClock::State>> states_;
};

thread_local ThreadBook thread_book;

}  // namespace

// The earliest deadline up to `target`; among equals the one that came first.
std::list<Waiter>::iterator VirtualClock::State::next_due(MonotonicTime target) {
  auto best = waiters.end();
  for (auto waiter = waiters.begin(); waiter != waiters.end(); ++waiter) {
    if (waiter->is_due || waiter->deadline > target) continue;
    if (best == waiters.end() || waiter->deadline < best->deadline) best = waiter;
  }
  return best;
}

// A waiter holds its own mutex from the moment it is listed until it sleeps: who gets that mutex
// knows that a notification will not be lost. It cannot leave the list while `lock` is held.
void VirtualClock::State::wake_one(std::unique_lock<std::mutex>& lock, MonotonicTime target) {
  while (true) {
    const auto due = next_due(target);
    if (due == waiters.end()) return;
    std::unique_lock own(*due->mutex, std::try_to_lock);
    if (own.owns_lock()) {
      due->is_due = true;
      for (const Waiter& waiter : waiters)
        if (waiter.wake == due->wake) owed.insert(waiter.thread);  // All of them look up.
      due->wake->notify_all();
      return;
    }
    lock.unlock();
    std::this_thread::yield();
    lock.lock();
  }
}

void VirtualClock::State::settle(std::unique_lock<std::mutex>& lock) {
  if (!changed.wait_for(lock, kPatience, [&] { return owed.empty(); })) owed.clear();
}

VirtualClock::VirtualClock(UtcTime start) : state_(std::make_shared<State>()) {
  state_->utc_at_start = start;
}

VirtualClock::~VirtualClock() = default;

UtcTime VirtualClock::now() const {
  const std::lock_guard lock(state_->mutex);
  return state_->utc_at_start +
         std::chrono::floor<std::chrono::milliseconds>(state_->monotonic - kMonotonicStart);
}

MonotonicTime VirtualClock::monotonic() const {
  const std::lock_guard lock(state_->mutex);
  return state_->monotonic;
}

void VirtualClock::wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                              std::stop_token stop, MonotonicTime deadline) {
  thread_book.add(state_);
  std::list<Waiter> mine{{deadline, lock.mutex(), &wake, std::this_thread::get_id()}};
  const auto waiter = mine.begin();
  {
    const std::lock_guard own(state_->mutex);
    if (deadline <= state_->monotonic) return;
    state_->waiters.splice(state_->waiters.end(), mine);
    state_->thread_runs_on(waiter->thread);
    state_->changed.notify_all();
  }
  bool woken = false;
  wake.wait(lock, std::move(stop), [&] { return std::exchange(woken, true); });
  const std::lock_guard own(state_->mutex);
  mine.splice(mine.end(), state_->waiters, waiter);
}

void VirtualClock::advance(std::chrono::nanoseconds step) {
  const std::lock_guard one_at_a_time(state_->advancing);
  std::unique_lock lock(state_->mutex);
  state_->thread_runs_on(std::this_thread::get_id());
  const MonotonicTime target = state_->monotonic + step;
  while (true) {
    state_->settle(lock);
    const auto due = state_->next_due(target);
    if (due == state_->waiters.end()) break;
    state_->monotonic = std::max(state_->monotonic, due->deadline);
    state_->wake_one(lock, state_->monotonic);
  }
  state_->monotonic = target;
}

void VirtualClock::set_utc(UtcTime now) {
  const std::lock_guard lock(state_->mutex);
  state_->utc_at_start =
      now - std::chrono::floor<std::chrono::milliseconds>(state_->monotonic - kMonotonicStart);
}

std::size_t VirtualClock::waiters() const {
  const std::lock_guard lock(state_->mutex);
  return state_->waiters.size();
}

bool VirtualClock::await_waiters(std::size_t count) const {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, kPatience, [&] { return state_->waiters.size() >= count; });
}

}  // namespace keyward
