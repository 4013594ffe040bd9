#include "store/sqlite/vfs.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>
#include <set>

#include "store/sqlite/database.h"
#include "store/sqlite/page_scanner.h"
#include "store/sqlite/test_support.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;

constexpr std::size_t kPage = 1024;

Bytes leaf_page(std::size_t header, std::uint8_t type, std::size_t cells, std::size_t content) {
  Bytes page(kPage, std::byte{0xaa});
  const auto put = [&](std::size_t at, std::size_t value) {
    page[at] = static_cast<std::byte>(value >> 8);
    page[at + 1] = static_cast<std::byte>(value & 0xff);
  };
  page[header] = std::byte{type};
  put(header + 1, 0);
  put(header + 3, cells);
  put(header + 5, content);
  return page;
}

std::size_t zeros(const Bytes& page, std::size_t from, std::size_t to) {
  return static_cast<std::size_t>(std::count(page.begin() + static_cast<std::ptrdiff_t>(from),
                                             page.begin() + static_cast<std::ptrdiff_t>(to),
                                             std::byte{0}));
}

TEST(ZeroUnusedBytes, ClearsExactlyTheGapOfEachKindOfPage) {
  for (const auto& [type, header_size] : {std::pair{2, 12u}, {5, 12u}, {10, 8u}, {13, 8u}}) {
    for (const std::uint64_t number : {1u, 2u}) {
      const std::size_t header = number == 1 ? 100 : 0;
      Bytes page = leaf_page(header, static_cast<std::uint8_t>(type), 3, 700);
      const Bytes before = page;
      EXPECT_FALSE(has_clean_unused_bytes(page, number));
      zero_unused_bytes(page, number);
      EXPECT_TRUE(has_clean_unused_bytes(page, number));
      const std::size_t gap = header + header_size + 6;
      EXPECT_EQ(zeros(page, gap, 700), 700 - gap) << "type " << type;
      EXPECT_TRUE(std::equal(page.begin(), page.begin() + static_cast<std::ptrdiff_t>(gap),
                             before.begin()));
      EXPECT_TRUE(std::equal(page.begin() + 700, page.end(), before.begin() + 700));
    }
  }
}

TEST(ZeroUnusedBytes, ClearsTheInsideOfFreeBlocksOnly) {
  Bytes page = leaf_page(0, 13, 1, 700);
  page[1] = std::byte{3};  // The first free block lies at 800 (0x320), 40 bytes long, the last.
  page[2] = std::byte{0x20};
  page[800] = page[801] = page[802] = std::byte{0};
  page[803] = std::byte{40};
  zero_unused_bytes(page, 2);
  page[839] = std::byte{1};
  EXPECT_FALSE(has_clean_unused_bytes(page, 2));
  zero_unused_bytes(page, 2);
  EXPECT_TRUE(has_clean_unused_bytes(page, 2));
  EXPECT_EQ(page[803], std::byte{40});
  EXPECT_EQ(zeros(page, 804, 840), 36u);
  EXPECT_EQ(zeros(page, 840, kPage), 0u);
}

TEST(ZeroUnusedBytes, LeavesOtherPagesAndSenselessHeadersAlone) {
  for (Bytes page : {leaf_page(0, 0, 3, 700), leaf_page(0, 1, 3, 700), leaf_page(0, 13, 3, 2000),
                     leaf_page(0, 13, 400, 700)}) {
    const Bytes before = page;
    zero_unused_bytes(page, 2);
    EXPECT_EQ(page, before);
  }
}

TEST(ZeroUnusedBytes, EndsOnFreeBlocksThatRunInACircle) {
  Bytes page = leaf_page(0, 13, 1, 700);
  page[1] = std::byte{3};
  page[2] = std::byte{0x20};
  page[800] = std::byte{3};  // Its next one is itself.
  page[801] = std::byte{0x20};
  page[802] = std::byte{0};
  page[803] = std::byte{4};
  zero_unused_bytes(page, 2);
  EXPECT_EQ(page[804], std::byte{0xaa});
}

