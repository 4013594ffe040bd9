#include "engine/keyring.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "engine/domain_intent.h"
#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

EntryName name(std::string_view text) { return EntryName::parse(text).value(); }

SecretBytes secret(std::string text) {
  return SecretBytes::take_from(std::as_writable_bytes(std::span(text.data(), text.size())))
      .value();
}

std::vector<store::StoredRecord> trail(EngineRig& rig) {
  return rig.keystore()->audit_trail().read(0, 1000).value();
}

std::vector<std::string> actions(EngineRig& rig) {
  std::vector<std::string> actions;
  for (const store::StoredRecord& stored : trail(rig)) actions.push_back(stored.record.action);
  return actions;
}

TEST(KeyringTest, VersionsGuardAgainstLostUpdates) {
  EngineRig rig;
  const Caller caller = EngineRig::caller();
  Keyring& keyring = rig.keyring();
  EXPECT_EQ(keyring.put(rig.domain(), name("e"), secret("one"), 0, caller).value(), 1u);
  EXPECT_EQ(keyring.put(rig.domain(), name("e"), secret("two"), 0, caller).error().code,
            ErrorCode::conflict);
  EXPECT_EQ(keyring.put(rig.domain(), name("e"), secret("two"), 1, caller).value(), 2u);
  EXPECT_EQ(keyring.put(rig.domain(), name("e"), secret("three"), 1, caller).error().code,
            ErrorCode::conflict);
  std::uint64_t version = 0;
  ASSERT_TRUE(keyring.get(rig.domain(), name("e"), caller, &version));
  EXPECT_EQ(version, 2u);
  EXPECT_EQ(rig.get("e").value(), "two");
}

TEST(KeyringTest, EditsAreAllOrNone) {
  EngineRig rig;
  const SecretBytes value = secret("value");
  const Caller caller = EngineRig::caller();
  const std::vector<EntryEdit> good{{name("a"), &value}, {name("b"), &value}};
  ASSERT_TRUE(rig.keyring().edit(rig.domain(), good, caller));
  const std::vector<EntryEdit> bad{{name("c"), &value}, {name("a"), &value, 7}};
  EXPECT_EQ(rig.keyring().edit(rig.domain(), bad, caller).error().code, ErrorCode::conflict);
  EXPECT_EQ(rig.get("c").error().code, ErrorCode::not_found);
  const std::vector<EntryEdit> twice{{name("d"), &value}, {name("d"), nullptr}};
  EXPECT_EQ(rig.keyring().edit(rig.domain(), twice, caller).error().code,
            ErrorCode::invalid_argument);
  const EntryEdit erase{name("a"), nullptr};
  ASSERT_TRUE(rig.keyring().edit(rig.domain(), {&erase, 1}, caller));
  EXPECT_EQ(rig.keyring().edit(rig.domain(), {&erase, 1}, caller).error().code,
            ErrorCode::not_found);
  EXPECT_EQ(rig.keyring().list(rig.domain(), std::nullopt, 10).value().size(), 1u);
}

TEST(KeyringTest, EveryChangeIsInTheAuditTrailOfItsKeystore) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("one", "secret-canary"));
  const SecretBytes value = secret("secret-canary");
  const std::vector<EntryEdit> edits{{name("two"), &value}, {name("one"), nullptr}};
  ASSERT_TRUE(rig.keyring().edit(rig.domain(), edits, EngineRig::caller()));
  EXPECT_THAT(actions(rig), ::testing::ElementsAre("domain.create", "entry.put", "entries.import"));
  for (const store::StoredRecord& stored : trail(rig)) {
    EXPECT_EQ(stored.record.actor, "uid:0");
    EXPECT_THAT(stored.record.detail, ::testing::Not(HasSubstr("canary")));
  }
}

TEST(KeyringTest, TheFirstReadIsRecordedAndTheOthersAreCounted) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("one", "secret"));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.get("one"));
  ASSERT_TRUE(rig.settle());
  rig.advance(std::chrono::seconds{3});
  EXPECT_EQ(std::ranges::count(actions(rig), "entry.get"), 1);
  rig.advance(std::chrono::minutes{11});
  const auto records = trail(rig);
  EXPECT_EQ(records.back().record.action, "entry.get.repeated");
  EXPECT_THAT(records.back().record.detail, HasSubstr("\"count\":4"));
}

