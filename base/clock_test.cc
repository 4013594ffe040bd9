#include "base/clock.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"

namespace keyward {
namespace {

using namespace std::chrono_literals;

const UtcTime kStart = from_iso8601("2026-01-01T00:00:00Z").value();

// A service as the product has them: a thread that does something every period until it is stopped.
class Ticker {
 public:
  Ticker(Clock& clock, std::chrono::nanoseconds period, std::function<void()> tick)
      : clock_(clock),
        period_(period),
        tick_(std::move(tick)),
        thread_([this](std::stop_token stop) { run(stop); }) {}

 private:
  void run(std::stop_token stop) {
    MonotonicTime due = clock_.monotonic() + period_;
    while (clock_.sleep_until(stop, due)) {
      tick_();
      due += period_;
    }
  }
  Clock& clock_;
  std::chrono::nanoseconds period_;
  std::function<void()> tick_;
  std::jthread thread_;
};

TEST(RealClockTest, TimeGoesOnAndADeadlineInThePastReturnsAtOnce) {
  const std::unique_ptr<Clock> clock = real_clock();
  const MonotonicTime before = clock->monotonic();
  EXPECT_TRUE(clock->sleep_until({}, before - 1h));
  EXPECT_TRUE(clock->sleep_until({}, before + 5ms));
  EXPECT_GE(clock->monotonic(), before + 5ms);
  EXPECT_GT(clock->now(), kStart);
}

TEST(RealClockTest, StopEndsASleepOfAnHour) {
  const std::unique_ptr<Clock> clock = real_clock();
  std::atomic<bool> reached = true;
  std::jthread sleeper(
      [&](std::stop_token stop) { reached = clock->sleep_until(stop, clock->monotonic() + 1h); });
  sleeper.request_stop();
  sleeper.join();
  EXPECT_FALSE(reached);
}

TEST(RealClockTest, ANotificationWakesAWaiter) {
  const std::unique_ptr<Clock> clock = real_clock();
  std::mutex mutex;
  std::condition_variable_any wake;
  bool ready = false;
  std::jthread notifier([&] {
    const std::lock_guard lock(mutex);
    ready = true;
    wake.notify_all();
  });
  std::unique_lock lock(mutex);
  const MonotonicTime deadline = clock->monotonic() + 1h;
  while (!ready) clock->wait_until(lock, wake, {}, deadline);
  EXPECT_TRUE(lock.owns_lock());
}

TEST(VirtualClockTest, TimeMovesOnlyWhenItIsMoved) {
  VirtualClock clock(kStart);
  const MonotonicTime before = clock.monotonic();
  EXPECT_EQ(clock.now(), kStart);
  clock.advance(1h);
  EXPECT_EQ(clock.now(), kStart + 1h);
  EXPECT_EQ(clock.monotonic(), before + 1h);
  clock.set_utc(kStart - 24h);
  EXPECT_EQ(clock.now(), kStart - 24h);
  EXPECT_EQ(clock.monotonic(), before + 1h);
  clock.advance(1h);
  EXPECT_EQ(clock.now(), kStart - 23h);
}

TEST(VirtualClockTest, WaitersRunInTheOrderOfTheirDeadlinesAndAdvanceWaitsForThem) {
  VirtualClock clock(kStart);
  std::string order;  // No lock: advance() lets one run at a time.
  const Ticker slow(clock, 3min, [&] { order += 's'; });
  const Ticker fast(clock, 2min, [&] { order += 'f'; });
  ASSERT_TRUE(clock.await_waiters(2));
  clock.advance(5min);
  EXPECT_EQ(order, "fsf");
  clock.advance(59s);
  EXPECT_EQ(order, "fsf");
  clock.advance(4min);
  EXPECT_EQ(order.size(), 3u + 4u);
}

TEST(VirtualClockTest, AWaiterSeesItsOwnDeadlineAndNotTheEndOfTheStep) {
  VirtualClock clock(kStart);
  std::vector<UtcTime> seen;
  const Ticker ticker(clock, 1h, [&] { seen.push_back(clock.now()); });
  ASSERT_TRUE(clock.await_waiters(1));
  clock.advance(3h);
  ASSERT_EQ(seen.size(), 3u);
  for (std::size_t n = 0; n < seen.size(); ++n) EXPECT_EQ(seen[n], kStart + (n + 1) * 1h);
}

TEST(VirtualClockTest, TenThousandDaysTakeSeconds) {
  VirtualClock clock(kStart);
  int days = 0;
  const Ticker ticker(clock, 24h, [&] { ++days; });
  ASSERT_TRUE(clock.await_waiters(1));
  clock.advance(10'000 * 24h);
  EXPECT_EQ(days, 10'000);
}

TEST(VirtualClockTest, AWaiterThatEndsDoesNotHoldAdvanceUp) {
  VirtualClock clock(kStart);
  const auto started = std::chrono::steady_clock::now();
  std::jthread once([&] { clock.sleep_until({}, clock.monotonic() + 1min); });
  ASSERT_TRUE(clock.await_waiters(1));
  clock.advance(1h);
  EXPECT_EQ(clock.waiters(), 0u);
  EXPECT_LT(std::chrono::steady_clock::now() - started, 5s);
}

TEST(VirtualClockTest, StopEndsAWait) {
  VirtualClock clock(kStart);
  std::atomic<bool> reached = true;
  std::jthread sleeper(
      [&](std::stop_token stop) { reached = clock.sleep_until(stop, MonotonicTime::max()); });
  ASSERT_TRUE(clock.await_waiters(1));
  sleeper.request_stop();
  sleeper.join();
  EXPECT_FALSE(reached);
  EXPECT_EQ(clock.waiters(), 0u);
  clock.advance(1h);
}

TEST(VirtualClockTest, AWaiterIsWokenByItsOwnersNotificationToo) {
  VirtualClock clock(kStart);
  std::mutex mutex;
  std::condition_variable_any wake;
  bool ready = false;
  std::jthread waiter([&] {
    std::unique_lock lock(mutex);
    while (!ready) clock.wait_until(lock, wake, {}, MonotonicTime::max());
  });
  ASSERT_TRUE(clock.await_waiters(1));
  {
    const std::lock_guard lock(mutex);
    ready = true;
  }
  wake.notify_all();
  waiter.join();
  EXPECT_EQ(clock.waiters(), 0u);
}

TEST(VirtualClockTest, WaitersThatShareAConditionAllFinishTheirTurn) {
  VirtualClock clock(kStart);
  std::mutex mutex;
  std::condition_variable_any wake;
  int turns = 0;
  const auto wait_for = [&](std::chrono::nanoseconds span, std::stop_token stop) {
    std::unique_lock lock(mutex);
    MonotonicTime due = clock.monotonic() + span;
    while (!stop.stop_requested()) {
      if (clock.monotonic() >= due) {
        ++turns;
        due += span;
      }
      clock.wait_until(lock, wake, stop, due);
    }
  };
  std::jthread one([&](std::stop_token stop) { wait_for(1min, stop); });
  std::jthread two([&](std::stop_token stop) { wait_for(1min, stop); });
  std::jthread three([&](std::stop_token stop) { wait_for(7s, stop); });
  ASSERT_TRUE(clock.await_waiters(3));
  for (int minute = 0; minute < 20; ++minute) clock.advance(1min);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(turns, 20 + 20 + 20 * 60 / 7);
}

TEST(VirtualClockTest, ThreadsComeAndGoWhileTimeMoves) {
  VirtualClock clock(kStart);
  std::atomic<int> slept = 0;
  std::jthread mover([&](std::stop_token stop) {
    while (!stop.stop_requested()) clock.advance(1s);
  });
  {
    std::vector<std::jthread> sleepers;
    for (int thread = 0; thread < 8; ++thread)
      sleepers.emplace_back([&] {
        for (int round = 0; round < 50; ++round)
          slept += clock.sleep_until({}, clock.monotonic() + 3s) ? 1 : 0;
      });
  }
  EXPECT_EQ(slept, 8 * 50);
}

TEST(VirtualClockTest, AClockMayDieBeforeTheThreadsThatUsedIt) {
  std::mutex mutex;
  std::unique_lock hold(mutex);
  auto clock = std::make_unique<VirtualClock>(kStart);
  std::atomic<bool> slept = false;
  std::jthread thread([&] {
    clock->sleep_until({}, clock->monotonic() + 1s);
    slept = true;
    slept.notify_all();
    const std::lock_guard until_the_clock_is_gone(mutex);
  });
  ASSERT_TRUE(clock->await_waiters(1));
  std::jthread mover([&] { clock->advance(2s); });
  slept.wait(false);
  // The sleeper counts as still on its way; a second one shows that only it is waited for.
  hold.unlock();
  thread.join();
  mover.join();
  clock.reset();
}

}  // namespace
}  // namespace keyward