// A table like a keystore's: names and payloads of mixed sizes, put, replaced and deleted in random
// order. Every blob holds a marker of its own at several places.
class RandomLoad {
 public:
  explicit RandomLoad(Database& database, std::uint64_t seed) : database_(database), random_(seed) {
    EXPECT_THAT(database_.execute("CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
                                  "CREATE TABLE payload (id INTEGER PRIMARY KEY, blob BLOB)"),
                Succeeds());
  }

  void run(int steps) {
    Transaction transaction = *Transaction::begin(database_);
    for (int step = 0; step < steps; ++step) {
      const auto id = static_cast<std::int64_t>(random_() % 4000 + 1);
      if (random_() % 3 == 0)
        erase(id);
      else
        put(id);
    }
    ASSERT_THAT(transaction.commit(), Succeeds());
  }

  const std::vector<Bytes>& superseded() const { return superseded_; }
  std::size_t live() const { return live_.size(); }

 private:
  void put(std::int64_t id) {
    erase(id);
    Bytes marker(16);
    for (std::byte& byte : marker) byte = static_cast<std::byte>(random_() | 1);
    const std::size_t sizes[] = {32, 128, 300, 300, 1000, 1000, 4000, 20'000};
    const std::size_t size = sizes[random_() % 8];
    Bytes blob;
    while (blob.size() < size) blob.insert(blob.end(), marker.begin(), marker.end());
    Statement name = *database_.prepare("INSERT INTO names VALUES (?1, ?2)");
    EXPECT_THAT(name.bind(1, id), Succeeds());
    EXPECT_THAT(name.bind(2, std::string_view(fmt::format("{:x}-{}", random_(), id))), Succeeds());
    EXPECT_THAT(name.run(), Succeeds());
    Statement insert = *database_.prepare("INSERT INTO payload VALUES (?1, ?2)");
    EXPECT_THAT(insert.bind(1, id), Succeeds());
    EXPECT_THAT(insert.bind(2, ByteView(blob)), Succeeds());
    EXPECT_THAT(insert.run(), Succeeds());
    live_[id] = marker;
  }

  void erase(std::int64_t id) {
    const auto found = live_.find(id);
    if (found == live_.end()) return;
    superseded_.push_back(found->second);
    live_.erase(found);
    EXPECT_THAT(database_.execute(fmt::format(
                    "DELETE FROM payload WHERE id = {0}; DELETE FROM names WHERE id = {0}", id)),
                Succeeds());
  }

  Database& database_;
  std::mt19937_64 random_;
  std::map<std::int64_t, Bytes> live_;
  std::vector<Bytes> superseded_;
};

struct Leftovers {
  std::size_t superseded = 0;
  std::size_t deleted = 0;
};

// Loads, checkpoints, and counts how many of the deleted blobs can still be found in the files.
Leftovers load_and_scan(bool zero_gaps, std::uint64_t seed) {
  const TestDirectory directory;
  const std::unique_ptr<Vfs> vfs = *Vfs::create({.zero_gaps = zero_gaps});
  Database database = *Database::open(directory.file("x.db"),
                                      {.vfs_name = vfs->name(), .create = true, .cache_kib = 256});
  RandomLoad load(database, seed);
  for (int round = 0; round < 4; ++round) {
    load.run(1500);
    EXPECT_THAT(database.checkpoint_truncate(), Succeeds());
  }
  EXPECT_THAT(database.check_integrity(), Succeeds());
  Database again = *Database::open(directory.file("x.db"), {.vfs_name = vfs->name()});
  EXPECT_THAT(again.check_integrity(), Succeeds());
  const std::vector<ByteView> needles(load.superseded().begin(), load.superseded().end());
  const auto hits = scan_files_for(directory.path(), needles, 1'000'000);
  EXPECT_THAT(hits, Succeeds());
  std::set<std::size_t> found;
  for (const ScanHit& hit : *hits) found.insert(hit.needle);
  return {found.size(), needles.size()};
}

TEST(VfsGapZeroing, LeavesNoByteOfDeletedRowsInTheFiles) {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const Leftovers left = load_and_scan(true, seed);
    EXPECT_GT(left.deleted, 500u);
    EXPECT_EQ(left.superseded, 0u) << "seed " << seed;
  }
}

