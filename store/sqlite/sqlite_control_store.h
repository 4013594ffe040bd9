// The ControlStore in one SQLite file, control.db.
//
//   auto control = TRY(SqliteControlStore::create(path, vfs, clock, kFormatCurrent));
//   auto control = TRY(SqliteControlStore::open(path, vfs, clock));
//
// One connection under one mutex: settings change seldom, and a commit with its fdatasync takes a
// few milliseconds. After a sync has failed the file is closed, opened, checked and written through
// once before anything else is done with it. Safe from any thread.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "store/control_store.h"
#include "store/sqlite/format.h"
#include "store/sqlite/sqlite_audit_trail.h"
#include "store/sqlite/vfs.h"

namespace keyward::store {

class SqliteControlStore final : public ControlStore {
 public:
  // Atomic: after a crash the file is there and complete, or is not there. Replaces what lies
  // there: the caller has looked.
  static Result<void> create(const std::string& path, const Vfs& vfs, StoreFormat format);
  static Result<std::unique_ptr<SqliteControlStore>> open(const std::string& path, const Vfs& vfs,
                                                          Clock& clock);

  Result<Document> load(std::string_view name) override;
  Result<std::vector<Document>> list(std::string_view prefix, std::string_view after,
                                     std::size_t count_max) override;
  // Versions go up over all documents, so that one which is removed and made anew never has an
  // earlier version again.
  Result<std::uint64_t> save(const Document& document,
                             std::span<const AuditRecord> records) override;
  Result<void> remove(const Document& document, std::span<const AuditRecord> records) override;
  AuditTrail& audit_trail() override { return trail_; }

  Result<StoreFormat> format();
  Result<void> upgrade(StoreFormat format, std::span<const AuditRecord> records);

  // A keystore's removal, which outlives a crash: begun, its audit trail copied piece by piece,
  // done.
  struct Removal {
    std::string domain;
    std::uint64_t copied = 0;  // The last audit record that has been copied.
    bool files_may_go = false;
  };
  Result<std::vector<Removal>> removals();
  // Puts the row in place of an earlier one for its domain, with the records.
  Result<void> save_removal(const Removal& removal, std::span<const AuditRecord> records);
  Result<void> forget_removal(std::string_view domain);

 private:
  SqliteControlStore(Database database, std::string path, std::string vfs_name, Clock& clock);
  Result<void> read(const SqliteAuditTrail::Work& work);
  // In a transaction, committed durably when `work` succeeds.
  Result<void> write(const SqliteAuditTrail::Work& work);
  Result<void> ensure_open();
  void shorten_wal();

  std::mutex mutex_;
  std::optional<Database> database_;  // None while it could not be opened again.
  const std::string path_;
  const std::string vfs_name_;
  Clock& clock_;
  SqliteAuditTrail trail_;
};

}  // namespace keyward::store
