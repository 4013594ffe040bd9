#include "store/sqlite/sqlite_audit_trail.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/text.h"

namespace keyward::store {

const std::string_view kAuditSchema = R"sql(
  CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,  -- UTC, milliseconds since 1970
    action   TEXT NOT NULL,
    actor    TEXT NOT NULL,
    origin   TEXT NOT NULL,
    subject  TEXT NOT NULL,
    outcome  TEXT NOT NULL,
    detail   TEXT NOT NULL,
    chain    BLOB NOT NULL
  );
  CREATE TABLE audit_ends (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    head_sequence INTEGER NOT NULL,
    head_chain    BLOB NOT NULL,
    foot_sequence INTEGER NOT NULL,  -- the last record that was pruned
    foot_chain    BLOB NOT NULL
  );
  INSERT INTO audit_ends VALUES (1, 0, zeroblob(32), 0, zeroblob(32));
)sql";

namespace {

constexpr std::size_t kVerifyPage = 1000;
constexpr std::uint64_t kPrunePage = 10'000;
constexpr std::string_view kColumns =
    "sequence, time, action, actor, origin, subject, outcome, detail, chain";

struct End {
  std::uint64_t sequence = 0;
  AuditLink chain{};
};
struct Ends {
  End head;
  End foot;
};

// What stands in the file may have been edited: a link of another length never equals a real one.
AuditLink to_link(ByteView blob) {
  AuditLink link{};
  if (blob.size() == link.size())
    std::ranges::copy(blob, link.begin());
  else
    link.fill(std::byte{0xff});
  return link;
}

std::unexpected<Error> damaged(Database& database, const std::string& what) {
  return fail(ErrorCode::corrupt,
              fmt::format("the audit trail of {} does not fit its chain: {}. Somebody changed the "
                          "file; compare it with a backup and with the exported checkpoints",
                          database.path(), what));
}

Result<Ends> read_ends(Database& database) {
  Statement statement = TRY(database.prepare(
      "SELECT head_sequence, head_chain, foot_sequence, foot_chain FROM audit_ends WHERE id = 1"));
  if (!TRY(statement.step())) return damaged(database, "the row with its ends is gone");
  return Ends{
      .head = {static_cast<std::uint64_t>(statement.integer(0)), to_link(statement.blob(1))},
      .foot = {static_cast<std::uint64_t>(statement.integer(2)), to_link(statement.blob(3))}};
}

StoredRecord to_record(const Statement& row) {
  StoredRecord record;
  record.sequence = static_cast<std::uint64_t>(row.integer(0));
  record.time = UtcTime(std::chrono::milliseconds(row.integer(1)));
  record.record = {.action = std::string(row.text(2)),
                   .actor = std::string(row.text(3)),
                   .origin = std::string(row.text(4)),
                   .subject = std::string(row.text(5)),
                   .outcome = std::string(row.text(6)),
                   .detail = std::string(row.text(7))};
  record.chain = to_link(row.blob(8));
  return record;
}

// Where a walk along the chain stands.
struct Walk {
  StoredRecord last;
  bool started = false;
  bool done = false;
};

Result<void> check_next(Database& database, const Walk& walk, const StoredRecord& record) {
  const std::uint64_t expected = walk.last.sequence + 1;
  if (record.sequence != expected) {
    return damaged(database, fmt::format("record {} is missing, {} follows on {}", expected,
                                         record.sequence, walk.last.sequence));
  }
  if (audit_link(walk.last.chain, record) != record.chain) {
    return damaged(
        database, fmt::format("record {} ({} of {} by {}) or its link was changed", record.sequence,
                              printable(record.record.action), printable(record.record.subject),
                              printable(record.record.actor)));
  }
  return {};
}

Result<void> check_head(Database& database, const End& head, const Walk& walk) {
  if (head.sequence > walk.last.sequence) {
    return damaged(database, fmt::format("record {} is missing, and all up to {}, the last",
                                         walk.last.sequence + 1, head.sequence));
  }
  if (head.sequence < walk.last.sequence)
    return damaged(database, fmt::format("record {} was added behind the last", head.sequence + 1));
  if (head.chain != walk.last.chain) {
    return damaged(database, fmt::format("record {}, the last, is not the one that was written",
                                         head.sequence));
  }
  return {};
}

// A piece of the chain within one read transaction, in which ends and records are of one state.
Result<void> walk_piece(Database& database, Walk& walk) {
  const Ends ends = TRY(read_ends(database));
  // At the start, or when a prune has overtaken us.
  if (!walk.started || ends.foot.sequence > walk.last.sequence) {
    walk.last = {};
    walk.last.sequence = ends.foot.sequence;
    walk.last.chain = ends.foot.chain;
    // Records that a prune left over stand before the foot; they are not part of the chain any
    // more.
    walk.started = true;
  }
  const std::vector<StoredRecord> page = TRY(read_audit(database, walk.last.sequence, kVerifyPage));
  for (const StoredRecord& record : page) {
    TRY(check_next(database, walk, record));
    walk.last = record;
  }
  if (page.size() == kVerifyPage) return {};
  walk.done = true;
  return check_head(database, ends.head, walk);
}

Result<void> in_read_transaction(Database& database, const SqliteAuditTrail::Work& work) {
  if (database.in_transaction()) return work(database);
  TRY(database.execute("BEGIN"));
  Result<void> answer = work(database);
  // A serious error has ended the transaction already.
  if (database.in_transaction()) TRY(database.execute("ROLLBACK"));
  return answer;
}

// Drops records up to `sequence` and moves the foot there.
Result<void> prune_to(Database& database, std::uint64_t sequence) {
  Statement find = TRY(database.prepare("SELECT chain FROM audit WHERE sequence = ?1"));
  TRY(find.bind(1, static_cast<std::int64_t>(sequence)));
  if (!TRY(find.step())) return damaged(database, fmt::format("record {} is missing", sequence));
  Statement foot = TRY(
      database.prepare("UPDATE audit_ends SET foot_sequence = ?1, foot_chain = ?2 WHERE id = 1"));
  TRY(foot.bind(1, static_cast<std::int64_t>(sequence)));
  TRY(foot.bind(2, find.blob(0)));
  TRY(foot.run());
  find.reset();
  Statement drop = TRY(database.prepare("DELETE FROM audit WHERE sequence <= ?1"));
  TRY(drop.bind(1, static_cast<std::int64_t>(sequence)));
  return drop.run();
}

// Answers where the foot stands now.
Result<std::uint64_t> prune_piece(Database& database, std::uint64_t sequence) {
  const Ends ends = TRY(read_ends(database));
  if (sequence > ends.head.sequence) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("the audit trail ends with record {}, it cannot be pruned up to {}",
                            ends.head.sequence, sequence));
  }
  if (sequence <= ends.foot.sequence) return ends.foot.sequence;
  const std::uint64_t next = std::min(sequence, ends.foot.sequence + kPrunePage);
  TRY(prune_to(database, next));
  return next;
}

}  // namespace

