#include "store/sqlite/database.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/sqlite/test_support.h"
#include "store/sqlite/vfs.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;

class DatabaseTest : public ::testing::Test {
 protected:
  Database open(Database::Options options = {.create = true}) {
    options.vfs_name = vfs_->name();
    Result<Database> database = Database::open(path_, options);
    EXPECT_THAT(database, Succeeds());
    return *std::move(database);
  }

  Database with_table() {
    Database database = open();
    EXPECT_THAT(database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)"),
                Succeeds());
    return database;
  }

  TestDirectory directory_;
  std::string path_ = directory_.file("x.db");
  std::unique_ptr<Vfs> vfs_ = *Vfs::create({});
};

std::int64_t number_of(Database& database, std::string_view sql) {
  Result<Statement> statement = database.prepare(sql);
  EXPECT_THAT(statement, Succeeds());
  EXPECT_THAT(statement->step(), Succeeds());
  return statement->integer(0);
}

TEST_F(DatabaseTest, EveryConnectionHasTheSettingsThatLeaveNothingBehind) {
  open();
  for (const bool read_only : {false, true}) {
    Database database = open({.read_only = read_only});
    EXPECT_EQ(number_of(database, "PRAGMA page_size"), kPageBytes);
    EXPECT_EQ(number_of(database, "PRAGMA secure_delete"), 1);
    EXPECT_EQ(number_of(database, "PRAGMA temp_store"), 2);
    EXPECT_EQ(number_of(database, "PRAGMA wal_autocheckpoint"), 0);
    EXPECT_EQ(number_of(database, "PRAGMA cell_size_check"), 1);
    EXPECT_EQ(number_of(database, "PRAGMA trusted_schema"), 0);
    EXPECT_EQ(number_of(database, "PRAGMA synchronous"), 2);
    EXPECT_EQ(number_of(database, "PRAGMA mmap_size"), 0);
    EXPECT_LT(number_of(database, "PRAGMA max_page_count"), 1 << 25);
  }
}

