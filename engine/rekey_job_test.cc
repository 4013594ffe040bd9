#include "engine/rekey_job.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "engine/rekey_history.h"
#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using store::RekeyPhase;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void fill(EngineRig& rig, int entries) {
  for (int i = 0; i < entries; ++i)
    ASSERT_TRUE(rig.put(fmt::format("entry {}", i), fmt::format("secret {}", i)));
}

RekeyRecord only_record(EngineRig& rig) {
  auto records = rekey_history(rig.backend().control(), rig.domain(), 10).value();
  EXPECT_EQ(records.size(), 1u);
  return records.empty() ? RekeyRecord{} : records.front();
}

TEST(RekeyJobTest, ReplacesTheKeyAndDestroysTheOldOneEverywhere) {
  EngineRig rig;
  fill(rig, 40);
  const KeyId old_key = rig.table().current().id;
  ASSERT_TRUE(rig.rekey());
  EXPECT_THAT(rig.defects(), IsEmpty());
  EXPECT_NE(rig.table().current().id, old_key);
  const RekeyRecord record = only_record(rig);
  EXPECT_EQ(record.old_key, old_key);
  EXPECT_EQ(record.new_key, rig.table().current().id);
  EXPECT_EQ(record.entries_done, 40u);
  EXPECT_EQ(record.custodians.size(), 2u);
  EXPECT_THAT(record.except, IsEmpty());
  EXPECT_TRUE(record.finished);
  rig.restart();
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, AsksNoHardwareForBatchesReadsAndWrites) {
  EngineRig rig;
  fill(rig, 60);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  ASSERT_TRUE(rig.step());
  const std::size_t calls = rig.hardware("fake:a").calls();
  ASSERT_TRUE(rig.step());
  ASSERT_TRUE(rig.step());
  ASSERT_TRUE(rig.put("another", "value"));
  ASSERT_TRUE(rig.get("entry 3"));
  EXPECT_EQ(rig.hardware("fake:a").calls(), calls);
}

TEST(RekeyJobTest, TheHardwareKnowsThatTheNewKeyIsInUseBeforeAnEntryIsMovedToIt) {
  EngineRig rig;
  fill(rig, 3);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  const KeyContext context = rig.table().context(rig.table().rekey->to);
  for (const char* id : {"fake:a", "fake:b"})
    EXPECT_EQ(rig.custodians().destroy({id}, context, hsm::DestroyScope::unconfirmed).error().code,
              ErrorCode::conflict);
}

TEST(RekeyJobTest, GoesOnAfterARestartInEveryPhase) {
  for (const RekeyPhase phase :
       {RekeyPhase::prepare, RekeyPhase::reencrypt, RekeyPhase::verify, RekeyPhase::destroy}) {
    EngineRig rig;
    fill(rig, 30);
    ASSERT_TRUE(rig.begin());
    ASSERT_TRUE(rig.step_until(phase));
    rig.restart();
    EXPECT_THAT(rig.lost_entries(), IsEmpty());
    ASSERT_TRUE(rig.put("entry 5", "written after the restart"));
    ASSERT_TRUE(rig.finish());
    EXPECT_THAT(rig.defects(), IsEmpty());
  }
}

TEST(RekeyJobTest, RestartsAfterEveryStep) {
  EngineRig rig;
  fill(rig, 30);
  ASSERT_TRUE(rig.begin());
  for (int i = 0; rig.table().rekey; ++i) {
    ASSERT_LT(i, 60);
    ASSERT_TRUE(rig.step());
    ASSERT_TRUE(rig.put(fmt::format("entry {}", i % 30), fmt::format("again {}", i)));
    rig.restart();
    ASSERT_THAT(rig.lost_entries(), IsEmpty());
  }
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, CancelGoesBackToTheOldKeyInEveryPhaseBeforeTheSwitch) {
  for (const RekeyPhase phase : {RekeyPhase::prepare, RekeyPhase::reencrypt, RekeyPhase::verify}) {
    EngineRig rig;
    fill(rig, 30);
    const KeyId old_key = rig.table().current().id;
    ASSERT_TRUE(rig.begin());
    ASSERT_TRUE(rig.step_until(phase));
    ASSERT_TRUE(rig.put("entry 1", "written meanwhile"));
    ASSERT_TRUE(RekeyJob(rig.parts()).cancel(EngineRig::caller()));
    ASSERT_TRUE(RekeyJob(rig.parts()).cancel(EngineRig::caller())) << "it is idempotent";
    ASSERT_TRUE(rig.finish());
    EXPECT_EQ(rig.table().current().id, old_key);
    EXPECT_THAT(rig.defects(), IsEmpty());
    EXPECT_TRUE(only_record(rig).cancelled);
  }
}