TEST(KeyringTest, EachReadIsRecordedBeforeItIsAnsweredWhereThatIsSet) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("one", "secret"));
  rig.set_read_audit(ReadAudit::each);
  rig.restart();
  ASSERT_TRUE(rig.get("one"));
  ASSERT_TRUE(rig.get("one"));
  EXPECT_FALSE(rig.get("nothing"));
  EXPECT_EQ(std::ranges::count(actions(rig), "entry.get"), 3);
  EXPECT_EQ(trail(rig).back().record.outcome, "not_found");
  rig.set_read_audit(ReadAudit::off);
  rig.restart();
  ASSERT_TRUE(rig.get("one"));
  rig.advance(std::chrono::minutes{30});
  EXPECT_EQ(std::ranges::count(actions(rig), "entry.get"), 3);
}

TEST(KeyringTest, AFloodOfDifferentReadsIsRecordedByItsNumber) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("one", "secret"));
  constexpr int kCallers = 5000;
  for (int i = 0; i < kCallers; ++i)
    ASSERT_TRUE(rig.keyring().get(rig.domain(), name("one"), {fmt::format("uid:{}", i), "unix"}));
  ASSERT_TRUE(rig.settle());
  rig.advance(std::chrono::seconds{3});
  const auto records = rig.keystore()->audit_trail().read(0, 20'000).value();
  EXPECT_LT(records.size(), 2000u);
  EXPECT_EQ(records.back().record.action, "entry.get.unlisted");
}

TEST(KeyringTest, UnknownDomainsAndEntriesAreNotFound) {
  EngineRig rig;
  const Domain nobody = Domain::parse("NOBODY").value();
  EXPECT_EQ(rig.keyring().get(nobody, name("e"), EngineRig::caller()).error().code,
            ErrorCode::not_found);
  EXPECT_EQ(rig.get("nothing").error().code, ErrorCode::not_found);
}

TEST(KeyringTest, ALockedDomainOpensByItselfWhenItsCustodianComesBack) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  for (const char* id : {"fake:a", "fake:b"})
    rig.hardware(id).set_down({ErrorCode::unavailable, "away"});
  rig.restart();
  EXPECT_EQ(rig.status().state, api::DomainState::locked);
  EXPECT_THAT(rig.status().error, HasSubstr("away"));
  EXPECT_EQ(rig.get("entry").error().code, ErrorCode::unavailable);
  EXPECT_EQ(rig.put("entry", "other").error().code, ErrorCode::unavailable);
  EXPECT_TRUE(rig.has_open_event(kKeystoreLocked));
  EXPECT_TRUE(rig.has_open_event(kCustodianUnhealthy));
  const KeyId key = rig.table().current().id;

  std::jthread unsealer([&](const std::stop_token& stop) { rig.keyring().unseal_all(stop); });
  rig.hardware("fake:a").set_up();
  ASSERT_TRUE(rig.custodians().test({"fake:a"}));
  ASSERT_TRUE(rig.keyring().wait_unsealed(rig.domain(), {}, MonotonicTime::max()));
  EXPECT_EQ(rig.get("entry").value(), "secret");
  EXPECT_EQ(rig.table().current().id, key) << "no new master key was made";
  EXPECT_FALSE(rig.has_open_event(kKeystoreLocked));
}

