#include "store/sqlite/sqlite_audit_trail.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "store/sqlite/test_support.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;
using std::chrono::milliseconds;

class SqliteAuditTrailTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(database_.execute(kAuditSchema), Succeeds()); }

  void append(int count) {
    for (int i = 0; i < count; ++i) {
      const AuditRecord record = record_of(fmt::format("entry.put{}", i));
      ASSERT_THAT(trail_.append({&record, 1}), Succeeds());
    }
  }

  void edit(std::string_view sql) { ASSERT_THAT(database_.execute(sql), Succeeds()); }

  Result<void> in_transaction(const SqliteAuditTrail::Work& work) {
    Transaction transaction = TRY(Transaction::begin(database_));
    TRY(work(database_));
    return transaction.commit();
  }

  TestDirectory directory_;
  Database database_ = *Database::open(directory_.file("x.db"), {.create = true});
  VirtualClock clock_{UtcTime(milliseconds(1'700'000'000'123))};
  SqliteAuditTrail trail_{
      clock_, [this](const SqliteAuditTrail::Work& work) { return work(database_); },
      [this](const SqliteAuditTrail::Work& work) { return in_transaction(work); }};
};

TEST_F(SqliteAuditTrailTest, RecordsComeBackInOrderWithAllTheirFields) {
  const AuditRecord records[] = {
      {"entry.put", "uid:0", "unix", "S3", "ok", R"({"name":"x"})"},
      {std::string("odd\0\n\xff", 6), "", "", "", "io", ""},
  };
  ASSERT_THAT(trail_.append(records), Succeeds());
  const auto stored = trail_.read(0, 10);
  ASSERT_THAT(stored, Succeeds());
  ASSERT_EQ(stored->size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    const StoredRecord& record = (*stored)[i];
    EXPECT_EQ(record.sequence, i + 1);
    EXPECT_EQ(record.time, clock_.now());
    EXPECT_EQ(record.record.action, records[i].action);
    EXPECT_EQ(record.record.actor, records[i].actor);
    EXPECT_EQ(record.record.origin, records[i].origin);
    EXPECT_EQ(record.record.subject, records[i].subject);
    EXPECT_EQ(record.record.outcome, records[i].outcome);
    EXPECT_EQ(record.record.detail, records[i].detail);
  }
  EXPECT_THAT(trail_.verify(), Succeeds());
}

TEST_F(SqliteAuditTrailTest, ReadGoesOnAfterAndStopsAtTheCount) {
  append(5);
  const auto page = trail_.read(2, 2);
  ASSERT_EQ(page->size(), 2u);
  EXPECT_EQ((*page)[0].sequence, 3u);
  EXPECT_EQ((*page)[1].sequence, 4u);
  EXPECT_TRUE(trail_.read(5, 10)->empty());
  EXPECT_TRUE(trail_.read(UINT64_MAX, 10)->empty());
}

TEST_F(SqliteAuditTrailTest, VerifyAnswersTheHead) {
  EXPECT_EQ(trail_.verify()->sequence, 0u);
  append(3);
  const auto head = trail_.verify();
  ASSERT_THAT(head, Succeeds());
  EXPECT_EQ(head->sequence, 3u);
  EXPECT_EQ(head->record.action, "entry.put2");
  EXPECT_EQ(head->chain, trail_.read(2, 1)->front().chain);
}

TEST_F(SqliteAuditTrailTest, VerifyWalksOverManyPages) {
  const std::vector<AuditRecord> records(2500, record_of("entry.put"));
  ASSERT_THAT(trail_.append(records), Succeeds());
  EXPECT_EQ(trail_.verify()->sequence, 2500u);
  edit("UPDATE audit SET actor = 'nobody' WHERE sequence = 2001");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 2001 "));
}

TEST_F(SqliteAuditTrailTest, EachEditedFieldIsFoundAndItsRecordNamed) {
  for (const char* change :
       {"time = time + 1", "action = 'x'", "actor = 'x'", "origin = 'x'", "subject = 'x'",
        "outcome = 'x'", "detail = 'x'", "chain = zeroblob(32)", "chain = x'00'",
        // The same text, the border between two fields moved.
        "action = action || 'u', actor = substr(actor, 2)"}) {
    append(4);
    const std::uint64_t third = trail_.verify()->sequence - 1;
    edit("SAVEPOINT before");
    edit(fmt::format("UPDATE audit SET {} WHERE sequence = {}", change, third));
    EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, fmt::format("record {} ", third)))
        << change;
    edit("ROLLBACK TO before; RELEASE before");
  }
}

