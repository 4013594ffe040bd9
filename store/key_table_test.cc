#include "store/key_table.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "store/key_table_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

MATCHER_P(FailsWith, code, "") {
  if (arg.has_value()) {
    *result_listener << "it succeeded";
    return false;
  }
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code && arg.error().message.size() > 20;
}

// ---- Every transition in every state ----

enum class At {
  idle,
  prepare,
  reencrypt,
  verify,
  destroy,
  destroyed,
  cancelled_prepare,
  cancelled_reencrypt,
  cancelled_verify,
};
const std::set<At> kAll = {
    At::idle,      At::prepare,           At::reencrypt,           At::verify,          At::destroy,
    At::destroyed, At::cancelled_prepare, At::cancelled_reencrypt, At::cancelled_verify};

KeyTable table_at(At at) {
  switch (at) {
    case At::idle:
      return idle_table();
    case At::prepare:
      return preparing_table();
    case At::reencrypt:
      return reencrypting_table();
    case At::verify:
      return verifying_table();
    case At::destroy:
      return destroying_table();
    case At::destroyed:
      return destroyed_table();
    case At::cancelled_prepare:
      return must(cancel(preparing_table()));
    case At::cancelled_reencrypt:
      return must(cancel(reencrypting_table()));
    case At::cancelled_verify:
      return must(begin_verify(must(cancel(verifying_table()))));
  }
  return idle_table();
}

std::set<At> all_but(const std::set<At>& states) {
  std::set<At> rest = kAll;
  for (At at : states) rest.erase(at);
  return rest;
}

struct Transition {
  std::string name;
  std::function<Result<KeyTable>(KeyTable)> apply;
  std::set<At> allowed;
};

// The keys of a state: live ones can get copies, retiring ones can be destroyed.
const std::set<At> kBothLive = {At::reencrypt, At::verify, At::cancelled_reencrypt,
                                At::cancelled_verify};
const std::set<At> kOldRetires = {At::destroy, At::destroyed};

std::vector<Transition> transitions() {
  const std::set<At> rekeying = all_but({At::idle});
  std::set<At> new_is_live = kBothLive;
  new_is_live.insert(kOldRetires.begin(), kOldRetires.end());
  return {
      {"announce",
       [](KeyTable t) { return announce(t, announcement_of(key_number(3))); },
       {At::idle}},
      {"set_without", [](KeyTable t) { return set_without(t, {kTpm}); }, {At::prepare}},
      {"begin_reencrypt",
       [](KeyTable t) { return begin_reencrypt(t, new_copies(), commitment_of(2), {}); },
       {At::prepare}},
      {"begin_verify", begin_verify, {At::reencrypt, At::cancelled_reencrypt}},
      {"back_to_reencrypt", back_to_reencrypt, {At::verify, At::cancelled_verify}},
      {"switch_over", switch_over, {At::verify, At::cancelled_verify}},
      {"record_destroyed old",
       [](KeyTable t) { return record_destroyed(t, kOld, kHsm, Destruction::confirmed); },
       {At::destroy}},
      {"record_destroyed new",
       [](KeyTable t) { return record_destroyed(t, kNew, kHsm, Destruction::except); },
       {At::cancelled_prepare}},
      {"forget old", [](KeyTable t) { return forget(t, kOld); }, {At::destroyed}},
      {"forget new", [](KeyTable t) { return forget(t, kNew); }, {}},
      {"set_paused", [](KeyTable t) { return set_paused(t, true); }, rekeying},
      {"set_rekey_error", [](KeyTable t) { return set_rekey_error(t, "gone", UtcTime{}); },
       rekeying},
      {"cancel", cancel, {At::prepare, At::reencrypt, At::verify}},
      {"intend_copy old",
       [](KeyTable t) {
         t.wanted = wanted_list({kHsm, kTpm, kSafe});
         return intend_copy(t, kOld, kSafe);
       },
       all_but(kOldRetires)},
      {"intend_copy new",
       [](KeyTable t) {
         t.wanted = wanted_list({kHsm, kTpm, kSafe});
         return intend_copy(t, kNew, kSafe);
       },
       new_is_live},
      {"reserve_encryptions old", [](KeyTable t) { return reserve_encryptions(t, kOld, 1 << 20); },
       all_but(kOldRetires)},
      {"reserve_encryptions new", [](KeyTable t) { return reserve_encryptions(t, kNew, 1 << 20); },
       new_is_live},
      {"add_copy without intent",
       [](KeyTable t) { return add_copy(t, kOld, copy_by(kSafe, 1)); },
       {}},
      {"add_copy that is there",
       [](KeyTable t) { return add_copy(t, kOld, copy_by(kHsm, 1)); },
       {}},
      {"drop_copy that is wanted", [](KeyTable t) { return drop_copy(t, kOld, kHsm); }, {}},
      {"release_holder with a copy", [](KeyTable t) { return release_holder(t, kOld, kHsm); }, {}},
  };
}