TEST(KeyringTest, ADomainWithOneOfTwoLiveKeysIsDegraded) {
  EngineRig rig;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(rig.put(fmt::format("e{}", i), "secret"));
  ASSERT_TRUE(rig.begin());
  ASSERT_TRUE(rig.step_until(store::RekeyPhase::reencrypt));
  ASSERT_TRUE(rig.step());
  const KeyContext old_key = rig.table().context(rig.table().current().id);
  for (const char* id : {"fake:a", "fake:b"}) rig.hardware(id).lose(old_key);
  rig.restart();
  EXPECT_EQ(rig.status().state, api::DomainState::degraded);
  EXPECT_TRUE(rig.has_open_event(kKeystoreDegraded));
  int readable = 0;
  for (int i = 0; i < 20; ++i)
    if (rig.get(fmt::format("e{}", i))) ++readable;
  EXPECT_EQ(readable, 7);
  EXPECT_TRUE(rig.put("new", "works")) << "the write key is open";
  EXPECT_FALSE(rig.step()) << "the rekey does not go on over what it cannot read";
}

TEST(KeyringTest, AnEditedListOfCustodiansIsMarkedAndNothingIsSealedByIt) {
  EngineRig rig;
  rig.configure({"fake:a", "fake:b", "fake:thief"});
  rig.restart();
  ASSERT_TRUE(rig.put("entry", "secret"));
  store::KeyTable edited = rig.table();
  edited.wanted.push_back({{"fake:thief"}, "hardware of fake:thief"});
  ASSERT_TRUE(rig.keystore()->change_keys(edited.generation, edited, {}));
  rig.restart();
  EXPECT_THAT(rig.status().error, HasSubstr("edited outside Keyward"));
  EXPECT_TRUE(rig.has_open_event(kKeystoreTampered));
  EXPECT_EQ(rig.get("entry").value(), "secret");
  EXPECT_TRUE(rig.put("entry", "written"));
  EXPECT_EQ(rig.reseal().error().code, ErrorCode::corrupt);
  EXPECT_EQ(rig.hardware("fake:thief").object_count(), 0u);

  ASSERT_TRUE(rig.want({"fake:a", "fake:b"}));
  EXPECT_FALSE(rig.has_open_event(kKeystoreTampered));
  EXPECT_EQ(rig.status().state, api::DomainState::active);
  ASSERT_TRUE(rig.rekey());
  rig.restart();
  EXPECT_EQ(rig.status().error, "");
}

TEST(KeyringTest, ARekeyThatIsUnderWayStopsWhenTheListWasEdited) {
  EngineRig rig;
  ASSERT_TRUE(rig.begin());
  store::KeyTable edited = rig.table();
  edited.wanted.pop_back();
  std::erase(edited.keys.back().holders, CustodianId{"fake:b"});
  ASSERT_TRUE(rig.keystore()->change_keys(edited.generation, edited, {}));
  rig.restart();
  EXPECT_EQ(rig.step().error().code, ErrorCode::corrupt);
}

TEST(KeyringTest, ACopyThatNoLongerOpensIsReportedAtTheStart) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  rig.hardware("fake:b").lose(rig.table().context(rig.table().current().id));
  rig.restart();
  EXPECT_EQ(rig.get("entry").value(), "secret");
  EXPECT_TRUE(rig.has_open_event(kKeyOrphaned));
}

TEST(KeyringTest, APutAtTheLimitOfTheKeyIsRefusedAndARekeyIsTheWayOn) {
  EngineRig rig;
  ASSERT_TRUE(rig.put("entry", "secret"));
  store::KeyTable worn = rig.table();
  worn =
      store::reserve_encryptions(worn, worn.current().id, (std::uint64_t{1} << 32) - 100).value();
  ASSERT_TRUE(rig.keystore()->change_keys(rig.table().generation, worn, {}));
  rig.restart();
  EXPECT_EQ(rig.put("entry", "other").error().code, ErrorCode::exhausted);
  EXPECT_EQ(rig.get("entry").value(), "secret");
  ASSERT_TRUE(rig.rekey());
  EXPECT_TRUE(rig.put("entry", "other"));
}

