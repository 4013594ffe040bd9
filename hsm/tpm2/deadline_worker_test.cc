#include "hsm/tpm2/deadline_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

namespace keyward::hsm::tpm2 {
namespace {

using testing::HasSubstr;
constexpr std::chrono::seconds kLimit{1};

// A device that stops and goes on when a test says so. Shared with jobs, as a job's things must be.
struct Device {
  std::promise<void> go_on;
  std::shared_future<void> going = go_on.get_future().share();
  std::atomic<int> effects{0};
  std::atomic<bool> stop_seen{false};
};

Result<int> wait_for_device(DeadlineWorker& worker, const std::shared_ptr<Device>& device) {
  return worker.run<int>("wait", [device](const std::stop_token& stop) -> Result<int> {
    device->going.wait();
    device->stop_seen = stop.stop_requested();
    return ++device->effects;
  });
}

TEST(DeadlineWorkerTest, AnswersAndErrorsComeBack) {
  DeadlineWorker worker("TPM", std::chrono::seconds(60));
  EXPECT_EQ(
      worker.run<int>("good", [](const std::stop_token&) -> Result<int> { return 7; }).value(), 7);
  const Result<int> bad = worker.run<int>("bad", [](const std::stop_token&) -> Result<int> {
    return fail(ErrorCode::locked_out, "no more tries");
  });
  EXPECT_EQ(bad.error().code, ErrorCode::locked_out);
  EXPECT_TRUE(worker.run<void>("void", [](const std::stop_token&) -> Result<void> { return {}; }));
}

TEST(DeadlineWorkerTest, JobsRunOneAtATime) {
  DeadlineWorker worker("TPM", std::chrono::seconds(60));
  auto inside = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const Result<bool> alone =
            worker.run<bool>("job", [inside](const std::stop_token&) -> Result<bool> {
              const bool first = inside->fetch_add(1) == 0;
              std::this_thread::yield();
              inside->fetch_sub(1);
              return first;
            });
        if (alone && *alone) ++good;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 400);
}

TEST(DeadlineWorkerTest, StuckJobTimesOutAndIsToldToStop) {
  DeadlineWorker worker("TPM", kLimit);
  const auto device = std::make_shared<Device>();
  const auto begin = std::chrono::steady_clock::now();
  const Result<int> stuck = wait_for_device(worker, device);
  const auto took = std::chrono::steady_clock::now() - begin;
  ASSERT_FALSE(stuck.has_value());
  EXPECT_EQ(stuck.error().code, ErrorCode::timeout);
  EXPECT_THAT(stuck.error().message, HasSubstr("look before trying again"));
  EXPECT_GE(took, kLimit);
  EXPECT_LT(took, kLimit * 10);
  EXPECT_TRUE(worker.is_held_up());
  device->go_on.set_value();
  EXPECT_EQ(
      worker.run<int>("after", [](const std::stop_token&) -> Result<int> { return 1; }).value(), 1);
  EXPECT_TRUE(device->stop_seen);
  EXPECT_FALSE(worker.is_held_up());
}

TEST(DeadlineWorkerTest, JobThatTimedOutInTheQueueNeverRuns) {
  DeadlineWorker worker("TPM", kLimit);
  const auto device = std::make_shared<Device>();
  ASSERT_FALSE(wait_for_device(worker, device).has_value());
  auto ran = std::make_shared<std::atomic<bool>>(false);
  const Result<void> queued =
      worker.run<void>("queued", [ran](const std::stop_token&) -> Result<void> {
        *ran = true;
        return {};
      });
  ASSERT_FALSE(queued.has_value());
  EXPECT_EQ(queued.error().code, ErrorCode::timeout);
  EXPECT_THAT(queued.error().message, HasSubstr("nothing was sent"));
  device->go_on.set_value();
  ASSERT_TRUE(worker.run<void>("after", [](const std::stop_token&) -> Result<void> { return {}; }));
  EXPECT_FALSE(*ran);
  EXPECT_EQ(device->effects, 1);
}

TEST(DeadlineWorkerTest, ClosingLeavesAStuckJobBehindAndItEndsByItself) {
  const auto device = std::make_shared<Device>();
  const std::weak_ptr<Device> owned = device;
  {
    DeadlineWorker worker("TPM", kLimit);
    ASSERT_FALSE(wait_for_device(worker, device).has_value());
  }  // Does not hang.
  EXPECT_EQ(device->effects, 0);
  device->go_on.set_value();
  while (device->effects == 0) std::this_thread::yield();
}

}  // namespace
}  // namespace keyward::hsm::tpm2