TEST(KeyTableTest, EveryTransitionIsRefusedInEveryStateThatItIsNotFor) {
  for (const Transition& transition : transitions()) {
    for (At at : kAll) {
      SCOPED_TRACE(transition.name + " in state " + std::to_string(static_cast<int>(at)));
      const KeyTable before = table_at(at);
      const Result<KeyTable> after = transition.apply(before);
      if (!transition.allowed.contains(at)) {
        EXPECT_THAT(after, FailsWith(ErrorCode::conflict));
        continue;
      }
      ASSERT_TRUE(after.has_value()) << after.error().message;
      EXPECT_TRUE(after->check().has_value());
      EXPECT_NE(*after, before);
      EXPECT_EQ(after->generation, before.generation) << "the store counts, not the transition";
    }
  }
}

TEST(KeyTableTest, SetWantedWorksInEveryStateAndNeedsOneMacForEachLiveKey) {
  for (At at : kAll) {
    SCOPED_TRACE(static_cast<int>(at));
    const std::size_t live = kBothLive.contains(at) ? 2 : 1;
    const auto wanted = wanted_list({kHsm, kSafe});
    const auto with = [&](std::size_t macs) {
      return set_wanted(table_at(at), wanted, std::vector<WantedMac>(macs, commitment_of(5)));
    };
    EXPECT_THAT(with(live - 1), FailsWith(ErrorCode::conflict));
    EXPECT_THAT(with(live + 1), FailsWith(ErrorCode::conflict));
    const KeyTable table = must(with(live));
    EXPECT_EQ(table.wanted, wanted);
    EXPECT_EQ(table.current().wanted_mac, commitment_of(5));
  }
}

// ---- What the transitions do ----

TEST(KeyTableTest, AnnounceNamesEveryHolderBeforeAnyIsAsked) {
  const KeyTable table = preparing_table();
  EXPECT_EQ(table.find(kNew)->state, KeyState::announced);
  EXPECT_THAT(table.find(kNew)->holders, ElementsAre(kHsm, kTpm));
  EXPECT_EQ(table.write_key().id, kOld);
}

TEST(KeyTableTest, AnnounceRefusesToLeaveOutAllOrOneThatIsNotWanted) {
  Announcement all = announcement_of(kNew);
  all.without = {kHsm, kTpm};
  EXPECT_THAT(announce(idle_table(), all), FailsWith(ErrorCode::invalid_argument));
  Announcement stranger = announcement_of(kNew);
  stranger.without = {kSafe};
  EXPECT_THAT(announce(idle_table(), stranger), FailsWith(ErrorCode::invalid_argument));
}

