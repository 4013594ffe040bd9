#include "store/sqlite/sqlite_control_store.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "store/sqlite/power_cut.h"
#include "store/sqlite/test_support.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;

class SqliteControlStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(SqliteControlStore::create(path_, *vfs_, kFormatCurrent), Succeeds());
    store_ = open(*vfs_);
  }

  std::unique_ptr<SqliteControlStore> open(const Vfs& vfs) {
    auto store = SqliteControlStore::open(path_, vfs, clock_);
    EXPECT_THAT(store, Succeeds());
    return *std::move(store);
  }

  void reopen(VfsHook* hook) {
    store_.reset();
    vfs_ = *Vfs::create({.hook = hook});
    store_ = open(*vfs_);
  }

  std::uint64_t save(const std::string& name, const std::string& json, std::uint64_t version = 0) {
    const AuditRecord record = record_of("setting.save");
    const auto saved = store_->save({name, version, json}, {&record, 1});
    EXPECT_THAT(saved, Succeeds());
    return saved.value_or(0);
  }

  TestDirectory directory_;
  std::string path_ = directory_.file("control.db");
  VirtualClock clock_{UtcTime(std::chrono::milliseconds(1'700'000'000'000))};
  std::unique_ptr<Vfs> vfs_ = *Vfs::create({});
  std::unique_ptr<SqliteControlStore> store_;
  const AuditRecord record_ = record_of("setting.save");
};

TEST_F(SqliteControlStoreTest, DocumentComesBackAsSaved) {
  const std::uint64_t version = save("schedule/cluster", R"({"rotation":"2M"})");
  const auto loaded = store_->load("schedule/cluster");
  ASSERT_THAT(loaded, Succeeds());
  EXPECT_EQ(loaded->name, "schedule/cluster");
  EXPECT_EQ(loaded->version, version);
  EXPECT_EQ(loaded->json, R"({"rotation":"2M"})");
  EXPECT_THAT(store_->load("schedule/sed"), FailsWith(ErrorCode::not_found));
}

