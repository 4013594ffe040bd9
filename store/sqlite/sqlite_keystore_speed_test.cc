// Speeds, printed beside a bare rewrite of the same rows in the same run. The limits here are far
// off what a quiet machine reaches: they catch a design that was lost, not a busy machine. The
// benchmarks measure exactly.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "store/sqlite/database.h"
#include "store/sqlite/keystore_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;

class Stopwatch final {
 public:
  double wall() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  double cpu() const { return static_cast<double>(std::clock() - cpu_begin_) / CLOCKS_PER_SEC; }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::clock_t cpu_begin_ = std::clock();
};

constexpr int kEntries = 100'000;

class SqliteKeystoreSpeedTest : public ::testing::Test {
 protected:
  void report(const char* what, int count, const Stopwatch& watch) {
    std::printf("%-32s %9.0f /s   %6.2f s wall  %6.2f s CPU\n", what, count / watch.wall(),
                watch.wall(), watch.cpu());
  }
  TestDirectory directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  StoreUnderTest store_{directory_.file("S3.db"), *clock_};
};

// Returns its CPU time.
double rewrite_bare(const std::string& path, const std::string& vfs) {
  Database database = must(Database::open(path, {.vfs_name = vfs}));
  must(database.set_synchronous(Synchronous::normal));
  const Stopwatch watch;
  for (int row = 0; row < kEntries; row += 8192) {
    must(database.execute("UPDATE payload SET mk = mk + 1, blob = randomblob(312) WHERE id > " +
                          std::to_string(row) + " AND id <= " + std::to_string(row + 8192)));
    must(database.checkpoint_passive());
  }
  must(database.checkpoint_truncate());
  std::printf("%-32s %9.0f /s   %6.2f s wall  %6.2f s CPU\n", "bare rewrite",
              kEntries / watch.wall(), watch.wall(), watch.cpu());
  return watch.cpu();
}

TEST_F(SqliteKeystoreSpeedTest, ARekeyCostsLittleMoreThanABareRewriteOfItsRows) {
  store_.create();
  const Stopwatch fill;
  store_.fill(kEntries, 256);
  report("import", kEntries, fill);
  must(store_->reencryption().purge());
  store_.change(announce(store_.table(), announcement_of(kNew)));
  store_.change(begin_reencrypt(store_.table(), new_copies(), commitment_of(2), {}));
  const Stopwatch rekey;
  while (store_.table().rekey->phase == RekeyPhase::reencrypt) must(store_.try_rekey_step(kNew));
  must(store_->reencryption().purge());
  report("re-encryption", kEntries, rekey);
  const double rekey_cpu = rekey.cpu();
  const Stopwatch scan;
  must(store_.try_rekey_step(kNew));
  report("verify", kEntries, scan);
  store_.close();
  const double bare_cpu = rewrite_bare(store_.options().path, store_.options().vfs_name);
  EXPECT_LT(rekey_cpu, 6 * bare_cpu);
}

TEST_F(SqliteKeystoreSpeedTest, GetsReadFromAnOpenSnapshot) {
  store_.create();
  store_.fill(10'000, 256);
  constexpr int kGets = 20'000;
  const Stopwatch gets;
  for (int i = 0; i < kGets; ++i) must(store_->get(numbered(i % 10'000)));
  report("gets, one thread", kGets, gets);
}

// A disk whose syncs take a while, as real ones do.
class SlowSyncs final : public VfsHook {
 public:
  VfsAnswer before(const VfsCall& call) override {
    if (call.operation == VfsOperation::sync)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return VfsAnswer::proceed;
  }
};

TEST_F(SqliteKeystoreSpeedTest, ManyPutsShareASync) {
  SlowSyncs disk;
  StoreUnderTest store(directory_.file("slow.db"), *clock_, &disk);
  store.create();
  constexpr int kThreads = 16;
  constexpr int kEach = 20;
  const std::uint64_t syncs = store.vfs().counts().syncs;
  const Stopwatch watch;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < kThreads; ++t) {
      running.emplace_back([&, t] {
        Ciphers ciphers;
        for (int i = 0; i < kEach; ++i) {
          const EntryName name = numbered(t * kEach + i);
          EntryChange change{name, 0, must(ciphers.of(kOld).encrypt(name, 1, secret_of("x")))};
          must(store->write({&change, 1}, 1, {}));
        }
      });
    }
  }
  report("puts, 16 threads, 2 ms a sync", kThreads * kEach, watch);
  EXPECT_LT(store.vfs().counts().syncs - syncs, kThreads * kEach / 2u);
}

}  // namespace
}  // namespace keyward::store
