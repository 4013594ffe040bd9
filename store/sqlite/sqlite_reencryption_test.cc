#include "store/sqlite/sqlite_reencryption.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "store/sqlite/keystore_test_support.h"
#include "store/sqlite/page_scanner.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;

// A disk that is bad while it is switched on.
class BadDisk final : public VfsHook {
 public:
  BadDisk(VfsOperation operation, VfsAnswer answer) : operation_(operation), answer_(answer) {}
  VfsAnswer before(const VfsCall& call) override {
    return on && call.operation == operation_ ? answer_ : VfsAnswer::proceed;
  }
  std::atomic<bool> on{false};

 private:
  VfsOperation operation_;
  VfsAnswer answer_;
};

class SqliteReencryptionTest : public ::testing::Test {
 protected:
  // To the phase in which entries move.
  void begin_rekey() {
    store_.change(announce(store_.table(), announcement_of(kNew)));
    store_.change(begin_reencrypt(store_.table(), new_copies(), commitment_of(2), {}));
  }
  Reencryption& work() { return store_->reencryption(); }
  std::unique_ptr<Reencryptor> reencryptor() {
    return make_reencryptor(store_.ciphers().of(store_.table().rekey->from),
                            store_.ciphers().of(store_.table().rekey->to));
  }

  TestDirectory directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  StoreUnderTest store_{directory_.file("S3.db"), *clock_};
};

TEST_F(SqliteReencryptionTest, ARekeyMovesEveryEntryAndKeepsItsSecretAndVersion) {
  store_.create();
  store_.fill(3000, 100);
  store_.put(numbered(7), "replaced");
  store_.erase(numbered(8));
  store_.rekey(kNew, 700);
  DecryptingVisitor visitor(store_.ciphers());
  must(work().scan(visitor, {}));
  EXPECT_EQ(visitor.under[kNew], 2999);
  EXPECT_EQ(visitor.under[kOld], 0);
  EXPECT_EQ(visitor.values["entry/7"], "replaced");
  EXPECT_EQ(must(store_->get(numbered(7))).version, 2u);
  EXPECT_EQ(store_.table().current().id, kNew);
  EXPECT_FALSE(store_.table().rekey.has_value());
}

TEST_F(SqliteReencryptionTest, ABatchDoesAtMostWhatItWasAskedAndProgressFollows) {
  store_.create();
  store_.fill(1000, 50);
  begin_rekey();
  const auto cipher = reencryptor();
  const std::uint64_t generation = store_.table().generation;
  const BatchReport first = must(work().run_batch(generation, 100, *cipher));
  EXPECT_LE(first.entries, 100u);
  EXPECT_GT(first.entries, 0u);
  EXPECT_FALSE(first.done);
  EXPECT_EQ(must(work().progress()).entries_done, first.entries);
  EXPECT_EQ(must(work().progress()).entries_total, 1000u);
  std::uint64_t entries = first.entries;
  for (BatchReport report; !report.done; entries += report.entries)
    report = must(work().run_batch(generation, 100, *cipher));
  EXPECT_EQ(entries, 1000u);
  EXPECT_EQ(must(work().progress()).entries_done, 1000u);
}

