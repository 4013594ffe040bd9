#include "store/sqlite/sqlite_keystore.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "store/sqlite/database.h"
#include "store/sqlite/keystore_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class SqliteKeystoreTest : public ::testing::Test {
 protected:
  // SQL behind the keystore's back.
  void edit_rows(const std::string& sql) {
    store_.close();
    Database database = must(Database::open(store_.options().path, {}));
    must(database.execute(sql));
    must(database.checkpoint_truncate());
    must(database.close());
    store_.open();
  }

  TestDirectory directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  StoreUnderTest store_{directory_.file("S3.db"), *clock_};
};

// ---- Entries ----

TEST_F(SqliteKeystoreTest, EntriesAreReadAsWrittenAndOverAReopen) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  store_.put(name_of("b"), std::string(kSecretBytesMax, 'b'));
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
  store_.close();
  store_.open();
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
  EXPECT_EQ(store_.read(name_of("b")), std::string(kSecretBytesMax, 'b'));
  EXPECT_EQ(must(store_->entries_total()), 2u);
}

TEST_F(SqliteKeystoreTest, AMissingEntryIsNotFound) {
  store_.create();
  EXPECT_THAT(store_->get(name_of("a")), FailsNaming(ErrorCode::not_found, "\"a\""));
  EXPECT_THAT(store_.try_erase(name_of("a")), FailsWith(ErrorCode::not_found));
}