TEST_F(DatabaseTest, OpenAnswersNotFoundAndMakesNoFile) {
  EXPECT_THAT(Database::open(path_, {.vfs_name = vfs_->name()}), FailsWith(ErrorCode::not_found));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(DatabaseTest, OpenAnswersUnavailableWhenTheDirectoryIsMissing) {
  EXPECT_THAT(
      Database::open(directory_.file("none/x.db"), {.vfs_name = vfs_->name(), .create = true}),
      FailsNaming(ErrorCode::unavailable, "none/x.db"));
}

TEST_F(DatabaseTest, OpenAnswersCorruptForAnotherKindOfFile) {
  std::ofstream(path_) << std::string(40'000, 'x');
  EXPECT_THAT(Database::open(path_, {.vfs_name = vfs_->name()}), FailsWith(ErrorCode::corrupt));
}

TEST_F(DatabaseTest, NewFileIsForItsOwnerAlone) {
  open();
  struct stat found {};
  ASSERT_EQ(stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0600u);
}

TEST_F(DatabaseTest, ValuesComeBackAsTheyWereBound) {
  Database database = with_table();
  const std::string text("a\0b", 3);
  Statement select = *database.prepare("SELECT ?1, ?2, ?3, ?4, ?5");
  ASSERT_THAT(select.bind(1, std::int64_t{INT64_MIN}), Succeeds());
  ASSERT_THAT(select.bind(2, std::string_view(text)), Succeeds());
  ASSERT_THAT(select.bind(3, std::as_bytes(std::span(text))), Succeeds());
  ASSERT_THAT(select.bind(4, ByteView()), Succeeds());
  ASSERT_THAT(select.bind_null(5), Succeeds());
  ASSERT_TRUE(*select.step());
  EXPECT_EQ(select.integer(0), INT64_MIN);
  EXPECT_EQ(select.text(1), text);
  EXPECT_EQ(select.blob(2).size(), 3u);
  EXPECT_FALSE(select.is_null(3));
  EXPECT_TRUE(select.is_null(4));
  EXPECT_FALSE(*select.step());
}

TEST_F(DatabaseTest, ResetForgetsTheBindings) {
  Database database = with_table();
  Statement select = *database.prepare("SELECT ?1");
  {
    const StatementReset reset(select);
    ASSERT_THAT(select.bind(1, std::int64_t{7}), Succeeds());
    ASSERT_TRUE(*select.step());
  }
  ASSERT_TRUE(*select.step());
  EXPECT_TRUE(select.is_null(0));
}

TEST_F(DatabaseTest, TransactionThatIsNotCommittedIsRolledBack) {
  Database database = with_table();
  {
    Transaction transaction = *Transaction::begin(database);
    ASSERT_THAT(database.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
  }
  EXPECT_EQ(number_of(database, "SELECT count(*) FROM t"), 0);
  Transaction transaction = *Transaction::begin(database);
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
  ASSERT_THAT(transaction.commit(), Succeeds());
  EXPECT_EQ(number_of(database, "SELECT count(*) FROM t"), 1);
}

TEST_F(DatabaseTest, UserVersionIsPartOfTheTransaction) {
  Database database = with_table();
  {
    Transaction transaction = *Transaction::begin(database);
    ASSERT_THAT(database.set_user_version(2002), Succeeds());
  }
  EXPECT_EQ(*database.user_version(), 0u);
}

TEST_F(DatabaseTest, SynchronousIsNotChangedInsideATransaction) {
  Database database = with_table();
  Transaction transaction = *Transaction::begin(database);
  EXPECT_THAT(database.set_synchronous(Synchronous::normal), FailsWith(ErrorCode::conflict));
}

TEST_F(DatabaseTest, NormalCommitDoesNotSyncAndFullCommitDoes) {
  Database database = with_table();
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
  ASSERT_THAT(database.set_synchronous(Synchronous::normal), Succeeds());
  const std::uint64_t before = vfs_->counts().syncs;
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (2, x'01')"), Succeeds());
  EXPECT_EQ(vfs_->counts().syncs, before);
  ASSERT_THAT(database.set_synchronous(Synchronous::full), Succeeds());
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (3, x'01')"), Succeeds());
  EXPECT_GT(vfs_->counts().syncs, before);
}

TEST_F(DatabaseTest, ReadOnlyConnectionRefusesToWrite) {
  with_table();
  Database reader = open({.read_only = true});
  EXPECT_THAT(reader.execute("INSERT INTO t VALUES (1, x'01')"), FailsWith(ErrorCode::io));
}

TEST_F(DatabaseTest, CheckpointWithAnOpenReaderIsBusyAndLaterEmptiesTheWal) {
  Database writer = with_table();
  ASSERT_THAT(writer.execute("INSERT INTO t VALUES (1, randomblob(50000))"), Succeeds());
  Database reader = open({.read_only = true});
  Statement walk = *reader.prepare("SELECT id FROM t");
  ASSERT_TRUE(*walk.step());
  EXPECT_THAT(writer.checkpoint_truncate(), FailsWith(ErrorCode::busy));
  EXPECT_GT(*writer.wal_bytes(), 0u);
  walk.reset();
  EXPECT_THAT(writer.checkpoint_truncate(), Succeeds());
  EXPECT_EQ(*writer.wal_bytes(), 0u);
  EXPECT_EQ(std::filesystem::file_size(path_ + "-wal"), 0u);
}

TEST_F(DatabaseTest, CheckpointWithAnOwnOpenStatementIsBusy) {
  Database writer = with_table();
  ASSERT_THAT(writer.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
  Statement walk = *writer.prepare("SELECT id FROM t");
  ASSERT_TRUE(*walk.step());
  EXPECT_THAT(writer.checkpoint_truncate(), FailsWith(ErrorCode::busy));
}

TEST_F(DatabaseTest, CheckpointSyncsTheTruncationOfTheWal) {
  struct LastSync final : VfsHook {
    VfsAnswer before(const VfsCall& call) override {
      if (call.operation == VfsOperation::truncate) {
        truncated = std::string(call.path);
        synced_after = false;
      }
      if (call.operation == VfsOperation::sync && call.path == truncated) synced_after = true;
      return VfsAnswer::proceed;
    }
    std::string truncated;
    bool synced_after = false;
  } hook;
  vfs_ = *Vfs::create({.hook = &hook});
  Database database = with_table();
  ASSERT_THAT(database.checkpoint_truncate(), Succeeds());
  EXPECT_EQ(hook.truncated, path_ + "-wal");
  EXPECT_TRUE(hook.synced_after);
}

TEST_F(DatabaseTest, ClosingMakesNoCheckpoint) {
  {
    Database database = with_table();
    ASSERT_THAT(database.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
    ASSERT_THAT(database.close(), Succeeds());
  }
  EXPECT_GT(std::filesystem::file_size(path_ + "-wal"), 0u);
  Database again = open({});
  EXPECT_EQ(number_of(again, "SELECT count(*) FROM t"), 1);
}

TEST_F(DatabaseTest, CloseWithAnOpenStatementSaysSo) {
  Database database = with_table();
  Statement statement = *database.prepare("SELECT 1");
  EXPECT_THAT(database.close(), FailsWith(ErrorCode::busy));
}

TEST_F(DatabaseTest, AnotherProcessIsKeptOutAndNoShmFileAppears) {
  Database database = with_table();
  Database second = open({.read_only = true});
  EXPECT_FALSE(std::filesystem::exists(path_ + "-shm"));
  const std::string command =
      fmt::format("sqlite3 {} 'SELECT count(*) FROM t' > {} 2>&1", path_, directory_.file("out"));
  EXPECT_NE(std::system(command.c_str()), 0);
  std::string answer;
  std::ifstream in(directory_.file("out"));
  std::getline(in, answer);
  EXPECT_THAT(answer, ::testing::HasSubstr("database is locked"));
}

TEST_F(DatabaseTest, OpenIsBusyWhileAnotherProcessHasTheFile) {
  int ready[2];
  int finish[2];
  ASSERT_EQ(pipe(ready) | pipe(finish), 0);
  // Forked before SQLite knows the file, so that the two share no lock.
  const pid_t child = fork();
  if (child == 0) {
    close(finish[1]);
    const Result<Database> first = Database::open(path_, {.create = true});
    char byte = first ? 'y' : 'n';
    if (write(ready[1], &byte, 1) == 1) static_cast<void>(!read(finish[0], &byte, 1));
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_THAT(Database::open(path_, {}), FailsNaming(ErrorCode::busy, path_));
  close(finish[1]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  for (const int descriptor : {ready[0], ready[1], finish[0]}) close(descriptor);
  EXPECT_THAT(Database::open(path_, {}), Succeeds());
}

TEST_F(DatabaseTest, ErrorsNameTheFileAndKeepSqlitesCode) {
  Database database = with_table();
  ASSERT_THAT(database.execute("INSERT INTO t VALUES (1, x'01')"), Succeeds());
  const Result<void> twice = database.execute("INSERT INTO t VALUES (1, x'01')");
  EXPECT_THAT(twice, FailsNaming(ErrorCode::conflict, path_));
  EXPECT_EQ(twice.error().native & 0xff, 19u);  // SQLITE_CONSTRAINT
  EXPECT_EQ(twice.error().origin, "sqlite3_exec");
}

TEST_F(DatabaseTest, DamagedPageIsFoundByTheIntegrityCheck) {
  {
    Database database = with_table();
    for (int id = 1; id <= 200; ++id)
      ASSERT_THAT(database.execute(fmt::format("INSERT INTO t VALUES ({}, randomblob(900))", id)),
                  Succeeds());
    ASSERT_THAT(database.check_integrity(), Succeeds());
    ASSERT_THAT(database.checkpoint_truncate(), Succeeds());
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(3 * kPageBytes + 8);
  file << std::string(64, '\xff');
  file.close();
  Database database = open({});
  EXPECT_THAT(database.check_integrity(), FailsWith(ErrorCode::corrupt));
}

TEST_F(DatabaseTest, FullDiskIsExhaustedAndChangesNothing) {
  with_table();
  VfsFault fault(1, VfsAnswer::disk_full, VfsFault::Lasts::from_then_on, VfsOperation::write);
  vfs_ = *Vfs::create({.hook = &fault});
  Database database = open({});
  EXPECT_THAT(database.execute("INSERT INTO t VALUES (1, randomblob(100000))"),
              FailsWith(ErrorCode::exhausted));
  EXPECT_EQ(number_of(database, "SELECT count(*) FROM t"), 0);
  fault.repair();
  EXPECT_THAT(database.execute("INSERT INTO t VALUES (1, randomblob(100000))"), Succeeds());
  EXPECT_THAT(database.check_integrity(), Succeeds());
}

TEST_F(DatabaseTest, FailedSyncStaysVisibleUntilAllConnectionsAreClosed) {
  with_table();
  VfsFault fault(1, VfsAnswer::fail, VfsFault::Lasts::once, VfsOperation::sync);
  vfs_ = *Vfs::create({.hook = &fault});
  {
    Database writer = open({});
    Database reader = open({.read_only = true});
    ASSERT_FALSE(writer.sync_failed());
    EXPECT_THAT(writer.execute("INSERT INTO t VALUES (1, x'01')"), FailsWith(ErrorCode::io));
    EXPECT_TRUE(writer.sync_failed());
    EXPECT_TRUE(reader.sync_failed());
    ASSERT_THAT(writer.execute("INSERT INTO t VALUES (2, x'01')"), Succeeds());
    EXPECT_TRUE(writer.sync_failed()) << "a later success hides the loss";
  }
  EXPECT_FALSE(open({}).sync_failed());
}

}  // namespace
}  // namespace keyward::store