TEST(RekeyJobTest, CancelHalfWayThroughTheBatchesLosesNoEntry) {
  EngineRig rig;
  fill(rig, 50);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  ASSERT_TRUE(rig.step());
  ASSERT_TRUE(rig.step());
  ASSERT_TRUE(RekeyJob(rig.parts()).cancel(EngineRig::caller()));
  rig.restart();
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, CancelIsRefusedOnceTheOldKeyIsOnItsWayOut) {
  EngineRig rig;
  fill(rig, 5);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::destroy));
  EXPECT_EQ(RekeyJob(rig.parts()).cancel(EngineRig::caller()).error().code, ErrorCode::conflict);
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, PauseStopsTheStepsAndResumeGoesOn) {
  EngineRig rig;
  fill(rig, 30);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  ASSERT_TRUE(RekeyJob(rig.parts()).pause(EngineRig::caller()));
  EXPECT_EQ(rig.step().value(), RekeyJob::Outcome::paused);
  EXPECT_EQ(rig.status().state, api::DomainState::paused);
  ASSERT_TRUE(RekeyJob(rig.parts()).resume(EngineRig::caller()));
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
  EXPECT_EQ(RekeyJob(rig.parts()).pause(EngineRig::caller()).error().code, ErrorCode::not_found);
}

TEST(RekeyJobTest, BeginIsRefusedWhileARekeyOrAMigrationIsUnderWay) {
  EngineRig rig;
  ASSERT_TRUE(rig.begin());
  EXPECT_EQ(rig.begin().error().code, ErrorCode::already_exists);
  ASSERT_TRUE(rig.finish());
  rig.configure({"fake:a", "fake:b", "fake:c"});
  rig.restart();
  ASSERT_TRUE(rig.want({"fake:a", "fake:b", "fake:c"}));
  EXPECT_EQ(rig.begin().error().code, ErrorCode::conflict);
  ASSERT_TRUE(rig.reseal());
  EXPECT_TRUE(rig.begin());
}

