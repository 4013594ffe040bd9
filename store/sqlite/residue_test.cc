#include "store/sqlite/residue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "store/self_check.h"
#include "store/sqlite/files.h"
#include "store/sqlite/keystore_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ResidueTest : public ::testing::Test {
 protected:
  // Deletes and replaces, so that pages get gaps and others are freed.
  void churn(StoreUnderTest& store) {
    store.create();
    store.fill(60, 3000);
    for (int i = 0; i < 60; ++i)
      if (i < 20 || i % 2 == 0) store.erase(numbered(i));
    for (int i = 21; i < 60; i += 4) store.put(numbered(i), std::string(900, 'y'));
    must(store->reencryption().purge());
  }
  static std::vector<std::string> residue_of(StoreUnderTest& store) {
    auto& self = dynamic_cast<SelfCheck&>(store.store());
    return must(self.find_residue({}));
  }
  // The number of a freed page, as the file says itself.
  std::uint32_t freed_page() {
    Database database = must(Database::open(path_, {}));
    Bytes page(kPageBytes);
    EXPECT_TRUE(must(database.read_page(1, page)));
    const auto u32 = [&](std::size_t at) {
      std::uint32_t value = 0;
      for (std::size_t i = 0; i < 4; ++i)
        value = value << 8 | std::to_integer<std::uint32_t>(page[at + i]);
      return value;
    };
    EXPECT_TRUE(must(database.read_page(u32(32), page)));
    return u32(4) == 0 ? 0 : u32(8);
  }
  void write_at(std::uint64_t offset, std::string_view bytes) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }

  TestDirectory directory_;
  std::string path_ = directory_.file("S3.db");
  std::unique_ptr<Clock> clock_ = real_clock();
};

TEST_F(ResidueTest, NothingIsLeftByDeletesReplacementsAndARekey) {
  StoreUnderTest store(path_, *clock_);
  churn(store);
  EXPECT_THAT(residue_of(store), IsEmpty());
  store.rekey(kNew);
  must(store->reencryption().purge());
  EXPECT_THAT(residue_of(store), IsEmpty());
}

TEST_F(ResidueTest, NothingIsReportedWhileTheWalHoldsNewerPages) {
  StoreUnderTest store(path_, *clock_);
  churn(store);
  for (int i = 21; i < 60; i += 2) store.erase(numbered(i));
  EXPECT_THAT(residue_of(store), IsEmpty());
}

TEST_F(ResidueTest, PagesThatKeepDeletedBytesAreReported) {
  {
    // As a program without our layer between SQLite and the file would leave them.
    const std::unique_ptr<Vfs> careless = must(Vfs::create({.zero_gaps = false}));
    StoreUnderTest store(path_, *clock_);
    SqliteKeystoreOptions options = store.options();
    options.vfs_name = careless->name();
    auto keystore = must(create_sqlite_keystore(options, idle_table(), {}));
    std::vector<EntryChange> changes;
    for (int i = 0; i < 60; ++i)
      changes.push_back({numbered(i), 0,
                         must(store.ciphers().of(kOld).encrypt(
                             numbered(i), 1, secret_of(std::string(3000, 'x'))))});
    must(keystore->write(changes, 1, {}));
    must(keystore->reencryption().purge());
    for (EntryChange& change : changes) change = {change.name, 1, std::nullopt};
    must(keystore->write(std::span(changes).first(7), 1, {}));
    must(keystore->reencryption().purge());
  }
  StoreUnderTest store(path_, *clock_);
  store.open();
  EXPECT_THAT(residue_of(store), ElementsAre(HasSubstr("deleted or replaced")));
}

TEST_F(ResidueTest, AFreedPageThatWasNotErasedIsReported) {
  StoreUnderTest store(path_, *clock_);
  churn(store);
  store.close();
  const std::uint32_t page = freed_page();
  ASSERT_NE(page, 0u);
  write_at((std::uint64_t{page} - 1) * kPageBytes + 5000, "old ciphertext");
  store.open();
  const auto found = residue_of(store);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_THAT(found.front(), HasSubstr("1 freed pages were not erased"));
  EXPECT_THAT(found.front(), HasSubstr(std::to_string(page)));
}

TEST_F(ResidueTest, CopiesBesideTheFileAreReportedAndItsOwnFilesAreNot) {
  StoreUnderTest store(path_, *clock_);
  store.create();
  store.put(name_of("a"), "alpha");
  std::ofstream(path_ + ".bak") << "x";
  std::ofstream(path_ + "-journal") << "x";
  must(mark_unsynced(path_));
  EXPECT_THAT(residue_of(store), ElementsAre(HasSubstr("S3.db-journal"), HasSubstr("S3.db.bak")));
}

TEST_F(ResidueTest, AStopIsHeard) {
  StoreUnderTest store(path_, *clock_);
  store.create();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THAT(dynamic_cast<SelfCheck&>(store.store()).find_residue(stop.get_token()),
              FailsWith(ErrorCode::cancelled));
}

}  // namespace
}  // namespace keyward::store
