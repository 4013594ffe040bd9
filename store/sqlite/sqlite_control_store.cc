#include "store/sqlite/sqlite_control_store.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"
#include "store/sqlite/files.h"

namespace keyward::store {
namespace {

constexpr std::string_view kControlSchema = R"sql(
  CREATE TABLE document (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL,
    json    TEXT NOT NULL
  );
  -- The version that was given out last.
  CREATE TABLE document_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
  INSERT INTO document_version VALUES (1, 0);
  CREATE TABLE removal (
    domain       TEXT NOT NULL PRIMARY KEY,
    copied       INTEGER NOT NULL,
    files_may_go INTEGER NOT NULL
  );
)sql";

constexpr std::size_t kNameBytesMax = 512;
// The WAL is written into the file and emptied when it has grown past this.
constexpr std::uint64_t kWalBytesMax = 4u << 20;
constexpr std::size_t kCacheKib = 2 * 1024;

std::int64_t to_column(std::uint64_t version) { return static_cast<std::int64_t>(version); }

Result<void> check_name(std::string_view name) {
  if (!name.empty() && name.size() <= kNameBytesMax) return {};
  return fail(
      ErrorCode::invalid_argument,
      fmt::format("a document's name has 1 to {} bytes, not {}", kNameBytesMax, name.size()));
}

std::unexpected<Error> changed_meanwhile(const Document& document, std::uint64_t stored) {
  const std::string is = stored == 0 ? "does not exist" : fmt::format("is at version {}", stored);
  return fail(ErrorCode::conflict,
              fmt::format("the setting {} {}, the change was made for version {}: read it again",
                          printable(document.name), is, document.version));
}

// 0 when there is none.
Result<std::uint64_t> stored_version(Database& database, std::string_view name) {
  Statement find = TRY(database.prepare("SELECT version FROM document WHERE name = ?1"));
  TRY(find.bind(1, name));
  if (!TRY(find.step())) return 0;
  return static_cast<std::uint64_t>(find.integer(0));
}

Result<std::uint64_t> next_version(Database& database) {
  TRY(database.execute("UPDATE document_version SET version = version + 1 WHERE id = 1"));
  Statement read = TRY(database.prepare("SELECT version FROM document_version WHERE id = 1"));
  if (!TRY(read.step()))
    return fail(ErrorCode::corrupt, "control.db has lost its count of versions");
  return static_cast<std::uint64_t>(read.integer(0));
}

Result<std::uint64_t> put_document(Database& database, const Document& document) {
  const std::uint64_t stored = TRY(stored_version(database, document.name));
  if (stored != document.version) return changed_meanwhile(document, stored);
  const std::uint64_t version = TRY(next_version(database));
  Statement put = TRY(database.prepare(
      "INSERT INTO document (name, version, json) VALUES (?1, ?2, ?3) "
      "ON CONFLICT (name) DO UPDATE SET version = excluded.version, json = excluded.json"));
  TRY(put.bind(1, std::string_view(document.name)));
  TRY(put.bind(2, to_column(version)));
  TRY(put.bind(3, std::string_view(document.json)));
  TRY(put.run());
  return version;
}

Document to_document(const Statement& row) {
  return {.name = std::string(row.text(0)),
          .version = static_cast<std::uint64_t>(row.integer(1)),
          .json = std::string(row.text(2))};
}

}  // namespace

Result<void> SqliteControlStore::create(const std::string& path, const Vfs& vfs,
                                        StoreFormat format) {
  const std::string unfinished = path + ".new";
  TRY(remove_database(unfinished));
  // A WAL without its file would be taken for the new file's.
  TRY(remove_database(path));
  Database database = TRY(Database::open(unfinished, {.vfs_name = vfs.name(), .create = true}));
  Transaction transaction = TRY(Transaction::begin(database));
  TRY(database.execute(kControlSchema));
  TRY(database.execute(kAuditSchema));
  TRY(write_format(database, format));
  TRY(transaction.commit());
  TRY(database.checkpoint_truncate());
  TRY(database.close());
  return publish_database(unfinished, path);
}

Result<std::unique_ptr<SqliteControlStore>> SqliteControlStore::open(const std::string& path,
                                                                     const Vfs& vfs, Clock& clock) {
  Database database = TRY(Database::open(path, {.vfs_name = vfs.name(), .cache_kib = kCacheKib}));
  TRY(read_format(database));
  // What a killed process left in the WAL may never have been synced; from here on it is. A full
  // disk is no reason not to read.
  const Result<void> home = database.checkpoint_truncate();
  if (!home && home.error().code != ErrorCode::exhausted) return std::unexpected(home.error());
  return std::unique_ptr<SqliteControlStore>(
      new SqliteControlStore(std::move(database), path, vfs.name(), clock));
}

SqliteControlStore::SqliteControlStore(Database database, std::string path, std::string vfs_name,
                                       Clock& clock)
    : database_(std::move(database)),
      path_(std::move(path)),
      vfs_name_(std::move(vfs_name)),
      clock_(clock),
      trail_(
          clock, [this](const SqliteAuditTrail::Work& work) { return read(work); },
          [this](const SqliteAuditTrail::Work& work) { return write(work); }) {}

Result<void> SqliteControlStore::ensure_open() {
  if (database_ && !database_->sync_failed()) return {};
  database_.reset();
  Database again = TRY(Database::open(path_, {.vfs_name = vfs_name_, .cache_kib = kCacheKib}));
  TRY(read_format(again));
  TRY(again.check_integrity());
  // Writes once more, and syncs, all that the failed sync may have lost.
  TRY(again.checkpoint_truncate());
  database_ = std::move(again);
  log(LogLevel::warning, "{} was opened and checked anew after a failed sync", path_);
  return {};
}

