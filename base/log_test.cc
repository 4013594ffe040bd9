#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace keyward {
namespace {

TEST(LogTest, ALineGoesToStderrWithItsPriority) {
  testing::internal::CaptureStderr();
  log(LogLevel::warning, "custodian {} is unhealthy: {}", "pkcs11:hsm1", 7);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "<4>custodian pkcs11:hsm1 is unhealthy: 7\n");
}

TEST(LogTest, AForgedLineStaysOneLine) {
  testing::internal::CaptureStderr();
  log(LogLevel::error, "entry {}", "x\n<3>all keys destroyed\r\x1b[2J \"quoted\"");
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "<3>entry x\\x0a<3>all keys destroyed\\x0d\\x1b[2J \"quoted\"\n");
}

TEST(LogTest, LinesAboveTheLevelAreDropped) {
  testing::internal::CaptureStderr();
  log(LogLevel::debug, "dropped");
  set_log_level(LogLevel::error);
  log(LogLevel::warning, "dropped");
  set_log_level(LogLevel::debug);
  log(LogLevel::debug, "kept");
  set_log_level(LogLevel::info);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "<7>kept\n");
}

TEST(LogTest, ASinkTakesTheLinesUntilItIsTakenAway) {
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view line) { lines.emplace_back(line); });
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread)
      threads.emplace_back([] {
        for (int round = 0; round < 100; ++round) log(LogLevel::info, "line {}", round);
      });
  }
  set_log_sink(nullptr);
  testing::internal::CaptureStderr();
  log(LogLevel::info, "to stderr");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "<6>to stderr\n");
  EXPECT_EQ(lines.size(), 400u);
}

}  // namespace
}  // namespace keyward