TEST_F(SqliteKeystoreTest, VersionsCountUpAndAnyOtherIsConflict) {
  store_.create();
  store_.put(name_of("a"), "1");
  store_.put(name_of("a"), "2");
  EXPECT_EQ(must(store_->get(name_of("a"))).version, 2u);
  EXPECT_THAT(store_.try_replace(name_of("a"), 0, "x"),
              FailsNaming(ErrorCode::conflict, "version 2"));
  EXPECT_THAT(store_.try_replace(name_of("a"), 1, "x"), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(store_.try_replace(name_of("a"), 3, "x"), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(store_.try_replace(name_of("new"), 1, "x"), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(store_.read(name_of("a")), "2");
}

TEST_F(SqliteKeystoreTest, AnErasedEntryIsGoneAndItsNameStartsAnew) {
  store_.create();
  store_.put(name_of("a"), "1");
  store_.put(name_of("a"), "2");
  store_.erase(name_of("a"));
  EXPECT_THAT(store_->get(name_of("a")), FailsWith(ErrorCode::not_found));
  EXPECT_EQ(must(store_->entries_total()), 0u);
  store_.put(name_of("a"), "3");
  EXPECT_EQ(must(store_->get(name_of("a"))).version, 1u);
}

TEST_F(SqliteKeystoreTest, ChangesThatMakeNoSenseAreRefused) {
  store_.create();
  const KeyTable table = store_.table();
  EntryCipher& cipher = store_.ciphers().of(kOld);
  EntryChange change{name_of("a"), 0, std::nullopt};
  EXPECT_THAT(store_->write({&change, 1}, table.generation, {}),
              FailsWith(ErrorCode::invalid_argument));
  change.entry = must(cipher.encrypt(name_of("a"), 2, secret_of("x")));
  EXPECT_THAT(store_->write({&change, 1}, table.generation, {}),
              FailsWith(ErrorCode::invalid_argument));
  change.entry = must(store_.ciphers().of(kNew).encrypt(name_of("a"), 1, secret_of("x")));
  EXPECT_THAT(store_->write({&change, 1}, table.generation, {}), FailsWith(ErrorCode::conflict));
}

TEST_F(SqliteKeystoreTest, AWriteIsAllOrNoneWithItsAuditRecords) {
  store_.create();
  store_.put(name_of("there"), "1");
  const std::size_t records = must(store_->audit_trail().read(0, 100)).size();
  const KeyTable table = store_.table();
  EntryCipher& cipher = store_.ciphers().of(kOld);
  std::vector<EntryChange> changes;
  for (const char* name : {"one", "two", "there"})
    changes.push_back({name_of(name), 0, must(cipher.encrypt(name_of(name), 1, secret_of("x")))});
  const AuditRecord record = record_of("entry.import");
  EXPECT_THAT(store_->write(changes, table.generation, {&record, 1}),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(store_->get(name_of("one")), FailsWith(ErrorCode::not_found));
  EXPECT_EQ(must(store_->entries_total()), 1u);
  EXPECT_THAT(must(store_->audit_trail().read(0, 100)), SizeIs(records));
  changes.pop_back();
  must(store_->write(changes, table.generation, {&record, 1}));
  EXPECT_EQ(must(store_->entries_total()), 3u);
  EXPECT_THAT(must(store_->audit_trail().read(0, 100)), SizeIs(records + 1));
  must(store_->audit_trail().verify());
}

TEST_F(SqliteKeystoreTest, ListGoesByNameFromTheFirstPastTheOneGiven) {
  store_.create();
  for (const char* name : {"b", "a", "c", "B"}) store_.put(name_of(name), name);
  const auto names = [&](const std::optional<EntryName>& after, std::size_t count) {
    std::vector<std::string> found;
    for (const EntryInfo& info : must(store_->list(after, count)))
      found.push_back(info.name.text());
    return found;
  };
  EXPECT_THAT(names({}, 100), ElementsAre("B", "a", "b", "c"));
  EXPECT_THAT(names(name_of("a"), 1), ElementsAre("b"));
  EXPECT_THAT(names(name_of("c"), 1), ElementsAre());
  const EntryInfo info = must(store_->list({}, 1)).front();
  EXPECT_EQ(info.key, kOld);
  EXPECT_EQ(info.version, 1u);
  EXPECT_EQ(info.blob_bytes, 1 + kBlobOverhead);
}

TEST_F(SqliteKeystoreTest, ALongListComesWhole) {
  store_.create();
  store_.fill(2500, 10);
  EXPECT_THAT(must(store_->list({}, 10'000)), SizeIs(2500));
  EXPECT_THAT(must(store_->list({}, 2000)), SizeIs(2000));
}

// ---- The key table ----

TEST_F(SqliteKeystoreTest, EveryKindOfKeyTableComesBackFromItsRows) {
  store_.create();
  KeyTable table = preparing_table();
  table.rekey->without = {kTpm};
  table.rekey->next_try = UtcTime(std::chrono::milliseconds(1'234'567));
  table.rekey->error = "C_Login: the token is \"gone\"";
  table.rekey->paused = true;
  std::uint64_t generation = 1;
  for (KeyTable next : {table, reencrypting_table(), verifying_table(), destroying_table(),
                        destroyed_table(), must(forget(destroyed_table(), kOld))}) {
    must(store_->change_keys(generation, next, {}));
    next.generation = ++generation;
    EXPECT_EQ(store_.table(), next);
    store_.close();
    store_.open();
    EXPECT_EQ(store_.table(), next);
  }
}

TEST_F(SqliteKeystoreTest, AnotherGenerationIsConflictForKeysEntriesAndBatches) {
  store_.create();
  store_.fill(10, 10);
  const KeyTable stale = store_.table();
  EntryChange change{name_of("late"), 0,
                     must(store_.ciphers().of(kOld).encrypt(name_of("late"), 1, secret_of("x")))};
  store_.change(announce(stale, announcement_of(kNew)));
  EXPECT_THAT(store_->change_keys(stale.generation, preparing_table(), {}),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(store_->write({&change, 1}, stale.generation, {}), FailsWith(ErrorCode::conflict));
  store_.change(begin_reencrypt(store_.table(), new_copies(), commitment_of(2), {}));
  const KeyTable table = store_.table();
  auto reencryptor = make_reencryptor(store_.ciphers().of(kOld), store_.ciphers().of(kNew));
  Reencryption& work = store_->reencryption();
  EXPECT_THAT(work.run_batch(table.generation - 1, 10, *reencryptor),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(work.run_batch(table.generation, 10, *reencryptor), Succeeds());
}

TEST_F(SqliteKeystoreTest, AnInvalidOrAnotherStoresTableIsRefused) {
  store_.create();
  KeyTable broken = store_.table();
  broken.keys[0].copies.clear();
  EXPECT_THAT(store_->change_keys(1, broken, {}), FailsWith(ErrorCode::corrupt));
  KeyTable foreign = store_.table();
  foreign.domain = domain_named("SRS");
  EXPECT_THAT(store_->change_keys(1, foreign, {}), FailsWith(ErrorCode::invalid_argument));
  EXPECT_EQ(store_.table().generation, 1u);
}

TEST_F(SqliteKeystoreTest, AKeyThatEntriesAreUnderNeitherRetiresNorGoes) {
  store_.create();
  store_.fill(3, 10);
  store_.change(announce(store_.table(), announcement_of(kNew)));
  store_.change(begin_reencrypt(store_.table(), new_copies(), commitment_of(2), {}));
  store_.change(begin_verify(store_.table()));
  EXPECT_THAT(store_.try_change(switch_over(store_.table())),
              FailsNaming(ErrorCode::conflict, "3 entries"));
  store_.change(back_to_reencrypt(store_.table()));
  store_.rekey(kNew);
  EXPECT_EQ(store_.table().current().id, kNew);
}

TEST_F(SqliteKeystoreTest, PutsMoveTheirEntriesToTheWriteKeyAndAreCountedThere) {
  store_.create();
  store_.fill(4, 10);
  store_.change(announce(store_.table(), announcement_of(kNew)));
  EXPECT_EQ(must(store_->reencryption().progress()).entries_total, 4u);
  store_.change(begin_reencrypt(store_.table(), new_copies(), commitment_of(2), {}));
  for (int i = 0; i < 4; ++i) store_.put(numbered(i), "new");
  EXPECT_EQ(must(store_->get(numbered(0))).key, kNew);
  const RekeyProgress progress = must(store_->reencryption().progress());
  EXPECT_EQ(progress.entries_done, 4u);
  EXPECT_EQ(progress.entries_total, 4u);
  store_.change(begin_verify(store_.table()));
  store_.change(switch_over(store_.table()));
  store_.close();
  store_.open();
  EXPECT_EQ(must(store_->entries_total()), 4u);
}

// ---- Files ----

TEST_F(SqliteKeystoreTest, CreatingOverAFileChangesNothing) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  EXPECT_THAT(create_sqlite_keystore(store_.options(), idle_table(), {}),
              FailsWith(ErrorCode::already_exists));
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
}

TEST_F(SqliteKeystoreTest, ALeftOverOfAnEarlierCreationIsNoHindrance) {
  std::ofstream(directory_.file("S3.db.new")) << "half a database";
  std::ofstream(directory_.file("S3.db-wal")) << "a WAL without its file";
  store_.create();
  store_.put(name_of("a"), "alpha");
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
  EXPECT_FALSE(std::filesystem::exists(directory_.file("S3.db.new")));
}

TEST_F(SqliteKeystoreTest, WhatIsMissingOrNoKeystoreIsNamed) {
  EXPECT_THAT(store_.try_open(), FailsWith(ErrorCode::not_found));
  std::ofstream(directory_.file("S3.db")) << std::string(40'000, 'x');
  EXPECT_THAT(store_.try_open(), FailsWith(ErrorCode::corrupt));
}

TEST_F(SqliteKeystoreTest, ANewerFormatIsRefusedAndSaysWhatIsNeeded) {
  store_.create();
  store_.close();
  {
    Database database = must(Database::open(store_.options().path, {}));
    must(database.set_user_version(3003));
  }
  EXPECT_THAT(store_.try_open(), FailsNaming(ErrorCode::unsupported, "3"));
}

TEST_F(SqliteKeystoreTest, AnOlderFormatWorksWithoutRekeyUntilItIsUpgradedWhileOpen) {
  store_.create(1);
  store_.fill(100, 50);
  EXPECT_FALSE(store_->supports_rekey());
  EXPECT_THAT(store_.try_rekey(kNew), FailsNaming(ErrorCode::unsupported, "upgrade commit"));
  store_.close();
  store_.open();
  EXPECT_FALSE(store_->supports_rekey());
  store_.put(name_of("a"), "alpha");
  // Readers keep their snapshot from before the upgrade.
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
  EXPECT_FALSE(store_->supports_rekey());
  const AuditRecord record = record_of("upgrade");
  EXPECT_TRUE(must(upgrade_sqlite_keystore(store_.options(), {&record, 1})));
  EXPECT_FALSE(must(upgrade_sqlite_keystore(store_.options(), {&record, 1})));
  EXPECT_TRUE(store_->supports_rekey());
  store_.rekey(kNew);
  EXPECT_EQ(store_.read(name_of("a")), "alpha");
  must(store_->audit_trail().verify());
  store_.close();
  store_.open();
  EXPECT_TRUE(store_->supports_rekey());
  EXPECT_EQ(store_.table().current().id, kNew);
}

// ---- Many threads ----

TEST_F(SqliteKeystoreTest, ManyWritersShareCommitsAndNoneLosesAChange) {
  store_.create();
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  std::atomic<int> failures{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Ciphers ciphers;
        for (int i = 0; i < kEach; ++i) {
          const EntryName name = name_of("t" + std::to_string(t) + "/" + std::to_string(i % 10));
          const auto version = static_cast<std::uint64_t>(i / 10);
          EntryChange change{
              name, version,
              must(ciphers.of(kOld).encrypt(name, version + 1, secret_of(std::to_string(i))))};
          if (!store_->write({&change, 1}, 1, {})) ++failures;
        }
      });
    }
  }
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(must(store_->entries_total()), kThreads * 10u);
  for (int t = 0; t < kThreads; ++t) {
    const SealedEntry last = must(store_->get(name_of("t" + std::to_string(t) + "/9")));
    EXPECT_EQ(last.version, 5u);
  }
}

TEST_F(SqliteKeystoreTest, OfWritersThatRaceForOneVersionExactlyOneWins) {
  store_.create();
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> wins{0};
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        Ciphers ciphers;
        const auto version = static_cast<std::uint64_t>(round);
        EntryChange change{
            name_of("a"), version,
            must(ciphers.of(kOld).encrypt(name_of("a"), version + 1, secret_of("x")))};
        if (store_->write({&change, 1}, 1, {})) ++wins;
      });
    }
    threads.clear();
    ASSERT_EQ(wins, 1);
  }
}

// ---- Rows that somebody edited ----

TEST_F(SqliteKeystoreTest, TwoRowsSwappedAreFoundByReadingAndByTheScan) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  store_.put(name_of("b"), "beta!");
  edit_rows(
      "UPDATE names SET name='t' WHERE name='a'; UPDATE names SET name='a' WHERE name='b'; "
      "UPDATE names SET name='b' WHERE name='t'");
  EXPECT_THAT(store_.try_read(name_of("a")), FailsNaming(ErrorCode::corrupt, "name does not fit"));
  DecryptingVisitor visitor(store_.ciphers());
  EXPECT_THAT(store_->reencryption().scan(visitor, {}), FailsNaming(ErrorCode::corrupt, "\"b\""));
}

TEST_F(SqliteKeystoreTest, ARenamedEntryIsFound) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  edit_rows("UPDATE names SET name='other'");
  EXPECT_THAT(store_.try_read(name_of("other")), FailsNaming(ErrorCode::corrupt, "\"other\""));
}