Result<AuditAppender> AuditAppender::create(Database& database) {
  Statement head =
      TRY(database.prepare("SELECT head_sequence, head_chain FROM audit_ends WHERE id = 1"));
  Statement insert = TRY(database.prepare(
      fmt::format("INSERT INTO audit ({}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", kColumns)));
  Statement move_head = TRY(
      database.prepare("UPDATE audit_ends SET head_sequence = ?1, head_chain = ?2 WHERE id = 1"));
  return AuditAppender(std::move(head), std::move(insert), std::move(move_head));
}

Result<void> AuditAppender::insert(const StoredRecord& record) {
  const StatementReset reset(insert_);
  TRY(insert_.bind(1, static_cast<std::int64_t>(record.sequence)));
  TRY(insert_.bind(2, static_cast<std::int64_t>(record.time.time_since_epoch().count())));
  const AuditRecord& fields = record.record;
  int index = 3;
  for (const std::string* field : {&fields.action, &fields.actor, &fields.origin, &fields.subject,
                                   &fields.outcome, &fields.detail})
    TRY(insert_.bind(index++, std::string_view(*field)));
  TRY(insert_.bind(9, ByteView(record.chain)));
  return insert_.run();
}

Result<void> AuditAppender::append(std::span<const AuditRecord> records, UtcTime now) {
  if (records.empty()) return {};
  StoredRecord last;
  {
    const StatementReset reset(head_);
    if (!TRY(head_.step()))
      return fail(ErrorCode::corrupt, "the audit trail has lost the row with its ends");
    last.sequence = static_cast<std::uint64_t>(head_.integer(0));
    last.chain = to_link(head_.blob(1));
  }
  for (const AuditRecord& record : records) {
    StoredRecord next{.record = record, .sequence = last.sequence + 1, .time = now};
    next.chain = audit_link(last.chain, next);
    TRY(insert(next));
    last = std::move(next);
  }
  const StatementReset reset(move_head_);
  TRY(move_head_.bind(1, static_cast<std::int64_t>(last.sequence)));
  TRY(move_head_.bind(2, ByteView(last.chain)));
  return move_head_.run();
}

Result<void> append_audit(Database& database, std::span<const AuditRecord> records, UtcTime now) {
  if (records.empty()) return {};
  AuditAppender appender = TRY(AuditAppender::create(database));
  return appender.append(records, now);
}

Result<std::vector<StoredRecord>> read_audit(Database& database, std::uint64_t after,
                                             std::size_t count_max) {
  Statement statement = TRY(database.prepare(fmt::format(
      "SELECT {} FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2", kColumns)));
  constexpr std::uint64_t kMax = INT64_MAX;
  TRY(statement.bind(1, static_cast<std::int64_t>(std::min(after, kMax))));
  TRY(statement.bind(2, static_cast<std::int64_t>(std::min<std::uint64_t>(count_max, kMax))));
  std::vector<StoredRecord> records;
  while (TRY(statement.step())) records.push_back(to_record(statement));
  return records;
}

Result<void> SqliteAuditTrail::append(std::span<const AuditRecord> records) {
  return writer_([&](Database& database) { return append_audit(database, records, clock_.now()); });
}

Result<std::vector<StoredRecord>> SqliteAuditTrail::read(std::uint64_t after,
                                                         std::size_t count_max) {
  std::vector<StoredRecord> records;
  TRY(reader_([&](Database& database) -> Result<void> {
    records = TRY(read_audit(database, after, count_max));
    return {};
  }));
  return records;
}

Result<StoredRecord> SqliteAuditTrail::verify() {
  Walk walk;
  while (!walk.done) {
    TRY(reader_([&](Database& database) {
      return in_read_transaction(database, [&](Database& same) { return walk_piece(same, walk); });
    }));
  }
  return walk.last;
}

Result<void> SqliteAuditTrail::prune(std::uint64_t sequence) {
  std::uint64_t foot = 0;
  do {
    TRY(writer_([&](Database& database) -> Result<void> {
      foot = TRY(prune_piece(database, sequence));
      return {};
    }));
  } while (foot < sequence);
  return {};
}

}  // namespace keyward::store
