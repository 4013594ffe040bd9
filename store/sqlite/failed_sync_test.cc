// What a failed sync means for whoever opens the keystore next.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "store/self_check.h"
#include "store/sqlite/database.h"
#include "store/sqlite/files.h"
#include "store/sqlite/keystore_test_support.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;

class FailedSyncTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_.create();
    store_.fill(40, 2000);
    disk_.fail_next();
    EXPECT_THAT(store_.try_put(name_of("b"), "beta"), FailsWith(ErrorCode::io));
    disk_.repair();
    store_.close();
  }
  // Without anybody who would verify it.
  std::unique_ptr<Keystore> open() { return must(open_sqlite_keystore(store_.options())); }
  static SelfCheck& self(Keystore& keystore) { return dynamic_cast<SelfCheck&>(keystore); }

  TestDirectory directory_;
  std::string path_ = directory_.file("S3.db");
  std::unique_ptr<Clock> clock_ = real_clock();
  VfsFault disk_{std::numeric_limits<std::size_t>::max(), VfsAnswer::fail,
                 VfsFault::Lasts::from_then_on, VfsOperation::sync};
  StoreUnderTest store_{path_, *clock_, &disk_};
};

TEST_F(FailedSyncTest, IsRememberedUntilSomebodyVerifiesEveryEntry) {
  for (int start = 0; start < 2; ++start) {
    const auto keystore = open();
    EXPECT_TRUE(self(*keystore).is_suspect()) << "at start " << start;
    EXPECT_THAT(keystore->get(numbered(3)), Succeeds());
    EXPECT_THAT(keystore->change_keys(1, idle_table(), {}),
                FailsNaming(ErrorCode::io, "not yet verified"));
    EXPECT_THAT(keystore->reencryption().purge(), FailsWith(ErrorCode::io));
  }
  store_.open();  // Verifies.
  EXPECT_FALSE(self(store_.store()).is_suspect());
  store_.put(name_of("b"), "beta");
  store_.close();
  EXPECT_FALSE(self(*open()).is_suspect());
}

TEST_F(FailedSyncTest, IsNotForgottenWhereEntriesAreMissing) {
  {
    Database database = must(Database::open(path_, {}));
    must(database.execute("DELETE FROM payload WHERE id = 7; DELETE FROM names WHERE id = 7"));
  }
  const auto keystore = open();
  EXPECT_THAT(self(*keystore).trust(), FailsWith(ErrorCode::corrupt));
  EXPECT_TRUE(self(*keystore).is_suspect());
}

TEST_F(FailedSyncTest, AFileThatDoesNotHangTogetherIsNotOpened) {
  ASSERT_THAT(open(), testing::NotNull());  // Brings the WAL home.
  {
    // The last page, as when the disk never got it: entries are in there.
    const auto last = static_cast<std::streamoff>(std::filesystem::file_size(path_) - kPageBytes);
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(last);
    file << std::string(kPageBytes, '\0');
  }
  EXPECT_THAT(open_sqlite_keystore(store_.options()), FailsWith(ErrorCode::corrupt));
  must(clear_unsynced(path_));
  EXPECT_THAT(open_sqlite_keystore(store_.options()), Succeeds())
      << "the file is checked only after a failed sync, and this shows that it was that check";
}

TEST_F(FailedSyncTest, WhileItIsOpenedIsRememberedToo) {
  store_.open();
  store_.put(name_of("c"), "gamma");
  store_.close();
  VfsFault broken(1, VfsAnswer::fail, VfsFault::Lasts::from_then_on, VfsOperation::sync);
  StoreUnderTest again(path_, *clock_, &broken);
  EXPECT_THAT(again.try_open(), FailsWith(ErrorCode::io));
  EXPECT_TRUE(must(is_marked_unsynced(path_)));
  store_.open();
  EXPECT_FALSE(must(is_marked_unsynced(path_)));
  EXPECT_EQ(store_.read(name_of("c")), "gamma");
}

TEST_F(FailedSyncTest, GoesWithTheKeystoreThatIsRemoved) {
  ASSERT_TRUE(must(is_marked_unsynced(path_)));
  must(remove_database(path_));
  EXPECT_FALSE(must(is_marked_unsynced(path_)));
  store_.create();
  store_.put(name_of("a"), "alpha");
}

}  // namespace
}  // namespace keyward::store
