#include "store/sqlite/power_cut.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "base/text.h"
#include "store/sqlite/database.h"
#include "store/sqlite/test_support.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class PowerCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(file_, std::ios::binary) << std::string(1024, 'o');
    power_.emplace(directory_.path(), 0);
  }

  void write(std::uint64_t offset, const std::string& data) {
    EXPECT_EQ(power_->before({.operation = VfsOperation::write,
                              .path = file_,
                              .offset = offset,
                              .size = data.size(),
                              .data = as_bytes(data)}),
              VfsAnswer::proceed);
  }
  void truncate(std::uint64_t size) {
    power_->before({.operation = VfsOperation::truncate, .path = file_, .offset = size});
  }
  void sync() { power_->before({.operation = VfsOperation::sync, .path = file_}); }

  std::string after(LossModel loss, std::uint64_t seed = 1) {
    const TestDirectory destination;
    EXPECT_THAT(power_->materialise(loss, seed, destination.path()), Succeeds());
    return content_of(destination.file("x.db"));
  }

  TestDirectory directory_;
  std::string file_ = directory_.file("x.db");
  std::optional<PowerCut> power_;
};

TEST_F(PowerCutTest, KeepsOrLosesWhatWasNotSynced) {
  write(512, std::string(1024, 'n'));
  EXPECT_EQ(after(LossModel::unsynced_lost), std::string(1024, 'o'));
  EXPECT_EQ(after(LossModel::all_kept), std::string(512, 'o') + std::string(1024, 'n'));
  sync();
  EXPECT_EQ(after(LossModel::unsynced_lost), std::string(512, 'o') + std::string(1024, 'n'));
}

TEST_F(PowerCutTest, TruncationThatWasNotSyncedMayComeBack) {
  truncate(0);
  EXPECT_EQ(after(LossModel::unsynced_lost).size(), 1024u);
  EXPECT_EQ(after(LossModel::all_kept).size(), 0u);
  sync();
  EXPECT_EQ(after(LossModel::unsynced_lost).size(), 0u);
}

TEST_F(PowerCutTest, TearsAtSectorsAndDifferentlyWithEachSeed) {
  write(0, std::string(1024, 'n'));
  std::set<std::string> seen;
  for (std::uint64_t seed = 0; seed < 32; ++seed)
    seen.insert(after(LossModel::unsynced_torn, seed));
  const std::string o(512, 'o');
  const std::string n(512, 'n');
  EXPECT_EQ(seen, (std::set<std::string>{o + o, o + n, n + o, n + n}));
}

TEST_F(PowerCutTest, NothingSucceedsAfterTheCut) {
  power_->cut();
  for (const VfsOperation operation : {VfsOperation::open, VfsOperation::write, VfsOperation::sync,
                                       VfsOperation::truncate, VfsOperation::remove})
    EXPECT_EQ(power_->before({.operation = operation, .path = file_}), VfsAnswer::fail);
  EXPECT_TRUE(power_->has_cut());
}

TEST_F(PowerCutTest, CommitWithoutSyncIsLostAndWithSyncKept) {
  const TestDirectory directory;
  PowerCut power(directory.path(), 0);
  const std::unique_ptr<Vfs> vfs = *Vfs::create({.hook = &power});
  Database database =
      *Database::open(directory.file("x.db"), {.vfs_name = vfs->name(), .create = true});
  ASSERT_THAT(database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)"), Succeeds());
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (1)"), Succeeds());
  ASSERT_THAT(database.set_synchronous(Synchronous::normal), Succeeds());
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (2)"), Succeeds());
  const auto rows = [&](LossModel loss) {
    const TestDirectory destination;
    EXPECT_THAT(power.materialise(loss, 1, destination.path()), Succeeds());
    Database found = *Database::open(destination.file("x.db"), {});
    EXPECT_THAT(found.check_integrity(), Succeeds());
    Statement count = *found.prepare("SELECT count(*) FROM t");
    EXPECT_TRUE(*count.step());
    return count.integer(0);
  };
  EXPECT_EQ(rows(LossModel::all_kept), 2);
  EXPECT_EQ(rows(LossModel::unsynced_lost), 1);
}

}  // namespace
}  // namespace keyward::store