TEST_F(SqliteAuditTrailTest, RecordInTheMiddleThatIsGoneIsNamed) {
  append(5);
  edit("DELETE FROM audit WHERE sequence = 3");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 3 is missing"));
}

TEST_F(SqliteAuditTrailTest, FirstRecordThatIsGoneIsNamed) {
  append(2);
  edit("DELETE FROM audit WHERE sequence = 1");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 1 is missing"));
}

TEST_F(SqliteAuditTrailTest, TailThatIsGoneIsNamed) {
  append(5);
  edit("DELETE FROM audit WHERE sequence >= 4");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 4 is missing"));
}

TEST_F(SqliteAuditTrailTest, AllRecordsGoneIsNamed) {
  append(2);
  edit("DELETE FROM audit");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 1 is missing"));
}

TEST_F(SqliteAuditTrailTest, TwoSwappedRecordsAreFound) {
  append(4);
  edit(
      "UPDATE audit SET sequence = 99 WHERE sequence = 2;"
      "UPDATE audit SET sequence = 2 WHERE sequence = 3;"
      "UPDATE audit SET sequence = 3 WHERE sequence = 99");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 2 "));
}

TEST_F(SqliteAuditTrailTest, RecordWithAGoodLinkBehindTheHeadIsFound) {
  append(2);
  edit("CREATE TABLE ends_before AS SELECT * FROM audit_ends");
  append(1);
  edit(
      "DELETE FROM audit_ends; INSERT INTO audit_ends SELECT * FROM ends_before;"
      "DROP TABLE ends_before");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 3 was added"));
}

TEST_F(SqliteAuditTrailTest, LostEndsAreFound) {
  append(2);
  edit("DELETE FROM audit_ends");
  EXPECT_THAT(trail_.verify(), FailsWith(ErrorCode::corrupt));
  const AuditRecord record = record_of("entry.put");
  EXPECT_THAT(trail_.append({&record, 1}), FailsWith(ErrorCode::corrupt));
}

TEST_F(SqliteAuditTrailTest, PruneKeepsTheChainGood) {
  append(10);
  ASSERT_THAT(trail_.prune(4), Succeeds());
  ASSERT_THAT(trail_.prune(4), Succeeds());
  ASSERT_THAT(trail_.prune(2), Succeeds());
  EXPECT_EQ(trail_.read(0, 100)->front().sequence, 5u);
  EXPECT_EQ(trail_.verify()->sequence, 10u);
  append(1);
  EXPECT_EQ(trail_.verify()->sequence, 11u);
  edit("DELETE FROM audit WHERE sequence = 5");
  EXPECT_THAT(trail_.verify(), FailsNaming(ErrorCode::corrupt, "record 5 is missing"));
}

TEST_F(SqliteAuditTrailTest, PruneOfAllKeepsTheHead) {
  append(3);
  const auto head = trail_.verify();
  ASSERT_THAT(trail_.prune(3), Succeeds());
  EXPECT_EQ(trail_.verify()->sequence, 3u);
  EXPECT_EQ(trail_.verify()->chain, head->chain);
  append(1);
  EXPECT_EQ(trail_.verify()->sequence, 4u);
}

TEST_F(SqliteAuditTrailTest, PruneBeyondTheHeadIsRefused) {
  append(3);
  EXPECT_THAT(trail_.prune(4), FailsWith(ErrorCode::invalid_argument));
  EXPECT_EQ(trail_.read(0, 100)->size(), 3u);
}

TEST_F(SqliteAuditTrailTest, AppendThatIsRolledBackLeavesTheChainGood) {
  append(1);
  AuditAppender appender = *AuditAppender::create(database_);
  const AuditRecord record = record_of("entry.put");
  {
    Transaction transaction = *Transaction::begin(database_);
    ASSERT_THAT(database_.execute("SAVEPOINT put"), Succeeds());
    ASSERT_THAT(appender.append({&record, 1}, clock_.now()), Succeeds());
    ASSERT_THAT(database_.execute("ROLLBACK TO put; RELEASE put"), Succeeds());
    ASSERT_THAT(appender.append({&record, 1}, clock_.now()), Succeeds());
    ASSERT_THAT(transaction.commit(), Succeeds());
  }
  EXPECT_EQ(trail_.verify()->sequence, 2u);
}

TEST(AuditLinkTest, IsTheSameForEver) {
  const StoredRecord record{
      .record = {"a", "b", "c", "d", "e", "f"}, .sequence = 1, .time = UtcTime(milliseconds(1000))};
  EXPECT_EQ(to_hex(audit_link({}, record)),
            "b5336d0d7caaa1535bbcdce5da02101a72be46a7fa02f1f3e659d0edf9fdfed8");
}

}  // namespace
}  // namespace keyward::store
