#include "engine/reseal_job.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ResealJobTest, AddsAndRemovesCustodiansOnline) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  rig.configure({"fake:a", "fake:b", "fake:c"});
  rig.restart();
  ASSERT_TRUE(rig.want({"fake:a", "fake:b", "fake:c"}));
  ASSERT_TRUE(rig.reseal());
  EXPECT_THAT(rig.defects(), IsEmpty());
  ASSERT_TRUE(rig.want({"fake:c"}));
  ASSERT_TRUE(rig.reseal());
  EXPECT_THAT(rig.defects(), IsEmpty());
  rig.configure({"fake:c"});
  rig.restart();
  EXPECT_EQ(rig.get("entry").value(), "secret");
}

TEST(ResealJobTest, MovesToOtherCustodiansWithoutAnyThatStay) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  rig.configure({"fake:a", "fake:b", "fake:c", "fake:d"});
  rig.restart();
  ASSERT_TRUE(rig.want({"fake:c", "fake:d"}));
  ASSERT_TRUE(rig.reseal());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(ResealJobTest, RefusesListsThatCannotBe) {
  EngineRig rig;
  EXPECT_EQ(rig.want({}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(rig.want({"fake:a", "fake:a"}).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(rig.want({"fake:a", "fake:nobody"}).error().code, ErrorCode::not_found);
}

TEST(ResealJobTest, RefusesTheSameHardwareUnderTwoNames) {
  EngineRig rig({"fake:a"});
  rig.configure({"fake:a", "fake:twin"});
  rig.hardware("fake:twin").set_identity("hardware of fake:a");
  rig.restart();
  EXPECT_EQ(rig.want({"fake:a", "fake:twin"}).error().code, ErrorCode::invalid_argument);
}

TEST(ResealJobTest, ARemovalIsRefusedWhenTheCopyThatWouldStayDoesNotOpenNow) {
  EngineRig rig;
  rig.hardware("fake:b").lose(rig.table().context(rig.table().current().id));
  const auto refused = rig.want({"fake:b"});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr(rig.table().current().id.to_text()));
  EXPECT_FALSE(ResealJob::is_needed(rig.table()));
}

TEST(ResealJobTest, ARemovalIsRefusedWhileTheKeystoreIsLocked) {
  EngineRig rig;
  rig.hardware("fake:a").set_down({ErrorCode::unavailable, "away"});
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "away"});
  rig.restart();
  EXPECT_EQ(rig.status().state, api::DomainState::locked);
  EXPECT_EQ(ResealJob::check(rig.parts(), {{"fake:a"}}).error().code, ErrorCode::unavailable);
  EXPECT_FALSE(rig.want({"fake:a"}));
}

TEST(ResealJobTest, NothingIsDestroyedUnlessAnotherCopyOpensAtThatMoment) {
  EngineRig rig;
  ASSERT_TRUE(rig.want({"fake:a"}));
  rig.hardware("fake:a").set_down({ErrorCode::unavailable, "away"});
  EXPECT_FALSE(rig.reseal());
  EXPECT_EQ(rig.hardware("fake:b").object_count(), 1u);
  rig.hardware("fake:a").set_up();
  rig.advance(std::chrono::seconds{61});
  ASSERT_TRUE(rig.reseal());
  EXPECT_EQ(rig.hardware("fake:b").object_count(), 0u);
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(ResealJobTest, AnUnfinishedRemovalIsNotTakenBack) {
  EngineRig rig;
  ASSERT_TRUE(rig.want({"fake:a"}));
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "away"});
  EXPECT_FALSE(rig.reseal());
  rig.hardware("fake:b").set_up();
  rig.advance(std::chrono::seconds{61});
  EXPECT_EQ(rig.want({"fake:a", "fake:b"}).error().code, ErrorCode::conflict);
  ASSERT_TRUE(rig.reseal());
  ASSERT_TRUE(rig.want({"fake:a", "fake:b"}));
  ASSERT_TRUE(rig.reseal());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(ResealJobTest, ALostCustodianIsGivenUpAndNamed) {
  EngineRig rig;
  EXPECT_EQ(ResealJob::give_up(rig.parts(), {"fake:b"}, EngineRig::caller()).error().code,
            ErrorCode::conflict);
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "stolen"});
  ASSERT_TRUE(rig.want({"fake:a"}));
  EXPECT_FALSE(rig.reseal());
  ASSERT_TRUE(ResealJob::give_up(rig.parts(), {"fake:b"}, EngineRig::caller()));
  EXPECT_FALSE(ResealJob::is_needed(rig.table()));
  EXPECT_EQ(rig.table().current().holders, std::vector<CustodianId>{{"fake:a"}});
}

