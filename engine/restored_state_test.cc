// An older state directory, restored beside the hardware of today: whatever is done with it,
// nothing that the newer state needs is destroyed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/domain_intent.h"
#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using store::RekeyPhase;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr RekeyPhase kPhases[] = {RekeyPhase::prepare, RekeyPhase::reencrypt, RekeyPhase::verify,
                                  RekeyPhase::destroy};

struct Restored {
  EngineRig rig;
  std::filesystem::path newer;
  std::filesystem::path older;

  // The backup is of this phase; then the rekey ended, and went on to be used.
  explicit Restored(RekeyPhase phase, bool cancelled_later = false) {
    for (int i = 0; i < 12; ++i)
      EXPECT_TRUE(rig.put(fmt::format("entry {}", i), fmt::format("secret {}", i)));
    EXPECT_TRUE(rig.begin());
    EXPECT_TRUE(rig.step_until(phase));
    if (phase == RekeyPhase::reencrypt) {
      EXPECT_TRUE(rig.step());
    }
    rig.stop();
    older = rig.copy_state();
    newer = rig.state();
    rig.start();
    if (cancelled_later) {
      EXPECT_TRUE(RekeyJob(rig.parts()).cancel(EngineRig::caller()));
    }
    EXPECT_TRUE(rig.finish());
    EXPECT_THAT(rig.defects(), IsEmpty());
  }

  void use(const std::filesystem::path& state) {
    rig.stop();
    rig.use_state(state);
    rig.start();
  }
  void work_as_far_as_it_goes() {
    for (int i = 0; i < 30; ++i)
      if (const auto outcome = rig.step(); outcome && *outcome == RekeyJob::Outcome::done) return;
  }
};

TEST(RestoredStateTest, GoingOnWithAnOlderRekeyDestroysNothingOfTheNewerState) {
  for (const RekeyPhase phase : kPhases) {
    Restored both(phase);
    both.use(both.older);
    both.work_as_far_as_it_goes();
    both.use(both.newer);
    EXPECT_THAT(both.rig.defects(), IsEmpty()) << "phase " << static_cast<int>(phase);
  }
}

TEST(RestoredStateTest, CancellingAnOlderRekeyDestroysNothingOfTheNewerState) {
  for (const RekeyPhase phase : kPhases) {
    Restored both(phase);
    both.use(both.older);
    static_cast<void>(RekeyJob(both.rig.parts()).cancel(EngineRig::caller()));
    both.work_as_far_as_it_goes();
    both.use(both.newer);
    EXPECT_THAT(both.rig.defects(), IsEmpty()) << "phase " << static_cast<int>(phase);
  }
}

TEST(RestoredStateTest, AnOlderRekeyThatWasCancelledLaterDestroysNothingOfTheNewerState) {
  for (const RekeyPhase phase : {RekeyPhase::prepare, RekeyPhase::reencrypt, RekeyPhase::verify}) {
    for (const bool cancel_too : {false, true}) {
      Restored both(phase, true);
      both.use(both.older);
      if (cancel_too) static_cast<void>(RekeyJob(both.rig.parts()).cancel(EngineRig::caller()));
      // A key that the newer state never had may be made here; that is an orphan, and no loss.
      if (phase != RekeyPhase::prepare) both.work_as_far_as_it_goes();
      both.use(both.newer);
      EXPECT_THAT(both.rig.lost_entries(), IsEmpty()) << "phase " << static_cast<int>(phase);
    }
  }
}

TEST(RestoredStateTest, PrepareSaysThatTheStateIsOlderAndCancelReportsTheObject) {
  Restored both(RekeyPhase::prepare);
  both.use(both.older);
  const auto failed = both.rig.step();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::conflict);
  EXPECT_THAT(failed.error().message, HasSubstr("older than the hardware"));
  ASSERT_TRUE(RekeyJob(both.rig.parts()).cancel(EngineRig::caller()));
  ASSERT_TRUE(both.rig.finish());
  EXPECT_FALSE(both.rig.table().rekey);
  EXPECT_TRUE(both.rig.has_open_event(kUnknownHardwareObject));
  EXPECT_EQ(both.rig.hardware("fake:a").object_count(), 1u);
}

TEST(RestoredStateTest, AStateFromBeforeTheRekeyIsLocked) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  rig.stop();
  const auto older = rig.copy_state();
  rig.start();
  ASSERT_TRUE(rig.rekey());
  const auto newer = rig.state();
  rig.stop();
  rig.use_state(older);
  rig.start();
  EXPECT_EQ(rig.status().state, api::DomainState::locked);
  EXPECT_EQ(rig.get("entry").error().code, ErrorCode::unavailable);
  EXPECT_TRUE(rig.has_open_event(kKeystoreLocked));
  rig.stop();
  rig.use_state(newer);
  rig.start();
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RestoredStateTest, AnOlderDeletionOrCreationDestroysNothing) {
  EngineRig rig;
  rig.stop();
  const auto older = rig.copy_state();
  rig.start();
  ASSERT_TRUE(rig.put("entry", "secret"));
  const auto newer = rig.state();
  rig.stop();
  rig.use_state(older);
  {
    // As a crash just after the intent was written leaves it.
    rig.start();
    const store::KeyTable table = rig.table();
    ASSERT_TRUE(save_intent(rig.backend().control(),
                            {.act = DomainIntent::Act::remove,
                             .context = table.context(table.current().id),
                             .custodians = table.current().holders},
                            {}));
    rig.restart();
  }
  EXPECT_THAT(load_intents(rig.backend().control()).value(), IsEmpty());
  rig.stop();
  rig.use_state(newer);
  rig.start();
  EXPECT_THAT(rig.defects(), IsEmpty());
}

}  // namespace
}  // namespace keyward::engine