TEST_F(SqliteKeystoreTest, AFlippedBlobAndAnEditedVersionAreFoundAndStopARekey) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  edit_rows(
      "UPDATE payload SET blob = CAST(substr(blob,1,45) || x'ff' || substr(blob,47) AS BLOB)");
  EXPECT_THAT(store_.try_read(name_of("a")), FailsNaming(ErrorCode::corrupt, "tag"));
  EXPECT_THAT(store_.try_rekey(kNew), FailsNaming(ErrorCode::corrupt, "\"a\""));
  EXPECT_EQ(store_.table().find(kOld)->state, KeyState::current);
  edit_rows("UPDATE payload SET version = 7");
  EXPECT_THAT(store_.try_read(name_of("a")), FailsNaming(ErrorCode::corrupt, "version"));
}

TEST_F(SqliteKeystoreTest, MissingPartsOfAnEntryAreFound) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  store_.put(name_of("b"), "beta");
  edit_rows("DELETE FROM payload WHERE id=1");
  EXPECT_THAT(store_->get(name_of("a")), FailsNaming(ErrorCode::corrupt, "no content"));
  EXPECT_THAT(store_->list({}, 10), FailsNaming(ErrorCode::corrupt, "no content"));
  EXPECT_THAT(store_.try_replace(name_of("a"), 0, "x"), FailsWith(ErrorCode::corrupt));
  DecryptingVisitor visitor(store_.ciphers());
  EXPECT_THAT(store_->reencryption().scan(visitor, {}),
              FailsNaming(ErrorCode::corrupt, "1 entries"));
  edit_rows("DELETE FROM names WHERE id=1; DELETE FROM names WHERE id=2");
  EXPECT_THAT(store_->reencryption().scan(visitor, {}), FailsNaming(ErrorCode::corrupt, "no name"));
}

TEST_F(SqliteKeystoreTest, AnEntryUnderAnUnknownKeyIsNamed) {
  store_.create();
  store_.put(name_of("a"), "alpha");
  edit_rows("UPDATE payload SET mk = 5");
  EXPECT_THAT(store_->get(name_of("a")), FailsNaming(ErrorCode::corrupt, "0x5"));
}

TEST_F(SqliteKeystoreTest, AnEditedKeyTableDoesNotOpen) {
  for (const char* sql :
       {"UPDATE keys SET state=2; UPDATE keys SET state=1", "DELETE FROM copies",
        "UPDATE keys SET state=77", "UPDATE keys SET commitment=x'00'", "DELETE FROM store",
        "UPDATE store SET domain='lower'", "DELETE FROM wanted"}) {
    SCOPED_TRACE(sql);
    StoreUnderTest other(directory_.file(std::to_string(std::hash<std::string>()(sql))), *clock_);
    other.create();
    other.close();
    {
      Database database = must(Database::open(other.options().path, {}));
      must(database.execute(sql));
    }
    EXPECT_THAT(other.try_open(), FailsWith(ErrorCode::corrupt));
  }
}

}  // namespace
}  // namespace keyward::store