TEST(VfsGapZeroing, IsNeededBecauseSecureDeleteAloneLeavesSome) {
  EXPECT_GT(load_and_scan(false, 1).superseded, 0u);
}

TEST(Vfs, CountsWhatReachesTheFiles) {
  const TestDirectory directory;
  const std::unique_ptr<Vfs> vfs = *Vfs::create({});
  Database database =
      *Database::open(directory.file("x.db"), {.vfs_name = vfs->name(), .create = true});
  ASSERT_THAT(database.execute("CREATE TABLE t (b BLOB)"), Succeeds());
  const VfsCounts before = vfs->counts();
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (zeroblob(100000))"), Succeeds());
  const VfsCounts after = vfs->counts();
  EXPECT_GE(after.bytes_written - before.bytes_written, 100'000u);
  EXPECT_LE(after.bytes_written - before.bytes_written, 200'000u);
  EXPECT_EQ(after.syncs - before.syncs, 1u);
  EXPECT_GT(after.opens, 0u);
}

TEST(Vfs, TwoHaveDifferentNames) {
  const std::unique_ptr<Vfs> first = *Vfs::create({});
  const std::unique_ptr<Vfs> second = *Vfs::create({});
  EXPECT_NE(first->name(), second->name());
}

std::int64_t rows_in(Database& database) {
  Statement count = *database.prepare("SELECT count(*) FROM t");
  EXPECT_THAT(count.step(), Succeeds());
  return count.integer(0);
}

// Fails each change of the files in turn, in each way, while a row is inserted and checkpointed.
// Whatever was acknowledged must be there afterwards, and never a half of anything.
class VfsFaults : public ::testing::TestWithParam<std::tuple<VfsAnswer, VfsFault::Lasts>> {};

TEST_P(VfsFaults, KeepWhatWasAcknowledgedAndNeverAHalf) {
  const auto [answer, lasts] = GetParam();
  for (std::size_t n = 1;; ++n) {
    const TestDirectory directory;
    const std::string path = directory.file("x.db");
    {
      Database database = *Database::open(path, {.create = true});
      ASSERT_THAT(database.execute("CREATE TABLE t (b BLOB)"), Succeeds());
      ASSERT_THAT(database.execute("INSERT INTO t VALUES (randomblob(40000))"), Succeeds());
    }
    VfsFault fault(n, answer, lasts);
    bool acknowledged = false;
    {
      const std::unique_ptr<Vfs> vfs = *Vfs::create({.hook = &fault});
      if (Result<Database> database = Database::open(path, {.vfs_name = vfs->name()})) {
        acknowledged = database
                           ->execute(
                               "BEGIN; INSERT INTO t VALUES (randomblob(40000));"
                               "INSERT INTO t VALUES (randomblob(40000)); COMMIT")
                           .has_value();
        static_cast<void>(database->checkpoint_truncate());
      }
    }
    Database database = *Database::open(path, {});
    ASSERT_THAT(database.check_integrity(), Succeeds()) << "change " << n;
    const std::int64_t rows = rows_in(database);
    EXPECT_TRUE(rows == 3 || (rows == 1 && !acknowledged)) << rows << " at change " << n;
    if (!fault.has_fired()) {
      EXPECT_GT(n, 5u);
      break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    EachWay, VfsFaults,
    ::testing::Combine(::testing::Values(VfsAnswer::fail, VfsAnswer::fail_after, VfsAnswer::tear,
                                         VfsAnswer::disk_full),
                       ::testing::Values(VfsFault::Lasts::once, VfsFault::Lasts::from_then_on)));

}  // namespace
}  // namespace keyward::store
