// Every call that a rekey makes to a custodian or a store fails once, before and after its effect,
// as a passing fault and as the end of the process; and afterwards every promise holds.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <string>

#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using ::testing::IsEmpty;

bool is_crash(FaultMoment moment) {
  return moment == FaultMoment::crash_before || moment == FaultMoment::crash_after;
}

// What it costs to start, so that the faults fall into the work.
std::size_t calls_to_start(EngineRig& rig) {
  FaultPlan none(std::numeric_limits<std::size_t>::max(), FaultMoment::before_effect,
                 {ErrorCode::io, "never"});
  rig.restart(&none);
  const std::size_t calls = none.calls();
  rig.restart();
  return calls;
}

// Works on until it is done, or until the process has ended. True when it is done.
bool work_on(EngineRig& rig, const FaultPlan* plan, bool with_cancel) {
  for (int i = 0; i < 200; ++i) {
    if (plan != nullptr && plan->has_fired()) return false;
    static_cast<void>(rig.put("written meanwhile", fmt::format("value {}", i)));
    if (with_cancel && i == 2) static_cast<void>(RekeyJob(rig.parts()).cancel(EngineRig::caller()));
    const auto outcome = rig.step();
    if (outcome && *outcome == RekeyJob::Outcome::done) return true;
  }
  ADD_FAILURE() << "the rekey does not end";
  return true;
}

void fail_every_call(FaultMoment moment, bool with_cancel) {
  EngineRig rig;
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(rig.put(fmt::format("entry {}", i), fmt::format("secret {}", i)));
  const std::size_t before = calls_to_start(rig);
  for (std::size_t n = 1; n < 1000; ++n) {
    FaultPlan plan(before + n, moment, {ErrorCode::io, "planned"});
    rig.restart(&plan);
    const bool begun = rig.begin().has_value();
    work_on(rig, is_crash(moment) ? &plan : nullptr, with_cancel);
    const bool fired = plan.has_fired();
    rig.restart();
    if (!rig.table().rekey && !begun && fired) {
      ASSERT_TRUE(rig.begin());
    }
    const auto finished = rig.finish();
    ASSERT_TRUE(finished) << "call " << n << ": " << finished.error().message;
    ASSERT_THAT(rig.defects(), IsEmpty()) << "call " << n;
    if (!fired) {
      ASSERT_GT(n, 30u) << "too few calls were made to fail";
      return;
    }
  }
}

std::uintmax_t wal_bytes(EngineRig& rig) {
  for (const auto& file : std::filesystem::recursive_directory_iterator(rig.state()))
    if (file.path().filename() == rig.domain().text() + ".db-wal") return file.file_size();
  ADD_FAILURE() << "the keystore has no WAL";
  return 0;
}

// The process ends after every call of the destroy phase. Where that call was the first
// destruction, nothing of the old key is left in the WAL, so its ciphertext dies with it.
TEST(RekeyFaultsTest, TheWalIsEmptyWhenTheFirstCustodianDestroys) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(store::RekeyPhase::destroy));
  const std::size_t before = calls_to_start(rig);
  const std::size_t objects = rig.hardware("fake:a").object_count();
  for (std::size_t n = 1; n < 100; ++n) {
    FaultPlan plan(before + n, FaultMoment::crash_after, {ErrorCode::io, "planned"});
    rig.restart(&plan);
    static_cast<void>(rig.put("entry", "written while the old key waits for its end"));
    static_cast<void>(rig.step());
    const std::uintmax_t left = wal_bytes(rig);
    if (rig.hardware("fake:a").object_count() == objects) continue;
    rig.restart();
    ASSERT_EQ(rig.table().find(rig.table().rekey->from)->holders.size(), 2u) << "call " << n;
    EXPECT_EQ(left, 0u);
    ASSERT_TRUE(rig.finish());
    EXPECT_THAT(rig.defects(), IsEmpty());
    return;
  }
  FAIL() << "nothing was destroyed";
}

TEST(RekeyFaultsTest, EveryCallFailsOnceBeforeItsEffect) {
  fail_every_call(FaultMoment::before_effect, false);
}
TEST(RekeyFaultsTest, EveryCallFailsOnceAfterItsEffect) {
  fail_every_call(FaultMoment::after_effect, false);
}
TEST(RekeyFaultsTest, TheProcessEndsBeforeEveryCall) {
  fail_every_call(FaultMoment::crash_before, false);
}
TEST(RekeyFaultsTest, TheProcessEndsAfterEveryCall) {
  fail_every_call(FaultMoment::crash_after, false);
}
TEST(RekeyFaultsTest, EveryCallOfACancelledRekeyFailsOnceAfterItsEffect) {
  fail_every_call(FaultMoment::after_effect, true);
}
TEST(RekeyFaultsTest, TheProcessEndsAfterEveryCallOfACancelledRekey) {
  fail_every_call(FaultMoment::crash_after, true);
}

}  // namespace
}  // namespace keyward::engine
