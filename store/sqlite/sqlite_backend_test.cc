#include "store/sqlite/sqlite_backend.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/sqlite/database.h"
#include "store/sqlite/power_cut.h"
#include "store/sqlite/test_support.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Domain domain_of(std::string_view text) { return *Domain::parse(text); }

KeyTable table_of(std::string_view domain) {
  KeyRow row;
  row.id = KeyId::random();
  row.state = KeyState::current;
  row.commitment.fill(std::byte{1});
  row.wanted_mac.fill(std::byte{2});
  row.copies = {{{"pkcs11:hsm1"}, Bytes(48, std::byte{3})}};
  row.holders = {{"pkcs11:hsm1"}};
  auto table = first_table(StoreId::random(), domain_of(domain), std::move(row),
                           {{{"pkcs11:hsm1"}, "serial 1"}});
  EXPECT_THAT(table, Succeeds());
  return *std::move(table);
}

EntryChange put_of(const KeyTable& table, std::string_view name) {
  return {*EntryName::parse(name), 0,
          SealedEntry{table.current().id, 1, Bytes(72, std::byte{0x5a})}};
}

class SqliteBackendTest : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> open(SqliteBackendOptions options = {}) {
    auto backend = open_sqlite_backend(state_, clock_, options);
    EXPECT_THAT(backend, Succeeds());
    return backend ? *std::move(backend) : nullptr;
  }

  // A domain with one entry; closed again.
  void make(Backend& backend, std::string_view domain) {
    const KeyTable table = table_of(domain);
    auto keystore = backend.create(table, {&record_, 1});
    ASSERT_THAT(keystore, Succeeds());
    const EntryChange change = put_of(table, "entry");
    ASSERT_THAT((*keystore)->write({&change, 1}, table.generation, {&record_, 1}), Succeeds());
  }

  // As a removal writes it down before it removes the files.
  void mark_removal(std::string_view domain) {
    Database control = *Database::open(state_ + "/control.db", {});
    EXPECT_THAT(control.execute(fmt::format("INSERT INTO removal VALUES ('{}', 2, 1)", domain)),
                Succeeds());
  }

  std::vector<std::string> names(Backend& backend) {
    std::vector<std::string> found;
    const auto domains = backend.domains();
    EXPECT_THAT(domains, Succeeds());
    for (const Domain& domain : *domains) found.push_back(domain.text());
    return found;
  }

  std::string db(std::string_view domain) {
    return fmt::format("{}/keystores/{}.db", state_, domain);
  }

  TestDirectory directory_;
  std::string state_ = directory_.file("state");
  VirtualClock clock_{UtcTime(std::chrono::milliseconds(1'700'000'000'000))};
  const AuditRecord record_ = record_of("domain.change");
};