void SqliteControlStore::shorten_wal() {
  const Result<std::uint64_t> bytes = database_->wal_bytes();
  if (!bytes || *bytes <= kWalBytesMax) return;
  // What was saved is durable already; the next save tries again.
  if (const Result<void> done = database_->checkpoint_truncate(); !done)
    log(LogLevel::warning, "the WAL of {} stays long: {}", path_, done.error().message);
}

Result<void> SqliteControlStore::read(const SqliteAuditTrail::Work& work) {
  const std::lock_guard lock(mutex_);
  TRY(ensure_open());
  return work(*database_);
}

Result<void> SqliteControlStore::write(const SqliteAuditTrail::Work& work) {
  const std::lock_guard lock(mutex_);
  TRY(ensure_open());
  Transaction transaction = TRY(Transaction::begin(*database_));
  TRY(work(*database_));
  TRY(transaction.commit());
  shorten_wal();
  return {};
}

Result<Document> SqliteControlStore::load(std::string_view name) {
  std::optional<Document> found;
  TRY(read([&](Database& database) -> Result<void> {
    Statement find =
        TRY(database.prepare("SELECT name, version, json FROM document WHERE name = ?1"));
    TRY(find.bind(1, name));
    if (TRY(find.step())) found = to_document(find);
    return {};
  }));
  if (!found)
    return fail(ErrorCode::not_found, fmt::format("there is no setting {}", printable(name)));
  return *std::move(found);
}

Result<std::vector<Document>> SqliteControlStore::list(std::string_view prefix,
                                                       std::string_view after,
                                                       std::size_t count_max) {
  std::vector<Document> documents;
  TRY(read([&](Database& database) -> Result<void> {
    Statement walk = TRY(database.prepare(
        "SELECT name, version, json FROM document WHERE name >= ?1 AND name > ?2 ORDER BY name"));
    TRY(walk.bind(1, prefix));
    TRY(walk.bind(2, after));
    // Names with the prefix stand together, from the prefix on.
    while (documents.size() < count_max && TRY(walk.step()) && walk.text(0).starts_with(prefix))
      documents.push_back(to_document(walk));
    return {};
  }));
  return documents;
}

Result<std::uint64_t> SqliteControlStore::save(const Document& document,
                                               std::span<const AuditRecord> records) {
  TRY(check_name(document.name));
  std::uint64_t version = 0;
  TRY(write([&](Database& database) -> Result<void> {
    version = TRY(put_document(database, document));
    return append_audit(database, records, clock_.now());
  }));
  return version;
}

Result<void> SqliteControlStore::remove(const Document& document,
                                        std::span<const AuditRecord> records) {
  return write([&](Database& database) -> Result<void> {
    const std::uint64_t stored = TRY(stored_version(database, document.name));
    if (stored == 0) {
      return fail(ErrorCode::not_found,
                  fmt::format("there is no setting {}", printable(document.name)));
    }
    if (stored != document.version) return changed_meanwhile(document, stored);
    Statement drop = TRY(database.prepare("DELETE FROM document WHERE name = ?1"));
    TRY(drop.bind(1, std::string_view(document.name)));
    TRY(drop.run());
    return append_audit(database, records, clock_.now());
  });
}

Result<StoreFormat> SqliteControlStore::format() {
  StoreFormat format;
  TRY(read([&](Database& database) -> Result<void> {
    format = TRY(read_format(database));
    return {};
  }));
  return format;
}

Result<void> SqliteControlStore::upgrade(StoreFormat format, std::span<const AuditRecord> records) {
  return write([&](Database& database) -> Result<void> {
    if (TRY(read_format(database)) >= format) return {};
    // Formats 1 and 2 of control.db have the same tables.
    TRY(write_format(database, format));
    return append_audit(database, records, clock_.now());
  });
}

Result<std::vector<SqliteControlStore::Removal>> SqliteControlStore::removals() {
  std::vector<Removal> removals;
  TRY(read([&](Database& database) -> Result<void> {
    Statement walk =
        TRY(database.prepare("SELECT domain, copied, files_may_go FROM removal ORDER BY domain"));
    while (TRY(walk.step())) {
      removals.push_back({.domain = std::string(walk.text(0)),
                          .copied = static_cast<std::uint64_t>(walk.integer(1)),
                          .files_may_go = walk.integer(2) != 0});
    }
    return {};
  }));
  return removals;
}

Result<void> SqliteControlStore::save_removal(const Removal& removal,
                                              std::span<const AuditRecord> records) {
  return write([&](Database& database) -> Result<void> {
    Statement put = TRY(database.prepare("INSERT OR REPLACE INTO removal VALUES (?1, ?2, ?3)"));
    TRY(put.bind(1, std::string_view(removal.domain)));
    TRY(put.bind(2, to_column(removal.copied)));
    TRY(put.bind(3, std::int64_t{removal.files_may_go}));
    TRY(put.run());
    return append_audit(database, records, clock_.now());
  });
}

Result<void> SqliteControlStore::forget_removal(std::string_view domain) {
  return write([&](Database& database) -> Result<void> {
    Statement drop = TRY(database.prepare("DELETE FROM removal WHERE domain = ?1"));
    TRY(drop.bind(1, domain));
    return drop.run();
  });
}

}  // namespace keyward::store
