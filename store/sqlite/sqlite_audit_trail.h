// The audit trail of one SQLite database: a table of records and a row with the chain's two ends.
//
//   TRY(db.execute(kAuditSchema));                        // when the database is made
//   TRY(append_audit(db, records, clock.now()));          // inside the change's own transaction
//   SqliteAuditTrail trail(clock, with_reader, with_writer);
//
// The head is stored beside the records, so that a missing tail shows as well; the foot is the
// record up to which the trail was pruned. Thread rule: the functions are the connection's; the
// object is as safe as what it was given.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/audit_chain.h"
#include "store/audit_trail.h"
#include "store/sqlite/database.h"

namespace keyward::store {

// Tables audit and audit_ends; the same in all formats.
extern const std::string_view kAuditSchema;

// Appends with statements that are prepared once. It reads the head anew each time, so it may be
// used across rollbacks and savepoints.
class AuditAppender final {
 public:
  static Result<AuditAppender> create(Database& database);
  // Within the transaction that is open.
  Result<void> append(std::span<const AuditRecord> records, UtcTime now);

 private:
  AuditAppender(Statement head, Statement insert, Statement move_head)
      : head_(std::move(head)), insert_(std::move(insert)), move_head_(std::move(move_head)) {}
  Result<void> insert(const StoredRecord& record);

  Statement head_;
  Statement insert_;
  Statement move_head_;
};

// One append without keeping the statements. Within the transaction that is open.
Result<void> append_audit(Database& database, std::span<const AuditRecord> records, UtcTime now);
Result<std::vector<StoredRecord>> read_audit(Database& database, std::uint64_t after,
                                             std::size_t count_max);

class SqliteAuditTrail final : public AuditTrail {
 public:
  // Runs its argument with a connection that is nobody else's meanwhile, and hands on what it
  // answers. The writer's also makes a transaction around it, committed durably when it succeeds.
  using Work = std::function<Result<void>(Database&)>;
  using Connection = std::function<Result<void>(const Work&)>;

  SqliteAuditTrail(Clock& clock, Connection reader, Connection writer)
      : clock_(clock), reader_(std::move(reader)), writer_(std::move(writer)) {}

  Result<void> append(std::span<const AuditRecord> records) override;
  Result<std::vector<StoredRecord>> read(std::uint64_t after, std::size_t count_max) override;
  // In pieces, so that no read transaction is held for long.
  Result<StoredRecord> verify() override;
  Result<void> prune(std::uint64_t sequence) override;

 private:
  Clock& clock_;
  Connection reader_;
  Connection writer_;
};

}  // namespace keyward::store
