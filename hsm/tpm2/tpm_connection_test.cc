#include "hsm/tpm2/tpm_connection.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace keyward::hsm::tpm2 {
namespace {

constexpr TSS2_RC kNvRate = 0x920;
constexpr TSS2_RC kWrongPin = 0x98e;

// Runs `send` on another thread while this one moves the time.
Result<void> run_while_time_passes(VirtualClock& clock, const std::function<TSS2_RC()>& send) {
  std::atomic<bool> done{false};
  Result<void> outcome;
  std::jthread worker([&] {
    outcome = send_until_accepted("Esys_Test", send, clock, {});
    done = true;
  });
  while (!done) clock.advance(std::chrono::milliseconds(5));
  worker.join();
  return outcome;
}

TEST(TpmConnectionTest, CommandIsSentAgainWhileTheTpmSparesItsNvMemory) {
  VirtualClock clock{UtcTime{}};
  int sent = 0;
  EXPECT_TRUE(run_while_time_passes(clock, [&] { return ++sent < 4 ? kNvRate : TSS2_RC_SUCCESS; }));
  EXPECT_EQ(sent, 4);
}

TEST(TpmConnectionTest, TpmThatStaysBusyIsGivenUpAfterFiveSeconds) {
  VirtualClock clock{UtcTime{}};
  int sent = 0;
  const Result<void> outcome = run_while_time_passes(clock, [&] {
    ++sent;
    return kNvRate;
  });
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().code, ErrorCode::busy);
  EXPECT_EQ(outcome.error().native, kNvRate);
  EXPECT_GT(sent, 5);
  EXPECT_LT(sent, 30);
}

TEST(TpmConnectionTest, WrongPinIsNeverSentAgain) {
  VirtualClock clock{UtcTime{}};
  int sent = 0;
  const Result<void> outcome = send_until_accepted("Esys_Test",
                                                   [&] {
                                                     ++sent;
                                                     return kWrongPin;
                                                   },
                                                   clock, {});
  EXPECT_EQ(outcome.error().code, ErrorCode::auth_failed);
  EXPECT_EQ(sent, 1);
}

TEST(TpmConnectionTest, NothingIsSentOnceTheCallerHasGone) {
  VirtualClock clock{UtcTime{}};
  std::stop_source stop;
  stop.request_stop();
  int sent = 0;
  const Result<void> outcome = send_until_accepted(
      "Esys_Test",
      [&] {
        ++sent;
        return TSS2_RC_SUCCESS;
      },
      clock, stop.get_token());
  EXPECT_EQ(outcome.error().code, ErrorCode::cancelled);
  EXPECT_EQ(sent, 0);
}

TEST(TpmConnectionTest, UnknownTctiIsUnavailable) {
  const auto clock = real_clock();
  const auto opened = TpmConnection::open("swtpm:path=/nowhere/socket", true, *clock, {});
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::unavailable);
  EXPECT_NE(opened.error().message.find("swtpm:path=/nowhere/socket"), std::string::npos);
}

}  // namespace
}  // namespace keyward::hsm::tpm2