TEST_F(SqliteReencryptionTest, AReopenedStoreGoesOnFromItsCursor) {
  store_.create();
  store_.fill(1000, 50);
  begin_rekey();
  const std::uint64_t done =
      must(work().run_batch(store_.table().generation, 100, *reencryptor())).entries;
  store_.close();
  store_.open();
  EXPECT_EQ(must(work().progress()).entries_done, done);
  std::uint64_t entries = done;
  const auto cipher = reencryptor();
  for (BatchReport report; !report.done; entries += report.entries)
    report = must(work().run_batch(store_.table().generation, 10'000, *cipher));
  EXPECT_EQ(entries, 1000u);
}

TEST_F(SqliteReencryptionTest, CancellingMovesBackWhatWasMovedFromTheStart) {
  store_.create();
  store_.fill(1000, 50);
  begin_rekey();
  must(work().run_batch(store_.table().generation, 300, *reencryptor()));
  store_.change(cancel(store_.table()));
  EXPECT_LE(must(work().progress()).entries_total, 300u);
  store_.rekey(kNew);
  EXPECT_EQ(store_.table().current().id, kOld);
  DecryptingVisitor visitor(store_.ciphers());
  must(work().scan(visitor, {}));
  EXPECT_EQ(visitor.under[kOld], 1000);
}

TEST_F(SqliteReencryptionTest, ABatchOutsideOfItsPhaseIsConflict) {
  store_.create();
  auto cipher = make_reencryptor(store_.ciphers().of(kOld), store_.ciphers().of(kNew));
  EXPECT_THAT(work().run_batch(1, 10, *cipher), FailsWith(ErrorCode::conflict));
  begin_rekey();
  store_.change(begin_verify(store_.table()));
  EXPECT_THAT(work().run_batch(store_.table().generation, 10, *cipher),
              FailsWith(ErrorCode::conflict));
}

TEST_F(SqliteReencryptionTest, BigAndSmallEntriesMixedComeThrough) {
  store_.create();
  std::mt19937 random(3);
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 60; ++i) {
    const std::size_t size = i % 7 == 0 ? kSecretBytesMax : 1 + random() % 40'000;
    expected[numbered(i).text()] = std::string(size, static_cast<char>('a' + i % 26));
    store_.put(numbered(i), expected[numbered(i).text()]);
  }
  store_.rekey(kNew);
  DecryptingVisitor visitor(store_.ciphers());
  must(work().scan(visitor, {}));
  EXPECT_EQ(visitor.values, expected);
  EXPECT_EQ(visitor.under[kNew], 60);
}

TEST_F(SqliteReencryptionTest, GapsBetweenRowsCostNothing) {
  store_.create();
  store_.fill(4000, 10);
  std::vector<EntryChange> erased;
  for (int i = 1; i < 3999; ++i) erased.push_back({numbered(i), 1, std::nullopt});
  must(store_->write(erased, 1, {}));
  begin_rekey();
  const BatchReport report =
      must(work().run_batch(store_.table().generation, 10'000, *reencryptor()));
  EXPECT_EQ(report.entries, 2u);
}

// ---- Scan ----

class StoppingVisitor final : public EntryVisitor {
 public:
  explicit StoppingVisitor(std::stop_source& stop) : stop_(stop) {}
  Result<void> visit(const EntryInfo&, ByteView) override {
    if (++seen == 5) stop_.request_stop();
    return {};
  }
  int seen = 0;

 private:
  std::stop_source& stop_;
};

TEST_F(SqliteReencryptionTest, AScanStopsWhenAsked) {
  store_.create();
  store_.fill(100, 10);
  std::stop_source stop;
  StoppingVisitor visitor(stop);
  EXPECT_THAT(work().scan(visitor, stop.get_token()), FailsWith(ErrorCode::cancelled));
  EXPECT_EQ(visitor.seen, 5);
}

// Puts in the middle of its visits; a scan that held a transaction open would block the purge.
class WritingVisitor final : public EntryVisitor {
 public:
  explicit WritingVisitor(StoreUnderTest& store) : store_(store) {}
  Result<void> visit(const EntryInfo& info, ByteView) override {
    if (seen++ % 500 != 0) return {};
    TRY(store_.try_put(info.name, "written during the scan"));
    return store_->reencryption().purge();
  }
  int seen = 0;

 private:
  StoreUnderTest& store_;
};

TEST_F(SqliteReencryptionTest, AScanHoldsUpNeitherWritersNorPurges) {
  store_.create();
  store_.fill(3000, 100);
  WritingVisitor visitor(store_);
  EXPECT_THAT(work().scan(visitor, {}), Succeeds());
  EXPECT_EQ(visitor.seen, 3000);
}

// ---- Purge ----

TEST_F(SqliteReencryptionTest, PurgeLeavesAnEmptyWal) {
  store_.create();
  store_.fill(100, 100);
  store_.put(numbered(1), "x");
  const std::string wal = directory_.file("S3.db-wal");
  EXPECT_GT(std::filesystem::file_size(wal), 0u);
  EXPECT_EQ(store_.read(numbered(1)), "x");  // A reader keeps its transaction.
  must(work().purge());
  EXPECT_EQ(std::filesystem::file_size(wal), 0u);
  must(work().purge());
  EXPECT_EQ(store_.read(numbered(1)), "x");
}

TEST_F(SqliteReencryptionTest, PurgeIsBusyWhileSomebodyElseReadsAndSucceedsAfterwards) {
  store_.create();
  store_.fill(100, 100);
  Database other = must(Database::open(store_.options().path,
                                       {.vfs_name = store_.options().vfs_name, .read_only = true}));
  must(other.execute("BEGIN; SELECT count(*) FROM names"));
  store_.put(numbered(1), "x");
  EXPECT_THAT(work().purge(), FailsWith(ErrorCode::busy));
  EXPECT_EQ(store_.read(numbered(1)), "x");
  store_.put(numbered(2), "y");
  must(other.execute("ROLLBACK"));
  EXPECT_THAT(work().purge(), Succeeds());
}

TEST_F(SqliteReencryptionTest, ADrainNamesTheAgeOfTheReaderThatDoesNotEnd) {
  store_.create();
  CommittedState committed;
  ReaderPool readers(store_.options().path, store_.options().vfs_name, 2, committed, *clock_);
  {
    ReaderLease lease = must(readers.acquire());
    EXPECT_THAT(readers.drain(std::chrono::milliseconds(30)), FailsNaming(ErrorCode::busy, " ms"));
    EXPECT_THAT(readers.acquire(), Succeeds()) << "a drain that failed keeps nobody out";
  }
  EXPECT_TRUE(readers.drain(std::chrono::milliseconds(30)).has_value());
  EXPECT_THAT(readers.acquire(), Succeeds());
}

// Opening a connection reads the schema, which is a transaction too.
TEST_F(SqliteReencryptionTest, NoReaderIsBeingOpenedWhileTheWalIsTruncated) {
  store_.create();
  store_.close();
  Database writer = must(Database::open(store_.options().path,
                                        {.vfs_name = store_.options().vfs_name, .create = false}));
  must(writer.execute("CREATE TABLE rounds (n)"));
  CommittedState committed;
  for (int round = 0; round < 100; ++round) {
    ReaderPool readers(store_.options().path, store_.options().vfs_name, 4, committed, *clock_);
    must(writer.execute("INSERT INTO rounds VALUES (1)"));
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] { EXPECT_THAT(readers.acquire(), Succeeds()); });
    for (int i = 0; i < 10; ++i) {
      const ReaderPool::Drained drained = must(readers.drain(std::chrono::seconds(10)));
      ASSERT_THAT(writer.checkpoint_truncate(), Succeeds()) << "round " << round;
    }
  }
}

// ---- What is left in the files ----

TEST_F(SqliteReencryptionTest, NothingSupersededIsLeftInTheFilesAfterARekey) {
  store_.create();
  std::mt19937 random(5);
  std::vector<Bytes> superseded;
  std::vector<int> order(400);
  for (int i = 0; i < 400; ++i) order[static_cast<std::size_t>(i)] = i;
  std::ranges::shuffle(order, random);
  const auto remember = [&](int i) {
    const SealedEntry entry = must(store_->get(numbered(i)));
    const ByteView blob = entry.blob;
    // The middle of the ciphertext, and its end.
    for (const ByteView part : {blob.subspan(40, 16), blob.last(16)})
      superseded.emplace_back(part.begin(), part.end());
  };
  for (int i : order) {
    const std::size_t size = i % 97 == 0 ? kSecretBytesMax : 16 + random() % (i % 3 ? 600 : 30'000);
    store_.put(numbered(i), std::string(size, 'a'));
    if (i % 5 == 0) {
      remember(i);
      store_.put(numbered(i), std::string(20 + random() % 2000, 'b'));
    }
    remember(i);
    if (i % 4 == 0) store_.erase(numbered(i));
  }
  const Bytes old_copy(100, std::byte{1});  // copy_by(kHsm, 1)
  store_.rekey(kNew);
  must(work().purge());
  std::vector<ByteView> needles(superseded.begin(), superseded.end());
  needles.emplace_back(old_copy);
  EXPECT_THAT(must(scan_files_for(directory_.path(), needles)), ::testing::IsEmpty());
  const SealedEntry kept = must(store_->get(numbered(1)));
  const std::vector<ByteView> control{ByteView(kept.blob).subspan(40, 16)};
  EXPECT_THAT(must(scan_files_for(directory_.path(), control)), ::testing::SizeIs(1));
}

// ---- With others at work ----

TEST_F(SqliteReencryptionTest, ReadersAndWritersGoOnDuringARekeyAndSeeOnlyWhatWasWritten) {
  store_.create();
  constexpr int kEntries = 5000;
  store_.fill(kEntries, 100);
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0};
  std::atomic<int> reads{0};
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      Ciphers ciphers;
      while (!stop) {
        const EntryName name = numbered(static_cast<int>(random() % kEntries));
        const Result<SealedEntry> entry = store_->get(name);
        const auto secret = entry ? ciphers.of(entry->key).decrypt(name, *entry)
                                  : Result<SecretBytes>(std::unexpected(entry.error()));
        if (!secret || !text_of(*secret).starts_with(name.text().substr(6) + ":")) ++failures;
        ++reads;
      }
    });
  }
  threads.emplace_back([&] {
    StoreUnderTest& shared = store_;
    Ciphers ciphers;
    std::mt19937 random(9);
    while (!stop) {
      const int i = static_cast<int>(random() % kEntries);
      const KeyTable table = must(shared->keys());
      const SealedEntry found = must(shared->get(numbered(i)));
      EntryChange change{numbered(i), found.version,
                         must(ciphers.of(table.write_key().id)
                                  .encrypt(numbered(i), found.version + 1,
                                           secret_of(std::to_string(i) + ":again")))};
      const Result<void> done = shared->write({&change, 1}, table.generation, {});
      if (!done && done.error().code != ErrorCode::conflict) ++failures;
    }
  });
  for (int round = 2; round < 5; ++round) store_.rekey(key_number(round), 500);
  stop = true;
  threads.clear();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(reads, 100);
  DecryptingVisitor visitor(store_.ciphers());
  must(work().scan(visitor, {}));
  EXPECT_EQ(visitor.under[key_number(4)], kEntries);
  EXPECT_EQ(must(store_->entries_total()), static_cast<std::uint64_t>(kEntries));
}