TEST(ResealJobTest, ACustodianLostWhileTheOldKeyIsDestroyedCanBeGivenUp) {
  EngineRig rig;
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(store::RekeyPhase::destroy));
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "stolen"});
  EXPECT_FALSE(rig.finish());
  ASSERT_TRUE(rig.want({"fake:a"}));
  ASSERT_TRUE(ResealJob::give_up(rig.parts(), {"fake:b"}, EngineRig::caller()));
  ASSERT_TRUE(rig.finish());
  EXPECT_FALSE(rig.table().rekey);
  EXPECT_EQ(rig.table().keys.size(), 1u);
}

// Whoever is to seal a key is written down before it is asked: without that, nobody would know
// of its object once it is no longer wanted.
TEST(ResealJobTest, AnAdditionThatIsTakenBackLeavesNothingInTheHardware) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  rig.configure({"fake:a", "fake:b", "fake:c"});
  FaultPlan none(std::numeric_limits<std::size_t>::max(), FaultMoment::crash_after,
                 {ErrorCode::io, "never"});
  rig.restart(&none);
  const std::size_t before = none.calls();
  bool fired = true;
  for (std::size_t n = 1; fired; ++n) {
    ASSERT_LT(n, 500u);
    FaultPlan plan(before + n, FaultMoment::crash_after, {ErrorCode::io, "planned"});
    rig.restart(&plan);
    static_cast<void>(rig.want({"fake:a", "fake:b", "fake:c"}));
    static_cast<void>(rig.reseal());
    fired = plan.has_fired();
    rig.restart();
    ASSERT_TRUE(rig.want({"fake:a", "fake:b"}));
    ASSERT_TRUE(rig.reseal()) << "call " << n;
    ASSERT_THAT(rig.defects(), IsEmpty()) << "call " << n;
  }
}

TEST(ResealJobTest, EveryCallFailsOnceWhileACustodianComesAndGoes) {
  for (const FaultMoment moment : {FaultMoment::before_effect, FaultMoment::after_effect,
                                   FaultMoment::crash_before, FaultMoment::crash_after}) {
    EngineRig rig;
    ASSERT_TRUE(rig.put("entry", "secret"));
    rig.configure({"fake:a", "fake:b", "fake:c"});
    FaultPlan none(std::numeric_limits<std::size_t>::max(), moment, {ErrorCode::io, "never"});
    rig.restart(&none);
    const std::size_t before = none.calls();
    rig.restart();
    bool fired = true;
    for (std::size_t n = 1; fired; ++n) {
      FaultPlan plan(before + n, moment, {ErrorCode::io, "planned"});
      const bool is_in = rig.table().find_wanted({"fake:c"}) != nullptr;
      rig.restart(&plan);
      const std::vector<std::string> next =
          is_in ? std::vector<std::string>{"fake:a", "fake:b"}
                : std::vector<std::string>{"fake:a", "fake:b", "fake:c"};
      static_cast<void>(rig.want(next));
      static_cast<void>(rig.reseal());
      fired = plan.has_fired();
      rig.restart();
      ASSERT_TRUE(rig.reseal()) << "call " << n;
      ASSERT_THAT(rig.defects(), IsEmpty()) << "call " << n;
      ASSERT_LT(n, 500u);
    }
  }
}

}  // namespace
}  // namespace keyward::engine