TEST(KeyringTest, EncryptionsAreReservedInStridesBeforeTheyAreMade) {
  EngineRig rig;
  EXPECT_EQ(rig.table().current().encryptions_reserved, 0u);
  ASSERT_TRUE(rig.put("entry", "secret"));
  EXPECT_EQ(rig.table().current().encryptions_reserved, std::uint64_t{1} << 20);
  const std::uint64_t generation = rig.table().generation;
  ASSERT_TRUE(rig.put("entry", "again"));
  EXPECT_EQ(rig.table().generation, generation) << "the second put needs no new stride";
  rig.restart();
  ASSERT_TRUE(rig.put("entry", "after a restart"));
  EXPECT_EQ(rig.table().current().encryptions_reserved, std::uint64_t{2} << 20);
}

TEST(KeyringTest, ADomainIsDeletedOnlyWhenItIsEmptyAndAtRest) {
  EngineRig rig;
  const Caller caller = EngineRig::caller();
  ASSERT_TRUE(rig.put("entry", "secret"));
  EXPECT_EQ(rig.keyring().delete_domain(rig.domain(), caller).error().code, ErrorCode::conflict);
  const EntryEdit erase{name("entry"), nullptr};
  ASSERT_TRUE(rig.keyring().edit(rig.domain(), {&erase, 1}, caller)) << "it serves on";
  ASSERT_TRUE(rig.begin());
  EXPECT_EQ(rig.keyring().delete_domain(rig.domain(), caller).error().code, ErrorCode::conflict);
  ASSERT_TRUE(rig.finish());
  ASSERT_TRUE(rig.keyring().delete_domain(rig.domain(), caller));
  EXPECT_EQ(rig.hardware("fake:a").object_count(), 0u);
  EXPECT_EQ(rig.hardware("fake:b").object_count(), 0u);
  EXPECT_THAT(rig.keyring().domains(), IsEmpty());
  ASSERT_TRUE(rig.keyring().create_domain(rig.domain(), caller));
  EXPECT_EQ(rig.keyring().create_domain(rig.domain(), caller).error().code,
            ErrorCode::already_exists);
  EXPECT_EQ(rig.hardware("fake:a").object_count(), 1u);
}

TEST(KeyringTest, CreationAndDeletionLeaveNoOrphanWhicheverCallFails) {
  const Caller caller = EngineRig::caller();
  for (const FaultMoment moment : {FaultMoment::before_effect, FaultMoment::after_effect,
                                   FaultMoment::crash_before, FaultMoment::crash_after}) {
    EngineRig rig;
    ASSERT_TRUE(rig.keyring().delete_domain(rig.domain(), caller));
    bool fired = true;
    for (std::size_t n = 1; fired; ++n) {
      ASSERT_LT(n, 500u);
      FaultPlan plan(n, moment, {ErrorCode::io, "planned"});
      rig.restart(&plan);
      if (rig.keyring().create_domain(rig.domain(), caller))
        static_cast<void>(rig.keyring().delete_domain(rig.domain(), caller));
      fired = plan.has_fired();
      rig.restart();
      ASSERT_THAT(load_intents(rig.backend().control()).value(), IsEmpty()) << "call " << n;
      if (!rig.keyring().domains().empty()) {
        ASSERT_THAT(rig.defects(), IsEmpty()) << "call " << n;
        ASSERT_TRUE(rig.keyring().delete_domain(rig.domain(), caller));
      }
      ASSERT_EQ(rig.hardware("fake:a").object_count(), 0u) << "call " << n;
      ASSERT_EQ(rig.hardware("fake:b").object_count(), 0u) << "call " << n;
    }
  }
}

TEST(KeyringTest, ManyWritersOfOneEntryAllSucceed) {
  EngineRig rig;
  std::atomic<int> failures = 0;
  {
    std::vector<std::jthread> writers;
    for (int w = 0; w < 6; ++w)
      writers.emplace_back([&] {
        for (int i = 0; i < 20; ++i)
          if (!rig.keyring().put(rig.domain(), name("hot"), secret("value"), std::nullopt,
                                 EngineRig::caller()))
            ++failures;
      });
  }
  EXPECT_EQ(failures, 0);
  std::uint64_t version = 0;
  ASSERT_TRUE(rig.keyring().get(rig.domain(), name("hot"), EngineRig::caller(), &version));
  EXPECT_EQ(version, 120u);
}

}  // namespace
}  // namespace keyward::engine
