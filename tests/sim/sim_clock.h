// SimClock runs the threads of a process one at a time, and decides alone which is next: so a run
// with several threads repeats to the last step from its seed.
//
//   SimClock clock(start, seed);
//   auto events = std::make_unique<EventLog>(control, clock);   // starts a thread
//   clock.await_threads(1);
//   std::jthread worker = clock.spawn([&](std::stop_token stop) { service.run(stop); });
//   clock.advance(15min);              // every thread runs as far as it gets, in virtual time
//
// A thread runs from the return of one wait_until() to its next call of it, while all others stand
// still; time stands still meanwhile. Who is notified cannot be seen from here, so whenever a
// thread did something, all the others look up once more, in an order drawn from the seed, until
// none of them has anything to do. (VirtualClock lets notified threads run beside its caller: right
// for a test of one thing, not for one that must repeat exactly.)
//
// advance() and the product's functions are called by one thread, the driver, which never waits
// itself. A thread whose stop was requested runs freely: join it at once.
#pragma once

#include <semaphore.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <random>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace keyward::sim {

// A turn that one thread gives and another takes. (The standard's semaphores spin first, which on
// one processor keeps the giver from going on.)
class Turn final {
 public:
  Turn() { ::sem_init(&semaphore_, 0, 0); }
  ~Turn() { ::sem_destroy(&semaphore_); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  void give() { ::sem_post(&semaphore_); }
  void take() {
    while (::sem_wait(&semaphore_) != 0) {  // Interrupted by a signal.
    }
  }

 private:
  sem_t semaphore_{};
};

class SimClock final : public Clock {
 public:
  SimClock(UtcTime start, std::uint64_t seed);

  UtcTime now() const override;
  MonotonicTime monotonic() const override;
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                  std::stop_token stop, MonotonicTime deadline) override;

  // Moves UTC alone. The offset is kept as time goes on.
  void shift_utc(std::chrono::milliseconds step);

  // Somebody did what another thread may have to take notice of.
  void note_activity() { ++activity_; }
  // A count of such acts that somebody keeps anyway.
  void count_activity_of(std::function<std::uint64_t()> count) { counted_ = std::move(count); }
  // Checked between two threads' turns: when true, advance() and settle() return at once, with what
  // is due left undone.
  void set_interrupt(std::function<bool()> interrupt) { interrupt_ = std::move(interrupt); }

  // Blocks until `count` threads stand in wait_until().
  void await_threads(std::size_t count);
  // A thread that begins with its first turn.
  std::jthread spawn(std::function<void(std::stop_token)> body);

  void advance(std::chrono::nanoseconds step);
  // Until no thread has anything to do now.
  void settle();

 private:
  struct Thread {
    std::thread::id id;
    Turn turn;
    MonotonicTime deadline{};
    bool waits = false;
  };

  Thread& enlist();
  void stand(Thread& thread, MonotonicTime deadline);
  void leave(std::thread::id id);
  // One turn of the thread. True when it did something, or ended.
  bool resume(Thread& thread);
  Thread* next_due(MonotonicTime target);
  std::vector<Thread*> waiting() const;
  std::uint64_t activity() const { return activity_ + (counted_ ? counted_() : 0); }
  bool is_interrupted() const { return interrupt_ && interrupt_(); }

  mutable std::mutex mutex_;
  std::condition_variable changed_;  // For await_threads().
  Turn driver_;
  MonotonicTime monotonic_{std::chrono::hours{24}};
  std::chrono::milliseconds utc_offset_{};
  std::list<Thread> threads_;  // In order of arrival.
  Thread* running_ = nullptr;
  std::uint64_t activity_ = 0;
  std::function<std::uint64_t()> counted_;
  std::mt19937_64 random_;
  std::function<bool()> interrupt_;
};

// The store's clock: the same time, but its waits are for its own threads, on which the caller
// blocks: they take no turn. No more than a millisecond of real time each.
class StoreClock final : public Clock {
 public:
  explicit StoreClock(const SimClock& time) : time_(time) {}
  UtcTime now() const override { return time_.now(); }
  MonotonicTime monotonic() const override { return time_.monotonic(); }
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                  std::stop_token stop, MonotonicTime deadline) override;

 private:
  const SimClock& time_;
  std::unique_ptr<Clock> real_ = real_clock();
};

}  // namespace keyward::sim