TEST_F(SqliteBackendTest, MakesItsDirectoriesForTheOwnerAlone) {
  open();
  for (const std::string& path : {state_, state_ + "/keystores"}) {
    struct stat found {};
    ASSERT_EQ(stat(path.c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777u, 0700u) << path;
  }
}

TEST_F(SqliteBackendTest, DirectoryWithoutParentOrThatIsAFileIsRefused) {
  EXPECT_THAT(open_sqlite_backend(directory_.file("a/b"), clock_), FailsWith(ErrorCode::not_found));
  std::ofstream(directory_.file("file")) << "x";
  EXPECT_THAT(open_sqlite_backend(directory_.file("file"), clock_),
              FailsWith(ErrorCode::invalid_argument));
}

TEST_F(SqliteBackendTest, KeystoresAreMadeListedAndOpenedAgain) {
  {
    auto backend = open();
    EXPECT_THAT(names(*backend), IsEmpty());
    make(*backend, "S3");
    make(*backend, "EMAIL");
  }
  std::ofstream(state_ + "/keystores/lower.db") << "x";
  std::ofstream(state_ + "/keystores/S3.db.new") << "x";
  auto backend = open();
  EXPECT_THAT(names(*backend), ElementsAre("EMAIL", "S3"));
  auto keystore = backend->open(domain_of("S3"));
  ASSERT_THAT(keystore, Succeeds());
  EXPECT_EQ((*keystore)->list({}, 10)->size(), 1u);
  EXPECT_TRUE((*keystore)->supports_rekey());
  EXPECT_THAT(backend->open(domain_of("JWT")), FailsNaming(ErrorCode::not_found, "JWT"));
}

TEST_F(SqliteBackendTest, CreateOfWhatIsThereChangesNothing) {
  auto backend = open();
  make(*backend, "S3");
  EXPECT_THAT(backend->create(table_of("S3"), {&record_, 1}), FailsWith(ErrorCode::already_exists));
  auto keystore = backend->open(domain_of("S3"));
  EXPECT_EQ((*keystore)->list({}, 10)->size(), 1u);
}

TEST_F(SqliteBackendTest, RenamedFileIsFound) {
  auto backend = open();
  make(*backend, "S3");
  std::filesystem::rename(db("S3"), db("JWT"));
  std::filesystem::rename(db("S3") + "-wal", db("JWT") + "-wal");
  EXPECT_THAT(backend->open(domain_of("JWT")), FailsNaming(ErrorCode::corrupt, "keystore of S3"));
}

TEST_F(SqliteBackendTest, SecondOwnerIsBusyAndToldWhoTheFirstIs) {
  auto backend = open();
  const std::string owner = fmt::format("process {}", getpid());
  EXPECT_THAT(open_sqlite_backend(state_, clock_), FailsNaming(ErrorCode::busy, owner));
  backend.reset();
  EXPECT_THAT(open_sqlite_backend(state_, clock_), Succeeds());
}

TEST_F(SqliteBackendTest, AnotherProcessThatOwnsTheDirectoryMakesItBusyUntilItDies) {
  int ready[2];
  int finish[2];
  ASSERT_EQ(pipe(ready) | pipe(finish), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(finish[1]);
    const auto backend = open_sqlite_backend(state_, clock_);
    char byte = backend ? 'y' : 'n';
    if (write(ready[1], &byte, 1) == 1) static_cast<void>(!read(finish[0], &byte, 1));
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_THAT(open_sqlite_backend(state_, clock_),
              FailsNaming(ErrorCode::busy, fmt::format("process {}", child)));
  close(finish[1]);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  for (const int descriptor : {ready[0], ready[1], finish[0]}) close(descriptor);
  EXPECT_THAT(open_sqlite_backend(state_, clock_), Succeeds());
}

TEST_F(SqliteBackendTest, RemovedKeystoreIsGoneAndItsTrailIsKept) {
  auto backend = open();
  make(*backend, "S3");
  make(*backend, "JWT");
  ASSERT_THAT(backend->remove(domain_of("S3"), {&record_, 1}), Succeeds());
  EXPECT_THAT(names(*backend), ElementsAre("JWT"));
  for (const char* suffix : {"", "-wal", "-shm", "-journal"})
    EXPECT_FALSE(std::filesystem::exists(db("S3") + suffix));
  const auto trail = backend->control().audit_trail().read(0, 100);
  ASSERT_EQ(trail->size(), 3u);  // The keystore's two, and the removal's.
  EXPECT_THAT((*trail)[0].record.detail,
              ::testing::HasSubstr(R"("copied_from":"S3","sequence":1)"));
  EXPECT_THAT((*trail)[1].record.detail, ::testing::HasSubstr(R"("sequence":2)"));
  EXPECT_EQ((*trail)[2].record.detail, record_.detail);
  EXPECT_THAT(backend->control().audit_trail().verify(), Succeeds());
}

TEST_F(SqliteBackendTest, RemoveAgainChangesNothing) {
  auto backend = open();
  make(*backend, "S3");
  ASSERT_THAT(backend->remove(domain_of("S3"), {&record_, 1}), Succeeds());
  ASSERT_THAT(backend->remove(domain_of("S3"), {&record_, 1}), Succeeds());
  EXPECT_EQ(backend->control().audit_trail().verify()->sequence, 3u);
}

TEST_F(SqliteBackendTest, DamagedKeystoreCanBeRemovedAndTheLossIsRecorded) {
  auto backend = open();
  std::ofstream(db("S3")) << std::string(40'000, 'x');
  ASSERT_THAT(backend->open(domain_of("S3")), FailsWith(ErrorCode::corrupt));
  ASSERT_THAT(backend->remove(domain_of("S3"), {&record_, 1}), Succeeds());
  EXPECT_THAT(names(*backend), IsEmpty());
  const auto trail = backend->control().audit_trail().read(0, 100);
  ASSERT_EQ(trail->size(), 2u);
  EXPECT_EQ((*trail)[0].record.action, "audit.copy");
  EXPECT_EQ((*trail)[0].record.outcome, "corrupt");
}

// Whichever change of a file fails during a removal: asked for again, it ends with the keystore
// gone and each of its records copied once.
TEST_F(SqliteBackendTest, RemoveIsCompletedWhicheverChangeFailed) {
  for (std::size_t n = 1;; ++n) {
    std::filesystem::remove_all(state_);
    {
      auto backend = open();
      make(*backend, "S3");
    }
    VfsFault fault(n, VfsAnswer::fail, VfsFault::Lasts::from_then_on);
    if (auto backend = open_sqlite_backend(state_, clock_, {.hook = &fault}))
      static_cast<void>((*backend)->remove(domain_of("S3"), {&record_, 1}));
    auto backend = open();
    ASSERT_THAT(backend->remove(domain_of("S3"), {&record_, 1}), Succeeds());
    EXPECT_THAT(names(*backend), IsEmpty()) << "change " << n;
    EXPECT_EQ(backend->control().audit_trail().verify()->sequence, 3u) << "change " << n;
    if (!fault.has_fired()) {
      EXPECT_GT(n, 5u);
      break;
    }
  }
}

TEST_F(SqliteBackendTest, RemovalThatWasCutShortIsFinishedWhenItIsOpened) {
  {
    auto backend = open();
    make(*backend, "S3");
    make(*backend, "JWT");
  }
  mark_removal("S3");
  EXPECT_THAT(names(*open()), ElementsAre("JWT"));
}

TEST_F(SqliteBackendTest, RemovalThatWasCutShortSparesAKeystoreMadeSince) {
  {
    auto backend = open();
    // The files are gone and the mark is not: as after a failure between the two.
    mark_removal("S3");
    make(*backend, "S3");
  }
  EXPECT_THAT(names(*open()), ElementsAre("S3"));
}

TEST_F(SqliteBackendTest, CreateIsWholeOrNotThereWhicheverChangeFails) {
  { open(); }
  for (std::size_t n = 1;; ++n) {
    VfsFault fault(n, VfsAnswer::disk_full, VfsFault::Lasts::from_then_on);
    bool made = false;
    if (auto backend = open_sqlite_backend(state_, clock_, {.hook = &fault}))
      made = (*backend)->create(table_of("S3"), {&record_, 1}).has_value();
    auto backend = open();
    auto keystore = backend->open(domain_of("S3"));
    EXPECT_TRUE(keystore.has_value() || !made) << "change " << n;
    if (keystore) {
      EXPECT_EQ((*keystore)->audit_trail().verify()->sequence, 1u) << "change " << n;
      keystore->reset();
      ASSERT_THAT(backend->remove(domain_of("S3"), {}), Succeeds());
    } else {
      EXPECT_THAT(keystore, FailsWith(ErrorCode::not_found)) << "change " << n;
    }
    if (!fault.has_fired()) break;
  }
}

TEST_F(SqliteBackendTest, OlderFormatIsOpenedUnchangedAndMigratedByCommitOnly) {
  const SqliteBackendOptions old{.first_format = 1};
  {
    auto backend = open(old);
    make(*backend, "S3");
  }
  auto backend = open();  // The option counts for a new directory only.
  make(*backend, "JWT");
  {
    auto keystore = backend->open(domain_of("S3"));
    ASSERT_THAT(keystore, Succeeds());
    EXPECT_FALSE((*keystore)->supports_rekey());
    EXPECT_FALSE((*backend->open(domain_of("JWT")))->supports_rekey())
        << "an older program could not be put back";
  }
  const auto before = backend->upgrade_state();
  ASSERT_THAT(before, Succeeds());
  EXPECT_EQ(before->format_current, 2u);
  EXPECT_THAT(before->stores_to_upgrade, ElementsAre("control", "JWT", "S3"));

  auto open_meanwhile = *backend->open(domain_of("S3"));
  for (int round = 0; round < 2; ++round) {
    ASSERT_THAT(backend->commit_upgrade({&record_, 1}), Succeeds());
    EXPECT_THAT(backend->upgrade_state()->stores_to_upgrade, IsEmpty());
    EXPECT_EQ(backend->control().audit_trail().verify()->sequence, 1u);
    EXPECT_EQ(open_meanwhile->audit_trail().verify()->sequence, 3u);
  }
  EXPECT_TRUE(open_meanwhile->supports_rekey());
  EXPECT_EQ(open_meanwhile->list({}, 10)->size(), 1u);
  EXPECT_TRUE((*backend->open(domain_of("JWT")))->supports_rekey());
}

TEST_F(SqliteBackendTest, KeystoreOfANewerFormatIsRefusedAndTheOthersWork) {
  auto backend = open();
  make(*backend, "S3");
  make(*backend, "JWT");
  {
    Database database = *Database::open(db("S3"), {});
    ASSERT_THAT(write_format(database, {9, 4}), Succeeds());
  }
  EXPECT_THAT(backend->open(domain_of("S3")),
              FailsNaming(ErrorCode::unsupported, "reader version 4 or newer"));
  EXPECT_THAT(backend->open(domain_of("JWT")), Succeeds());
  EXPECT_THAT(backend->upgrade_state()->stores_to_upgrade, IsEmpty());
}

TEST_F(SqliteBackendTest, ControlOfANewerFormatIsRefused) {
  open().reset();
  {
    Database database = *Database::open(state_ + "/control.db", {});
    ASSERT_THAT(write_format(database, {9, 4}), Succeeds());
  }
  EXPECT_THAT(open_sqlite_backend(state_, clock_), FailsWith(ErrorCode::unsupported));
}

// The migration is one transaction for each file: after a power cut each is in one format or the
// other, opens, and the commit can be asked for again.
TEST_F(SqliteBackendTest, UpgradeSurvivesAPowerCutAtEveryChange) {
  {
    auto backend = open({.first_format = 1});
    make(*backend, "S3");
  }
  const std::string before = directory_.file("before");
  std::filesystem::copy(state_, before, std::filesystem::copy_options::recursive);
  for (std::size_t n = 1;; ++n) {
    std::filesystem::remove_all(state_);
    std::filesystem::copy(before, state_, std::filesystem::copy_options::recursive);
    PowerCut power(state_, n);
    if (auto backend = open_sqlite_backend(state_, clock_, {.hook = &power}))
      static_cast<void>((*backend)->commit_upgrade({&record_, 1}));
    for (const LossModel loss : kLossModels) {
      const TestDirectory after;
      ASSERT_THAT(power.materialise(loss, n, after.path()), Succeeds());
      auto backend = open_sqlite_backend(after.path(), clock_);
      ASSERT_THAT(backend, Succeeds()) << "change " << n;
      ASSERT_THAT((*backend)->open(domain_of("S3")), Succeeds()) << "change " << n;
      ASSERT_THAT((*backend)->commit_upgrade({&record_, 1}), Succeeds()) << "change " << n;
      auto keystore = (*backend)->open(domain_of("S3"));
      ASSERT_THAT(keystore, Succeeds()) << "change " << n;
      EXPECT_TRUE((*keystore)->supports_rekey());
      EXPECT_EQ((*keystore)->audit_trail().verify()->sequence, 3u) << "change " << n;
      EXPECT_EQ((*keystore)->list({}, 10)->size(), 1u);
    }
    if (!power.has_cut()) break;
  }
}

TEST_F(SqliteBackendTest, LocationIsParsedAndRefusedClearly) {
  EXPECT_THAT(open_backend("etcd:host", clock_), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(open_backend("sqlite:relative", clock_), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(open_backend("sqlite:", clock_), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(open_backend("sqlite:" + state_ + "?format=9", clock_),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(open_backend("sqlite:" + state_ + "?format=x", clock_),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_FALSE(std::filesystem::exists(state_));
  auto backend = open_backend("sqlite:" + state_ + "?format=1", clock_);
  ASSERT_THAT(backend, Succeeds());
  EXPECT_THAT((*backend)->upgrade_state()->stores_to_upgrade, ElementsAre("control"));
  backend->reset();
  backend = open_backend("sqlite:" + state_, clock_);
  ASSERT_THAT(backend, Succeeds());
  EXPECT_THAT((*backend)->upgrade_state()->stores_to_upgrade, ElementsAre("control"));
}

}  // namespace
}  // namespace keyward::store
