#include "engine/rate_limiter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/rekey_meter.h"

namespace keyward::engine {
namespace {

using namespace std::chrono_literals;

TEST(RateLimiter, LetsEverythingThroughWithoutALimit) {
  VirtualClock clock(UtcTime{});
  RateLimiter limiter(clock);
  EXPECT_EQ(limiter.take(10'000, {}), 10'000u);
}

TEST(RateLimiter, LetsSoManyThroughInASecondAndNoMore) {
  VirtualClock clock(UtcTime{});
  RateLimiter limiter(clock);
  limiter.set(1000);
  std::atomic<std::size_t> taken = 0;
  std::jthread worker([&](std::stop_token stop) {
    while (const std::size_t got = limiter.take(10'000, stop)) taken += got;
  });
  ASSERT_TRUE(clock.await_waiters(1));
  EXPECT_EQ(taken, 0u);
  for (int i = 0; i < 20; ++i) clock.advance(100ms);
  ASSERT_TRUE(clock.await_waiters(1));
  EXPECT_GE(taken, 1900u);
  EXPECT_LE(taken, 2000u);
}

TEST(RateLimiter, WhatIsGivenBackIsThereAtOnce) {
  VirtualClock clock(UtcTime{});
  RateLimiter limiter(clock);
  limiter.set(100);
  limiter.give_back(1000);  // No more than it holds.
  EXPECT_EQ(limiter.take(1000, {}), 10u);
  limiter.give_back(4);
  EXPECT_EQ(limiter.take(4, {}), 4u);
}

TEST(RateLimiter, AStopEndsTheWait) {
  VirtualClock clock(UtcTime{});
  RateLimiter limiter(clock);
  limiter.set(1);
  std::size_t got = 1;
  std::jthread worker([&](std::stop_token stop) { got = limiter.take(1, stop); });
  ASSERT_TRUE(clock.await_waiters(1));
  worker.request_stop();
  worker.join();
  EXPECT_EQ(got, 0u);
}

TEST(RateLimiter, AnotherLimitCountsForThoseThatWait) {
  VirtualClock clock(UtcTime{});
  RateLimiter limiter(clock);
  limiter.set(1);
  std::size_t got = 0;
  std::jthread worker([&](std::stop_token stop) { got = limiter.take(7, stop); });
  ASSERT_TRUE(clock.await_waiters(1));
  limiter.set(std::nullopt);
  worker.join();
  EXPECT_EQ(got, 7u);
}

TEST(RekeyMeter, CountsTheLastTenSecondsOnly) {
  RekeyMeter meter;
  const MonotonicTime start{1h};
  EXPECT_EQ(meter.per_second(start), 0);
  for (int i = 0; i < 30; ++i) meter.add(1000, start + i * 100ms);
  EXPECT_NEAR(meter.per_second(start + 3s), 10'000, 100);
  EXPECT_EQ(meter.per_second(start + 20s), 0);
  meter.add(50, start + 60s);
  EXPECT_NEAR(meter.per_second(start + 61s), 50, 1);
  meter.reset();
  EXPECT_EQ(meter.per_second(start + 61s), 0);
}

}  // namespace
}  // namespace keyward::engine