TEST(RekeyJobTest, ACustodianThatIsDownAtPrepareIsNamedAndCanBeLeftOut) {
  EngineRig rig;
  fill(rig, 20);
  ASSERT_TRUE(rig.begin());
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "pulled out"});
  const auto failed = rig.step();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("fake:b"));
  EXPECT_THAT(rig.lost_entries(), IsEmpty());
  ASSERT_TRUE(RekeyJob(rig.parts()).record_failure(failed.error(), rig.clock().now()));
  EXPECT_EQ(rig.status().state, api::DomainState::failed);
  EXPECT_THAT(rig.status().error, HasSubstr("pulled out"));

  ASSERT_TRUE(RekeyJob(rig.parts()).leave_out({{"fake:b"}}, EngineRig::caller()));
  ASSERT_TRUE(rig.step_until(RekeyPhase::destroy));
  EXPECT_THAT(rig.finish().error().message, HasSubstr("1 of 2 destroyed"));
  rig.hardware("fake:b").set_up();
  rig.advance(std::chrono::seconds{61});
  ASSERT_TRUE(rig.finish());
  EXPECT_TRUE(ResealJob::is_needed(rig.table()));
  ASSERT_TRUE(rig.reseal());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, ACustodianThatIsDownAtDestroyLeavesTheDomainActive) {
  EngineRig rig;
  fill(rig, 20);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::destroy));
  rig.hardware("fake:a").set_down({ErrorCode::timeout, "no answer"});
  const auto failed = rig.step();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("old key: 1 of 2 destroyed"));
  EXPECT_THAT(failed.error().message, HasSubstr("fake:a"));
  ASSERT_TRUE(RekeyJob(rig.parts()).record_failure(failed.error(), std::nullopt));
  EXPECT_EQ(rig.status().state, api::DomainState::active);
  EXPECT_THAT(rig.status().error, HasSubstr("1 of 2 destroyed"));
  EXPECT_EQ(rig.hardware("fake:b").object_count(), 1u);

  rig.restart();
  EXPECT_THAT(rig.lost_entries(), IsEmpty());
  rig.hardware("fake:a").set_up();
  rig.advance(std::chrono::seconds{61});
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, ACustodianThatCannotDestroyIsNamedInTheHistory) {
  EngineRig rig;
  rig.make_indestructible("fake:b");
  rig.restart();
  fill(rig, 3);
  ASSERT_TRUE(rig.rekey());
  EXPECT_THAT(only_record(rig).except, ::testing::ElementsAre(CustodianId{"fake:b"}));
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, TheOldKeyStaysWhileNoCopyOfTheNewOneOpens) {
  EngineRig rig;
  fill(rig, 3);
  const KeyContext old_key = rig.table().context(rig.table().current().id);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::destroy));
  const KeyContext new_key = rig.table().context(rig.table().current().id);
  rig.hardware("fake:a").lose(new_key);
  rig.hardware("fake:b").lose(new_key);
  const auto failed = rig.step();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("no copy of the new one opens"));
  hsm::FakeCustodian looker("fake:a", std::shared_ptr<hsm::FakeHardware>(
                                          &rig.hardware("fake:a"), [](hsm::FakeHardware*) {}));
  const auto held = looker.list().value();
  EXPECT_TRUE(std::ranges::any_of(
      held, [&](const hsm::HeldObject& object) { return object.context == old_key; }));
}

TEST(RekeyJobTest, OtherHardwareThanTheOnePinnedGetsNoKey) {
  EngineRig rig;
  ASSERT_TRUE(rig.begin());
  rig.hardware("fake:b").set_identity("a thief's token");
  rig.restart();
  const auto failed = rig.step();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::conflict);
  EXPECT_EQ(rig.table().rekey->phase, RekeyPhase::prepare);
}

TEST(RekeyJobTest, AnEntryThatDoesNotOpenEndsTheBatchAndIsNamed) {
  EngineRig rig;
  fill(rig, 10);
  const auto keystore = rig.keystore();
  store::SealedEntry entry = keystore->get(EntryName::parse("entry 4").value()).value();
  entry.blob.back() ^= std::byte{1};
  store::EntryChange change{EntryName::parse("entry 4").value(), entry.version, entry};
  change.entry->version = entry.version + 1;
  ASSERT_TRUE(keystore->write({&change, 1}, rig.table().generation, {}));
  ASSERT_TRUE(rig.begin());
  const auto failed = rig.finish();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::corrupt);
  EXPECT_THAT(failed.error().message, HasSubstr("entry 4"));
  EXPECT_EQ(rig.get("entry 3").value(), "secret 3");
  EXPECT_EQ(rig.get("entry 4").error().code, ErrorCode::corrupt);
  ASSERT_TRUE(rig.put("entry 4", "repaired"));
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, EveryEntryIsMovedBeforeTheScanBegins) {
  EngineRig rig;
  constexpr int kEntries = 60;
  fill(rig, kEntries);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  ASSERT_TRUE(rig.step());
  ASSERT_EQ(rig.table().rekey->phase, RekeyPhase::reencrypt) << "one batch took all entries";
  ASSERT_TRUE(rig.step_until(RekeyPhase::verify));
  for (int i = 0; i < kEntries; ++i) {
    const EntryName name = EntryName::parse(fmt::format("entry {}", i)).value();
    EXPECT_EQ(rig.keystore()->get(name).value().key, rig.table().rekey->to) << name.text();
  }
}