TEST_F(SqliteControlStoreTest, SaveOfAnotherVersionConflictsAndLeavesNoAuditRecord) {
  const std::uint64_t first = save("a", "1");
  const std::uint64_t second = save("a", "2", first);
  EXPECT_GT(second, first);
  for (const std::uint64_t version : {std::uint64_t{0}, first, second + 1}) {
    EXPECT_THAT(store_->save({"a", version, "3"}, {&record_, 1}), FailsWith(ErrorCode::conflict));
  }
  EXPECT_THAT(store_->save({"b", 7, "3"}, {&record_, 1}), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(store_->load("a")->json, "2");
  EXPECT_EQ(store_->audit_trail().verify()->sequence, 2u);
}

TEST_F(SqliteControlStoreTest, DocumentMadeAnewNeverHasAnEarlierVersion) {
  const std::uint64_t first = save("a", "1");
  ASSERT_THAT(store_->remove({"a", first, ""}, {&record_, 1}), Succeeds());
  save("a", "2");
  EXPECT_THAT(store_->save({"a", first, "stale"}, {}), FailsWith(ErrorCode::conflict));
}

TEST_F(SqliteControlStoreTest, RemoveNeedsTheRightVersion) {
  const std::uint64_t version = save("a", "1");
  EXPECT_THAT(store_->remove({"a", version + 1, ""}, {&record_, 1}),
              FailsWith(ErrorCode::conflict));
  EXPECT_THAT(store_->remove({"b", 1, ""}, {&record_, 1}), FailsWith(ErrorCode::not_found));
  EXPECT_THAT(store_->remove({"a", version, ""}, {&record_, 1}), Succeeds());
  EXPECT_THAT(store_->load("a"), FailsWith(ErrorCode::not_found));
  EXPECT_EQ(store_->audit_trail().verify()->sequence, 2u);
}

TEST_F(SqliteControlStoreTest, ListShowsNamesWithThePrefixInOrder) {
  for (const char* name : {"kmip/b", "kmip/a", "kmip", "kmiq", "kmip/c", "history/1"})
    save(name, "");
  const auto names = [&](std::string_view prefix, std::string_view after, std::size_t count) {
    std::vector<std::string> found;
    const auto documents = store_->list(prefix, after, count);
    EXPECT_THAT(documents, Succeeds());
    for (const Document& document : *documents) found.push_back(document.name);
    return found;
  };
  EXPECT_THAT(names("kmip/", "", 10), testing::ElementsAre("kmip/a", "kmip/b", "kmip/c"));
  EXPECT_THAT(names("kmip/", "kmip/a", 1), testing::ElementsAre("kmip/b"));
  EXPECT_THAT(names("", "kmip/b", 10), testing::ElementsAre("kmip/c", "kmiq"));
  EXPECT_THAT(names("none/", "", 10), testing::ElementsAre());
}

TEST_F(SqliteControlStoreTest, OddNamesAreRefusedOrKeptApart) {
  EXPECT_THAT(store_->save({"", 0, ""}, {}), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(store_->save({std::string(513, 'x'), 0, ""}, {}),
              FailsWith(ErrorCode::invalid_argument));
  save(std::string("a\0b", 3), "1");
  save("a", "2");
  EXPECT_EQ(store_->load(std::string("a\0b", 3))->json, "1");
  EXPECT_EQ(store_->load("a")->json, "2");
}

TEST_F(SqliteControlStoreTest, EverythingIsThereAfterReopening) {
  const std::uint64_t version = save("a", "1");
  reopen(nullptr);
  EXPECT_EQ(store_->load("a")->version, version);
  EXPECT_EQ(store_->audit_trail().verify()->sequence, 1u);
}

TEST_F(SqliteControlStoreTest, WalStaysShortOverManySaves) {
  const std::string json(100'000, 'x');
  std::uint64_t version = 0;
  for (int i = 0; i < 100; ++i) version = save("a", json, version);
  EXPECT_LT(std::filesystem::file_size(path_ + "-wal"), 5u << 20);
}

TEST_F(SqliteControlStoreTest, ThreadsThatSaveTheSameDocumentLoseNoUpdate) {
  save("count", "0");
  const auto raise = [&] {
    for (int done = 0; done < 20;) {
      Document document = *store_->load("count");
      document.json = std::to_string(std::stoi(document.json) + 1);
      const auto saved = store_->save(document, {&record_, 1});
      EXPECT_TRUE(saved || saved.error().code == ErrorCode::conflict);
      if (saved) ++done;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(raise);
  }
  EXPECT_EQ(store_->load("count")->json, "80");
  EXPECT_EQ(store_->audit_trail().verify()->sequence, 81u);
}

TEST_F(SqliteControlStoreTest, FullDiskIsExhaustedAndSavingGoesOnWhenThereIsRoom) {
  const std::uint64_t version = save("a", "1");
  VfsFault fault(1, VfsAnswer::disk_full, VfsFault::Lasts::from_then_on, VfsOperation::write);
  reopen(&fault);
  EXPECT_THAT(store_->save({"a", version, "2"}, {&record_, 1}), FailsWith(ErrorCode::exhausted));
  EXPECT_THAT(store_->audit_trail().append({&record_, 1}), FailsWith(ErrorCode::exhausted));
  EXPECT_EQ(store_->load("a")->json, "1");
  fault.repair();
  EXPECT_THAT(store_->save({"a", version, "2"}, {&record_, 1}), Succeeds());
}

TEST_F(SqliteControlStoreTest, FailedSyncMakesItReopenAndCheckItself) {
  save("a", "1");
  VfsFault fault(SIZE_MAX, VfsAnswer::fail, VfsFault::Lasts::once, VfsOperation::sync);
  reopen(&fault);
  fault.fail_next();
  EXPECT_THAT(store_->save({"b", 0, "2"}, {&record_, 1}), FailsWith(ErrorCode::io));
  EXPECT_EQ(store_->load("a")->json, "1");
  EXPECT_EQ(std::filesystem::file_size(path_ + "-wal"), 0u) << "it was not written through";
  const auto after = store_->load("b");
  const std::uint64_t version = after ? after->version : 0;
  EXPECT_THAT(store_->save({"b", version, "3"}, {&record_, 1}), Succeeds());
}

// The document and its record are one: after each failure both are old or both are new, and what
// was acknowledged is new.
void expect_old_or_new(const std::string& path, bool acknowledged, std::size_t n) {
  VirtualClock clock{UtcTime{}};
  const std::unique_ptr<Vfs> vfs = *Vfs::create({});
  auto store = SqliteControlStore::open(path, *vfs, clock);
  ASSERT_THAT(store, Succeeds()) << "change " << n;
  const auto document = (*store)->load("a");
  ASSERT_THAT(document, Succeeds()) << "change " << n;
  const auto head = (*store)->audit_trail().verify();
  ASSERT_THAT(head, Succeeds()) << "change " << n;
  const bool is_new = document->json == "new";
  EXPECT_TRUE(is_new || (document->json == "old" && !acknowledged)) << "change " << n;
  EXPECT_EQ(head->sequence, is_new ? 2u : 1u) << "change " << n;
}

Result<void> save_once(const std::string& path, VfsHook* hook, const char* json,
                       std::uint64_t version) {
  VirtualClock clock{UtcTime{}};
  const std::unique_ptr<Vfs> vfs = TRY(Vfs::create({.hook = hook}));
  auto store = TRY(SqliteControlStore::open(path, *vfs, clock));
  const AuditRecord record = record_of("setting.save");
  TRY(store->save({"a", version, json}, {&record, 1}));
  return {};
}

std::string store_with_old(const TestDirectory& directory) {
  const std::string path = directory.file("control.db");
  const std::unique_ptr<Vfs> vfs = *Vfs::create({});
  EXPECT_THAT(SqliteControlStore::create(path, *vfs, kFormatCurrent), Succeeds());
  EXPECT_THAT(save_once(path, nullptr, "old", 0), Succeeds());
  return path;
}

TEST(SqliteControlStoreFaults, SaveIsOldOrNewWhicheverChangeFails) {
  for (const VfsAnswer answer :
       {VfsAnswer::fail, VfsAnswer::fail_after, VfsAnswer::tear, VfsAnswer::disk_full}) {
    for (std::size_t n = 1;; ++n) {
      const TestDirectory directory;
      const std::string path = store_with_old(directory);
      VfsFault fault(n, answer, VfsFault::Lasts::from_then_on);
      const bool acknowledged = save_once(path, &fault, "new", 1).has_value();
      expect_old_or_new(path, acknowledged, n);
      if (!fault.has_fired()) {
        EXPECT_GT(n, 2u);
        break;
      }
    }
  }
}

TEST(SqliteControlStoreFaults, SaveIsOldOrNewWheneverThePowerGoes) {
  for (std::size_t n = 1;; ++n) {
    const TestDirectory directory;
    const std::string path = store_with_old(directory);
    PowerCut power(directory.path(), n);
    const bool acknowledged = save_once(path, &power, "new", 1).has_value();
    for (const LossModel loss : kLossModels) {
      for (const std::uint64_t seed : {1u, 2u, 3u}) {
        const TestDirectory after;
        ASSERT_THAT(power.materialise(loss, seed, after.path()), Succeeds());
        expect_old_or_new(after.file("control.db"), acknowledged, n);
      }
    }
    if (!power.has_cut()) {
      EXPECT_TRUE(acknowledged);
      break;
    }
  }
}

TEST(SqliteControlStoreFaults, CreateIsWholeOrNotThereWhicheverChangeFails) {
  for (std::size_t n = 1;; ++n) {
    const TestDirectory directory;
    const std::string path = directory.file("control.db");
    VfsFault fault(n, VfsAnswer::fail, VfsFault::Lasts::from_then_on);
    {
      const std::unique_ptr<Vfs> vfs = *Vfs::create({.hook = &fault});
      const bool made = SqliteControlStore::create(path, *vfs, kFormatCurrent).has_value();
      EXPECT_EQ(std::filesystem::exists(path), made) << "change " << n;
    }
    if (!std::filesystem::exists(path)) {
      const std::unique_ptr<Vfs> vfs = *Vfs::create({});
      ASSERT_THAT(SqliteControlStore::create(path, *vfs, kFormatCurrent), Succeeds());
    }
    EXPECT_THAT(save_once(path, nullptr, "first", 0), Succeeds());
    if (!fault.has_fired()) break;
  }
}

TEST_F(SqliteControlStoreTest, NewerFormatIsRefusedWithWhatIsNeeded) {
  store_.reset();
  {
    Database database = *Database::open(path_, {});
    ASSERT_THAT(write_format(database, {7, 5}), Succeeds());
  }
  EXPECT_THAT(SqliteControlStore::open(path_, *vfs_, clock_),
              FailsNaming(ErrorCode::unsupported, "reader version 5 or newer"));
}

TEST_F(SqliteControlStoreTest, NewerFormatForReadersLikeThisOneIsOpened) {
  store_.reset();
  {
    Database database = *Database::open(path_, {});
    ASSERT_THAT(write_format(database, {7, kReaderVersion}), Succeeds());
  }
  EXPECT_THAT(SqliteControlStore::open(path_, *vfs_, clock_), Succeeds());
}

TEST_F(SqliteControlStoreTest, ForeignDatabaseIsRefused) {
  const std::string path = directory_.file("foreign.db");
  { ASSERT_THAT(Database::open(path, {.create = true}), Succeeds()); }
  EXPECT_THAT(SqliteControlStore::open(path, *vfs_, clock_), FailsWith(ErrorCode::corrupt));
}

TEST_F(SqliteControlStoreTest, UpgradeChangesTheFormatOnceWithItsRecord) {
  store_.reset();
  const std::string old = directory_.file("old.db");
  ASSERT_THAT(SqliteControlStore::create(old, *vfs_, kFormatWithoutRekey), Succeeds());
  auto store = *SqliteControlStore::open(old, *vfs_, clock_);
  EXPECT_EQ(*store->format(), kFormatWithoutRekey);
  for (int round = 0; round < 2; ++round) {
    ASSERT_THAT(store->upgrade(kFormatCurrent, {&record_, 1}), Succeeds());
    EXPECT_EQ(*store->format(), kFormatCurrent);
    EXPECT_EQ(store->audit_trail().verify()->sequence, 1u);
  }
}

}  // namespace
}  // namespace keyward::store