TEST(KeyTableTest, AnnounceRefusesAnIdThatIsInUse) {
  EXPECT_THAT(announce(idle_table(), announcement_of(kOld)), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(announce(idle_table(), announcement_of(KeyId{})), FailsWith(ErrorCode::conflict));
}

TEST(KeyTableTest, LeavingOutACustodianLaterKeepsItAHolderSinceItMayHaveBeenAsked) {
  const KeyTable table = must(set_without(preparing_table(), {kTpm}));
  EXPECT_THAT(table.find(kNew)->holders, ElementsAre(kHsm, kTpm));
  EXPECT_THAT(begin_reencrypt(table, new_copies(), commitment_of(2), {}),
              FailsWith(ErrorCode::conflict));
  const KeyTable next = must(begin_reencrypt(table, {copy_by(kHsm, 2)}, commitment_of(2), {}));
  EXPECT_THAT(next.find(kNew)->holders, Contains(kTpm));
  EXPECT_EQ(next.write_key().id, kNew);
}

TEST(KeyTableTest, ReencryptionBeginsOnlyWithOneCopyByEachThatIsAsked) {
  const KeyTable table = preparing_table();
  for (const std::vector<SealedKey>& copies :
       {std::vector<SealedKey>{},
        {copy_by(kHsm, 2)},
        {copy_by(kHsm, 2), copy_by(kHsm, 2)},
        {copy_by(kHsm, 2), copy_by(kTpm, 2), copy_by(kSafe, 2)}}) {
    EXPECT_THAT(begin_reencrypt(table, copies, commitment_of(2), {}),
                FailsWith(ErrorCode::conflict));
  }
  EXPECT_THAT(begin_reencrypt(table, new_copies(), KeyCommitment{}, {}),
              FailsWith(ErrorCode::invalid_argument));
}

TEST(KeyTableTest, ACustodianThatBecomesWantedDuringPrepareIsIntendedToo) {
  const KeyTable table =
      must(set_wanted(preparing_table(), wanted_list({kHsm, kTpm, kSafe}), {commitment_of(5)}));
  EXPECT_THAT(table.find(kNew)->holders, ElementsAre(kHsm, kTpm, kSafe));
}

TEST(KeyTableTest, SetWantedForgetsThatARemovedCustodianWasLeftOut) {
  const KeyTable table = must(set_without(preparing_table(), {kTpm}));
  const KeyTable next = must(set_wanted(table, wanted_list({kHsm}), {commitment_of(5)}));
  EXPECT_THAT(next.rekey->without, IsEmpty());
  EXPECT_THAT(set_wanted(table, wanted_list({kTpm}), {commitment_of(5)}),
              FailsWith(ErrorCode::invalid_argument));
}

TEST(KeyTableTest, SetWantedRefusesAnEmptyListAndACustodianNamedTwice) {
  EXPECT_THAT(set_wanted(idle_table(), {}, {commitment_of(5)}),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(set_wanted(idle_table(), wanted_list({kHsm, kHsm}), {commitment_of(5)}),
              FailsWith(ErrorCode::invalid_argument));
}

TEST(KeyTableTest, SwitchingMakesTheNewKeyCurrentAndTheOldRetire) {
  const KeyTable table = destroying_table();
  EXPECT_EQ(table.current().id, kNew);
  EXPECT_EQ(table.write_key().id, kNew);
  EXPECT_EQ(table.find(kOld)->state, KeyState::retiring);
}

TEST(KeyTableTest, CancellingDuringPrepareDestroysTheAnnouncedKey) {
  KeyTable table = must(cancel(preparing_table()));
  EXPECT_EQ(table.rekey->phase, RekeyPhase::destroy);
  EXPECT_EQ(table.rekey->from, kNew);
  EXPECT_EQ(table.current().id, kOld);
  table = must(record_destroyed(table, kNew, kHsm, Destruction::confirmed));
  table = must(record_destroyed(table, kNew, kTpm, Destruction::confirmed));
  table = must(forget(table, kNew));
  EXPECT_FALSE(table.rekey.has_value());
  EXPECT_EQ(table.keys.size(), 1u);
}

TEST(KeyTableTest, CancellingLaterIsARekeyBack) {
  const KeyTable table = must(cancel(verifying_table()));
  EXPECT_EQ(table.rekey->phase, RekeyPhase::reencrypt);
  EXPECT_EQ(table.rekey->from, kNew);
  EXPECT_EQ(table.write_key().id, kOld);
  const KeyTable after = must(switch_over(must(begin_verify(table))));
  EXPECT_EQ(after.current().id, kOld);
  EXPECT_EQ(after.find(kNew)->state, KeyState::retiring);
}

TEST(KeyTableTest, DestroyingDropsTheCopyAndRemembersWhoCouldNot) {
  KeyTable table = must(record_destroyed(destroying_table(), kOld, kHsm, Destruction::confirmed));
  EXPECT_EQ(table.find(kOld)->copy_of(kHsm), nullptr);
  EXPECT_THAT(forget(table, kOld), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(record_destroyed(table, kOld, kHsm, Destruction::confirmed),
              FailsWith(ErrorCode::conflict));
  table = must(record_destroyed(table, kOld, kTpm, Destruction::except));
  EXPECT_THAT(table.find(kOld)->except, ElementsAre(kTpm));
  EXPECT_THAT(table.find(kOld)->holders, IsEmpty());
  table = must(forget(table, kOld));
  EXPECT_EQ(table.find(kOld), nullptr);
}

TEST(KeyTableTest, TheCurrentKeyIsNeverDestroyedNorForgotten) {
  for (At at : kAll) {
    const KeyTable table = table_at(at);
    EXPECT_THAT(record_destroyed(table, table.current().id, kHsm, Destruction::confirmed),
                FailsWith(ErrorCode::conflict));
    EXPECT_THAT(forget(table, table.current().id), FailsWith(ErrorCode::conflict));
    EXPECT_THAT(forget(table, table.write_key().id), FailsWith(ErrorCode::conflict));
  }
}

TEST(KeyTableTest, ACopyMovesFromOneCustodianToAnotherWithoutAGap) {
  KeyTable table = must(set_wanted(idle_table(), wanted_list({kHsm, kSafe}), {commitment_of(5)}));
  EXPECT_THAT(drop_copy(table, kOld, kTpm), FailsWith(ErrorCode::conflict)) << "safe has none yet";
  EXPECT_THAT(intend_copy(table, kOld, kTpm), FailsWith(ErrorCode::conflict)) << "not wanted";
  table = must(intend_copy(table, kOld, kSafe));
  EXPECT_EQ(must(intend_copy(table, kOld, kSafe)), table) << "again after a crash";
  table = must(add_copy(table, kOld, copy_by(kSafe, 1)));
  EXPECT_THAT(intend_copy(table, kOld, kSafe), FailsWith(ErrorCode::conflict));
  table = must(drop_copy(table, kOld, kTpm));
  EXPECT_THAT(table.find(kOld)->holders, Contains(kTpm)) << "until the hardware was told";
  EXPECT_THAT(drop_copy(table, kOld, kTpm), FailsWith(ErrorCode::conflict));
  table = must(release_holder(table, kOld, kTpm));
  EXPECT_THAT(table.find(kOld)->holders, Not(Contains(kTpm)));
  EXPECT_THAT(release_holder(table, kOld, kTpm), FailsWith(ErrorCode::conflict));
}

TEST(KeyTableTest, ReservedEncryptionsNeverGoDownNorBeyondTwoToThe32) {
  const std::uint64_t limit = std::uint64_t{1} << 32;
  KeyTable table = must(reserve_encryptions(idle_table(), kOld, limit));
  EXPECT_EQ(must(reserve_encryptions(table, kOld, 5)).current().encryptions_reserved, limit);
  EXPECT_THAT(reserve_encryptions(table, kOld, limit + 1), FailsWith(ErrorCode::exhausted));
}

TEST(KeyTableTest, AnUnknownKeyIsRefusedEverywhere) {
  const KeyId stranger = key_number(9);
  const KeyTable table = destroying_table();
  EXPECT_THAT(record_destroyed(table, stranger, kHsm, Destruction::confirmed),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(forget(table, stranger), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(intend_copy(table, stranger, kHsm), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(add_copy(table, stranger, copy_by(kHsm, 1)), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(drop_copy(table, stranger, kHsm), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(release_holder(table, stranger, kHsm), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(reserve_encryptions(table, stranger, 1), FailsWith(ErrorCode::conflict));
}

// ---- check() ----

struct Damage {
  std::string names;  // What the message must say.
  At at;
  std::function<void(KeyTable&)> apply;
};

KeyRow& row_of(KeyTable& table, const KeyId& id) {
  for (KeyRow& row : table.keys)
    if (row.id == id) return row;
  ADD_FAILURE() << "no such key";
  return table.keys.front();
}

std::vector<Damage> damages() {
  return {
      {"generation", At::idle, [](KeyTable& t) { t.generation = 0; }},
      {"0 keys are current", At::idle, [](KeyTable& t) { t.keys.clear(); }},
      {"2 keys are current", At::reencrypt,
       [](KeyTable& t) { row_of(t, kNew).state = KeyState::current; }},
      {"is there twice", At::idle, [](KeyTable& t) { t.keys.push_back(t.keys[0]); }},
      {"no id", At::idle, [](KeyTable& t) { t.keys[0].id = {}; }},
      {"belongs to no rekey", At::reencrypt, [](KeyTable& t) { t.rekey.reset(); }},
      {"belongs to no rekey", At::reencrypt,
       [](KeyTable& t) {
         t.keys.push_back(row_of(t, kNew));
         t.keys.back().id = key_number(3);
       }},
      {"not in the table", At::reencrypt, [](KeyTable& t) { t.rekey->from = key_number(3); }},
      {"not in the table", At::reencrypt, [](KeyTable& t) { t.rekey->to = t.rekey->from; }},
      {"in phase verify", At::reencrypt,
       [](KeyTable& t) {
         t.rekey->phase = RekeyPhase::verify;
         std::swap(t.rekey->from, t.rekey->to);
       }},
      {"in phase prepare", At::reencrypt,
       [](KeyTable& t) { t.rekey->phase = RekeyPhase::prepare; }},
      {"in phase destroy", At::verify, [](KeyTable& t) { t.rekey->phase = RekeyPhase::destroy; }},
      {"in phase reencrypt", At::verify,
       [](KeyTable& t) {
         t.rekey->phase = RekeyPhase::reencrypt;
         t.rekey->cancelled = true;
       }},
      {"cancelled rekey is in phase prepare", At::prepare,
       [](KeyTable& t) { t.rekey->cancelled = true; }},
      {"has no copy", At::idle, [](KeyTable& t) { t.keys[0].copies.clear(); }},
      {"no commitment", At::idle, [](KeyTable& t) { t.keys[0].commitment = {}; }},
      {"yet has a commitment", At::prepare,
       [](KeyTable& t) { row_of(t, kNew).commitment = commitment_of(2); }},
      {"yet has a copy", At::prepare,
       [](KeyTable& t) { row_of(t, kNew).copies = {copy_by(kHsm, 2)}; }},
      {"two copies by one custodian", At::idle,
       [](KeyTable& t) { t.keys[0].copies.push_back(copy_by(kHsm, 3)); }},
      {"not among its holders", At::idle, [](KeyTable& t) { t.keys[0].holders = {kHsm}; }},
      {"holder twice", At::idle, [](KeyTable& t) { t.keys[0].holders.push_back(kHsm); }},
      {"not retiring", At::idle, [](KeyTable& t) { t.keys[0].except = {kHsm}; }},
      {"no custodian is wanted", At::idle, [](KeyTable& t) { t.wanted.clear(); }},
      {"wanted twice", At::idle, [](KeyTable& t) { t.wanted.push_back(t.wanted[0]); }},
  };
}

TEST(KeyTableTest, CheckNamesWhatIsWrong) {
  for (const Damage& damage : damages()) {
    SCOPED_TRACE(damage.names);
    KeyTable table = table_at(damage.at);
    ASSERT_TRUE(table.check().has_value());
    damage.apply(table);
    const Result<void> checked = table.check();
    ASSERT_THAT(checked, FailsWith(ErrorCode::corrupt));
    EXPECT_THAT(checked.error().message, HasSubstr(damage.names));
  }
}

TEST(KeyTableTest, AFirstTableNeedsACurrentKeyThatIsComplete) {
  KeyRow pending = current_row({kHsm});
  pending.state = KeyState::pending;
  EXPECT_THAT(first_table({}, domain_named("S3"), pending, wanted_list({kHsm})),
              FailsWith(ErrorCode::conflict));
  KeyRow bare = current_row({});
  EXPECT_THAT(first_table({}, domain_named("S3"), bare, wanted_list({kHsm})),
              FailsWith(ErrorCode::corrupt));
  EXPECT_THAT(first_table({}, domain_named("S3"), current_row({kHsm}), {}),
              FailsWith(ErrorCode::corrupt));
}

}  // namespace
}  // namespace keyward::store