TEST_F(SqliteReencryptionTest, APutThatRacesTheSwitchNeverLandsUnderTheOldKey) {
  store_.create();
  std::atomic<bool> stop{false};
  std::jthread putter([&] {
    Ciphers ciphers;
    for (int i = 0; !stop; ++i) {
      const KeyTable table = must(store_->keys());
      EntryChange change{
          numbered(i), 0,
          must(ciphers.of(table.write_key().id).encrypt(numbered(i), 1, secret_of("x")))};
      const Result<void> done = store_->write({&change, 1}, table.generation, {});
      if (!done && done.error().code != ErrorCode::conflict) ADD_FAILURE() << done.error().message;
    }
  });
  for (int round = 2; round < 12; ++round) {
    // The scan inside sees every entry under the new key, or the rekey goes back; the store refuses
    // to let a key retire that has entries.
    store_.rekey(key_number(round));
    DecryptingVisitor visitor(store_.ciphers());
    must(work().scan(visitor, {}));
    for (const auto& [key, count] : visitor.under) EXPECT_EQ(key, key_number(round)) << count;
  }
  stop = true;
}

// ---- Disks ----

TEST_F(SqliteReencryptionTest, AFullDiskStopsWritesNotReadsAndGoesByWhenThereIsRoom) {
  BadDisk disk(VfsOperation::write, VfsAnswer::disk_full);
  StoreUnderTest store(directory_.file("full.db"), *clock_, &disk);
  store.create();
  store.fill(500, 100);
  store.change(announce(store.table(), announcement_of(kNew)));
  store.change(begin_reencrypt(store.table(), new_copies(), commitment_of(2), {}));
  const std::uint64_t generation = store.table().generation;
  disk.on = true;
  auto cipher = make_reencryptor(store.ciphers().of(kOld), store.ciphers().of(kNew));
  EXPECT_THAT(store.try_put(name_of("a"), "x"), FailsWith(ErrorCode::exhausted));
  EXPECT_THAT(store->reencryption().run_batch(generation, 1000, *cipher),
              FailsWith(ErrorCode::exhausted));
  EXPECT_THAT(store.try_change(set_paused(store.table(), true)), FailsWith(ErrorCode::exhausted));
  EXPECT_EQ(store.read(numbered(3)).substr(0, 2), "3:");
  EXPECT_EQ(must(store->reencryption().progress()).entries_done, 0u);
  disk.on = false;
  store.put(name_of("a"), "x");
  store.rekey(kNew);
  EXPECT_EQ(store.read(name_of("a")), "x");
  EXPECT_EQ(must(store->entries_total()), 501u);
}

TEST_F(SqliteReencryptionTest, AfterAFailedSyncNothingIsWrittenOrPurgedUntilItIsReopened) {
  BadDisk disk(VfsOperation::sync, VfsAnswer::fail);
  StoreUnderTest store(directory_.file("sync.db"), *clock_, &disk);
  store.create();
  store.put(name_of("a"), "alpha");
  disk.on = true;
  EXPECT_THAT(store.try_put(name_of("b"), "beta"), FailsWith(ErrorCode::io));
  disk.on = false;
  EXPECT_THAT(store.try_put(name_of("c"), "x"), FailsNaming(ErrorCode::io, "restart the daemon"));
  EXPECT_THAT(store->reencryption().purge(), FailsNaming(ErrorCode::io, "sync"));
  EXPECT_THAT(store.try_change(announce(store.table(), announcement_of(kNew))),
              FailsWith(ErrorCode::io));
  EXPECT_EQ(store.read(name_of("a")), "alpha");
  store.close();
  store.open();
  store.put(name_of("c"), "gamma");
  store.rekey(kNew);
  EXPECT_EQ(store.read(name_of("a")), "alpha");
}

}  // namespace
}  // namespace keyward::store
