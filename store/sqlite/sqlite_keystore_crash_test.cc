// Every change of a file is once the last one before the power goes, or the one that fails.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "store/sqlite/keystore_test_support.h"
#include "store/sqlite/power_cut.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;

constexpr int kEntries = 16;
// Instrumented runs look for races and bad memory accesses; every fourth change is enough for that.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStride = 4;
#else
constexpr std::size_t kStride = 1;
#endif

// What clients were told, entry by entry.
struct Acknowledged {
  std::map<std::string, std::string> values;
  // The put whose answer was an error: it may have happened or not.
  std::optional<std::pair<std::string, std::string>> in_doubt;
};

// A rekey with puts between its steps; ends at the first error.
Result<void> run(StoreUnderTest& store, Acknowledged& told) {
  int round = 0;
  do {
    TRY(store.try_rekey_step(kNew, 7));
    const EntryName name = numbered(round % kEntries);
    const std::string text = "round " + std::to_string(round++);
    told.in_doubt = {name.text(), text};
    TRY(store.try_put(name, text));
    told.values[name.text()] = text;
    told.in_doubt.reset();
  } while (TRY(store->keys()).rekey);
  return {};
}

void check(StoreUnderTest& store, const Acknowledged& told) {
  for (const auto& [name, text] : told.values) {
    const Result<std::string> found = store.try_read(name_of(name));
    ASSERT_THAT(found, Succeeds()) << name;
    const bool doubtful = told.in_doubt && told.in_doubt->first == name;
    EXPECT_TRUE(*found == text || (doubtful && *found == told.in_doubt->second))
        << name << " is " << *found << ", acknowledged was " << text;
  }
}

class SqliteKeystoreCrashTest : public ::testing::Test {
 protected:
  void SetUp() override {
    StoreUnderTest store(directory_.file("base.db"), *clock_);
    store.create();
    store.fill(kEntries, 300);
    for (int i = 0; i < kEntries; ++i) filled_.values[numbered(i).text()] = store.read(numbered(i));
    must(store->reencryption().purge());  // So that the one file holds all.
  }
  std::string fresh(const std::string& name) {
    const std::string path = directory_.file(name);
    std::filesystem::remove_all(path);
    std::filesystem::create_directory(path);
    return path;
  }
  std::string copy_of_base() {
    const std::string path = fresh("run");
    std::filesystem::copy_file(directory_.file("base.db"), path + "/S3.db");
    return path;
  }
  // Opens what was left, checks every promise, and takes the rekey to its end.
  void recover(const std::string& path, const Acknowledged& told) {
    StoreUnderTest store(path, *clock_);
    ASSERT_THAT(store.try_open(), Succeeds());
    check(store, told);
    if (store.table().rekey) {
      ASSERT_THAT(store.try_rekey(kNew, 100), Succeeds());
    }
    check(store, told);
    DecryptingVisitor visitor(store.ciphers());
    ASSERT_THAT(store->reencryption().scan(visitor, {}), Succeeds());
    EXPECT_EQ(visitor.under[store.table().current().id], kEntries);
    EXPECT_EQ(must(store->entries_total()), static_cast<std::uint64_t>(kEntries));
    must(store->audit_trail().verify());
  }

  TestDirectory directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  Acknowledged filled_;
};

TEST_F(SqliteKeystoreCrashTest, ThePowerGoesAtAnyChangeAndNothingAcknowledgedIsLost) {
  std::size_t cuts = 0;
  for (std::size_t n = 1;; n += kStride) {
    const std::string path = copy_of_base();
    PowerCut power(path, n);
    Acknowledged told = filled_;
    {
      StoreUnderTest store(path + "/S3.db", *clock_, &power);
      if (store.try_open()) {
        const Result<void> ended = run(store, told);
        EXPECT_EQ(ended.has_value(), !power.has_cut());
      }
    }
    if (!power.has_cut()) break;
    ++cuts;
    for (LossModel loss : kLossModels) {
      SCOPED_TRACE("cut at " + std::to_string(n) + ", loss " +
                   std::to_string(static_cast<int>(loss)));
      const std::string after = fresh("after");
      must(power.materialise(loss, n, after));
      recover(after + "/S3.db", told);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(cuts * kStride, 100u);
}

TEST_F(SqliteKeystoreCrashTest, AnyChangeFailsOnceAndTheStoreStaysWholeAndFinishesWhenReopened) {
  for (VfsAnswer answer : {VfsAnswer::fail, VfsAnswer::fail_after, VfsAnswer::disk_full}) {
    for (std::size_t n = 1;; n += kStride) {
      SCOPED_TRACE("answer " + std::to_string(static_cast<int>(answer)) + " at " +
                   std::to_string(n));
      const std::string path = copy_of_base() + "/S3.db";
      VfsFault fault(n, answer);
      Acknowledged told = filled_;
      {
        StoreUnderTest store(path, *clock_, &fault);
        if (store.try_open()) {
          static_cast<void>(run(store, told));
          check(store, told);
        }
      }
      recover(path, told);
      if (HasFatalFailure()) return;
      if (!fault.has_fired()) break;
    }
  }
}

TEST_F(SqliteKeystoreCrashTest, ACreationThatFailsAnywhereLeavesNothingInTheWay) {
  for (std::size_t n = 1;; n += kStride) {
    SCOPED_TRACE(n);
    const std::string path = fresh("created") + "/S3.db";
    VfsFault fault(n, VfsAnswer::fail);
    bool created = false;
    {
      StoreUnderTest store(path, *clock_, &fault);
      created = store.try_create().has_value();
    }
    if (!fault.has_fired()) break;
    StoreUnderTest store(path, *clock_);
    if (created || std::filesystem::exists(path)) {
      ASSERT_THAT(store.try_open(), Succeeds());
    } else {
      ASSERT_THAT(store.try_create(), Succeeds());
    }
    store.put(name_of("a"), "alpha");
    EXPECT_EQ(store.read(name_of("a")), "alpha");
  }
}

}  // namespace
}  // namespace keyward::store