TEST(RekeyJobTest, AnEntryThatDoesNotOpenUnderTheNewKeyStopsTheSwitch) {
  EngineRig rig;
  fill(rig, 10);
  const KeyId old_key = rig.table().current().id;
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::verify));
  const EntryName name = EntryName::parse("entry 4").value();
  store::SealedEntry entry = rig.keystore()->get(name).value();
  ASSERT_EQ(entry.key, rig.table().rekey->to);
  entry.blob.back() ^= std::byte{1};
  store::EntryChange change{name, entry.version, entry};
  change.entry->version = entry.version + 1;
  ASSERT_TRUE(rig.keystore()->write({&change, 1}, rig.table().generation, {}));
  const auto failed = rig.step();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::corrupt);
  EXPECT_THAT(failed.error().message, HasSubstr("entry 4"));
  EXPECT_EQ(rig.table().current().id, old_key);
  ASSERT_TRUE(rig.put("entry 4", "repaired"));
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, TheScanFindsEntriesThatAreStillUnderTheOldKey) {
  EngineRig rig;
  fill(rig, 10);
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(RekeyPhase::reencrypt));
  const store::KeyTable table = rig.table();
  ASSERT_TRUE(
      rig.keystore()->change_keys(table.generation, store::begin_verify(table).value(), {}));
  ASSERT_TRUE(rig.step());
  EXPECT_EQ(rig.table().rekey->phase, RekeyPhase::reencrypt) << "the switch would lose them";
  ASSERT_TRUE(rig.finish());
  EXPECT_THAT(rig.defects(), IsEmpty());
}

TEST(RekeyJobTest, TheHistoryKeepsTimesToTheMillisecond) {
  EngineRig rig;
  rig.advance(std::chrono::milliseconds{1234});
  ASSERT_TRUE(rig.begin());
  const UtcTime begun = rig.clock().now();
  rig.advance(std::chrono::milliseconds{567});
  ASSERT_TRUE(rig.finish());
  EXPECT_EQ(only_record(rig).started, begun);
  EXPECT_EQ(only_record(rig).finished, rig.clock().now());
}

TEST(RekeyJobTest, TheHistoryShowsTheNewestFirst) {
  EngineRig rig;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(rig.rekey());
    rig.advance(std::chrono::milliseconds{5});
  }
  const auto records = rekey_history(rig.backend().control(), rig.domain(), 2).value();
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].new_key, rig.table().current().id);
  EXPECT_EQ(records[1].new_key, records[0].old_key);
}

TEST(RekeyJobTest, ReadersAndWritersRaceTwoRekeysAndSeeNoError) {
  EngineRig rig;
  fill(rig, 40);
  std::atomic<bool> stop = false;
  std::atomic<int> errors = 0;
  const auto work = [&](int worker) {
    const EntryName mine = EntryName::parse(fmt::format("writer {}", worker)).value();
    const Caller caller = EngineRig::caller();
    for (int i = 0; !stop; ++i) {
      std::string text = fmt::format("{} {}", worker, i);
      const std::string expected = text;
      const auto secret =
          SecretBytes::take_from(std::as_writable_bytes(std::span(text.data(), text.size())));
      if (!rig.keyring().put(rig.domain(), mine, *secret, std::nullopt, caller)) ++errors;
      const auto again = rig.keyring().get(rig.domain(), mine, caller);
      if (!again || !constant_time_equal(again->reveal(), std::as_bytes(std::span(expected))))
        ++errors;
      const EntryName other = EntryName::parse(fmt::format("entry {}", i % 40)).value();
      if (!rig.keyring().get(rig.domain(), other, caller)) ++errors;
    }
  };
  std::vector<std::jthread> workers;
  for (int worker = 0; worker < 4; ++worker) workers.emplace_back(work, worker);
  for (int i = 0; i < 2; ++i) {
    const Result<void> rekeyed = rig.rekey();
    EXPECT_TRUE(rekeyed) << rekeyed.error().message;
  }
  stop = true;
  workers.clear();
  EXPECT_EQ(errors, 0);
  EXPECT_THAT(rig.defects(), IsEmpty());
}

}  // namespace
}  // namespace keyward::engine
