#include "store/sqlite/sqlite_keystore.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "store/sqlite/database.h"
#include "store/sqlite/files.h"
#include "store/sqlite/format.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite_audit_trail.h"
#include "store/sqlite/sqlite_keystore_entries.h"
#include "store/sqlite/sqlite_keystore_readers.h"
#include "store/sqlite/sqlite_reencryption.h"
#include "store/sqlite/writer.h"

namespace keyward::store {
namespace {

// What a row takes in the WAL besides its blob and its name.
constexpr std::size_t kRowBytes = 64;
constexpr std::size_t kTableBytes = 4096;
// Of the writer's connection: the pages of one transaction, 4 MiB of blobs, and as much again. More
// does not make a rekey faster, which comes to each page once, and it is taken for each keystore.
constexpr std::size_t kWriterCacheKib = 8 * 1024;
// A list is read in pieces, so that no read transaction is held for long.
constexpr std::size_t kListPiece = 1000;

std::size_t bytes_of(std::span<const EntryChange> changes) {
  std::size_t bytes = kTableBytes;
  for (const EntryChange& change : changes)
    bytes += kRowBytes + change.name.text().size() + (change.entry ? change.entry->blob.size() : 0);
  return bytes;
}

Result<void> check_generation(const KeyTable& table, std::uint64_t generation) {
  if (table.generation == generation) return {};
  return fail(ErrorCode::conflict,
              fmt::format("the key table of {} is at generation {}, not {}; read it again",
                          table.domain.text(), table.generation, generation));
}

Result<void> check_change(const KeystoreState& state, const KeyTable& next) {
  TRY(next.check());
  if (next.store != state.table.store || next.domain != state.table.domain) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a key table of {} cannot replace that of {}", next.domain.text(),
                            state.table.domain.text()));
  }
  if (!next.rekey || state.format >= kFormatCurrent.format) return {};
  return fail(ErrorCode::unsupported,
              fmt::format("{} is in format {}, which has no rekey; run `keyward upgrade commit` "
                          "first (older programs refuse it afterwards)",
                          next.domain.text(), state.format));
}

class SqliteKeystore final : public Keystore {
 public:
  // What is made on the writer's connection before its thread has it.
  struct Parts {
    EntryRows rows;
    AuditAppender audit;
  };

  explicit SqliteKeystore(const SqliteKeystoreOptions& options)
      : clock_(options.clock),
        readers_(options.path, options.vfs_name, options.readers_max, committed_, clock_),
        trail_(
            clock_, [this](const SqliteAuditTrail::Work& work) { return with_reader(work); },
            [this](const SqliteAuditTrail::Work& work) { return with_writer(work); }) {}

  Result<void> start(Database database, KeystoreState state) {
    parts_.emplace(Parts{TRY(EntryRows::create(database)), TRY(AuditAppender::create(database))});
    auto rewriter = TRY(RowRewriter::create(database));
    writer_ =
        TRY(Writer::start(std::move(database), std::move(state), committed_, readers_, clock_));
    reencryption_.emplace(*writer_, readers_, committed_, std::move(rewriter), clock_);
    return {};
  }

  Result<SealedEntry> get(const EntryName& name) override;
  Result<std::vector<EntryInfo>> list(const std::optional<EntryName>& after,
                                      std::size_t count_max) override;
  Result<std::uint64_t> entries_total() override { return committed_.get()->entries(); }
  Result<void> write(std::span<const EntryChange> changes, std::uint64_t generation,
                     std::span<const AuditRecord> records) override;
  Result<KeyTable> keys() override { return committed_.get()->table; }
  Result<void> change_keys(std::uint64_t generation, const KeyTable& next,
                           std::span<const AuditRecord> records) override;
  bool supports_rekey() const override;
  Reencryption& reencryption() override { return *reencryption_; }
  AuditTrail& audit_trail() override { return trail_; }

 private:
  Result<void> list_piece(const std::string& after, std::size_t count,
                          std::vector<EntryInfo>& entries);
  Result<void> with_reader(const SqliteAuditTrail::Work& work);
  Result<void> with_writer(const SqliteAuditTrail::Work& work);
  Result<void> take_notice_of_upgrade() const;

  Clock& clock_;
  CommittedState committed_;
  mutable ReaderPool readers_;
  SqliteAuditTrail trail_;
  std::unique_ptr<Writer> writer_;
  std::optional<Parts> parts_;
  std::optional<SqliteReencryption> reencryption_;
};

Result<SealedEntry> SqliteKeystore::get(const EntryName& name) {
  ReaderLease reader = TRY(readers_.acquire());
  Statement& row = reader->get;
  StatementReset reset(row);
  TRY(row.bind(1, name.text()));
  if (!TRY(row.step())) {
    return fail(ErrorCode::not_found,
                fmt::format("there is no entry \"{}\"", printable(name.text())));
  }
  if (row.is_null(0)) {
    return fail(ErrorCode::corrupt, fmt::format("entry \"{}\" has a name but no content; restore "
                                                "the keystore from a backup",
                                                printable(name.text())));
  }
  const ByteView blob = row.blob(2);
  return SealedEntry{TRY(reader->key_of(row.integer(0), name.text())),
                     static_cast<std::uint64_t>(row.integer(1)), Bytes(blob.begin(), blob.end())};
}

Result<std::vector<EntryInfo>> SqliteKeystore::list(const std::optional<EntryName>& after,
                                                    std::size_t count_max) {
  std::vector<EntryInfo> entries;
  std::string last = after ? after->text() : std::string();
  while (entries.size() < count_max) {
    const std::size_t wanted = std::min(kListPiece, count_max - entries.size());
    const std::size_t had = entries.size();
    TRY(list_piece(last, wanted, entries));
    if (entries.size() - had < wanted) break;
    last = entries.back().name.text();
  }
  return entries;
}

Result<void> SqliteKeystore::list_piece(const std::string& after, std::size_t count,
                                        std::vector<EntryInfo>& entries) {
  ReaderLease reader = TRY(readers_.acquire());
  Statement& row = reader->list;
  StatementReset reset(row);
  TRY(row.bind(1, after));
  TRY(row.bind(2, static_cast<std::int64_t>(count)));
  while (TRY(row.step())) {
    Result<EntryName> name = EntryName::parse(row.text(0));
    if (!name || row.is_null(1)) {
      return fail(ErrorCode::corrupt,
                  fmt::format("entry \"{}\" has {}; restore the keystore from a backup",
                              printable(row.text(0)),
                              name ? "a name but no content" : "a name that cannot be"));
    }
    entries.push_back({*std::move(name), TRY(reader->key_of(row.integer(1), row.text(0))),
                       static_cast<std::uint64_t>(row.integer(2)),
                       static_cast<std::size_t>(row.integer(3))});
  }
  return {};
}

Result<void> SqliteKeystore::write(std::span<const EntryChange> changes, std::uint64_t generation,
                                   std::span<const AuditRecord> records) {
  return writer_->write(bytes_of(changes), [&](WriterContext& context) -> Result<void> {
    TRY(check_generation(context.state.table, generation));
    EntryTally tally;
    for (const EntryChange& change : changes) TRY(parts_->rows.apply(change, context.state, tally));
    TRY(parts_->audit.append(records, clock_.now()));
    tally.settle(context.state);
    return {};
  });
}

Result<void> SqliteKeystore::change_keys(std::uint64_t generation, const KeyTable& next,
                                         std::span<const AuditRecord> records) {
  // An upgrade may have come since the file was opened.
  if (next.rekey) static_cast<void>(supports_rekey());
  return writer_->write(kTableBytes, [&](WriterContext& context) -> Result<void> {
    TRY(check_generation(context.state.table, generation));
    TRY(check_change(context.state, next));
    KeystoreState after = TRY(replace_table(context.state, next));
    TRY(rewrite_state(context.database, after));
    TRY(parts_->audit.append(records, clock_.now()));
    context.state = std::move(after);
    context.rows_rewritten = true;
    return {};
  });
}

bool SqliteKeystore::supports_rekey() const {
  if (committed_.get()->format >= kFormatCurrent.format) return true;
  if (!take_notice_of_upgrade()) return false;
  return committed_.get()->format >= kFormatCurrent.format;
}

// On the writer's connection: a reader may still look at the snapshot from before the upgrade,
// which another connection wrote.
Result<void> SqliteKeystore::take_notice_of_upgrade() const {
  return writer_->write(0, [](WriterContext& context) -> Result<void> {
    if (TRY(read_format(context.database)).format < kFormatCurrent.format) return {};
    context.state = TRY(load_state(context.database));
    return {};
  });
}

Result<void> SqliteKeystore::with_reader(const SqliteAuditTrail::Work& work) {
  ReaderLease reader = TRY(readers_.acquire());
  return work(reader->database);
}

Result<void> SqliteKeystore::with_writer(const SqliteAuditTrail::Work& work) {
  return writer_->write(kTableBytes,
                        [&](WriterContext& context) { return work(context.database); });
}

// For the writer of an open keystore, in this process, to end its transaction.
Result<void> wait_for_writer(Database& database) {
  constexpr int kWaitMs = 10'000;
  const int code = sqlite3_busy_timeout(database.handle(), kWaitMs);
  if (code == SQLITE_OK) return {};
  return std::unexpected(sqlite_error(database.handle(), code, "sqlite3_busy_timeout"));
}

Result<void> write_first_rows(Database& database, const KeystoreState& state,
                              std::span<const AuditRecord> records, UtcTime now) {
  Transaction transaction = TRY(Transaction::begin(database));
  TRY(database.execute(kKeystoreSchema));
  TRY(database.execute(kAuditSchema));
  if (state.format >= kFormatCurrent.format) TRY(database.execute(kRekeySchema));
  TRY(insert_state(database, state));
  TRY(append_audit(database, records, now));
  TRY(write_format(database, TRY(format_numbered(state.format))));
  return transaction.commit();
}

}  // namespace

Result<std::unique_ptr<Keystore>> open_sqlite_keystore(const SqliteKeystoreOptions& options) {
  Database database = TRY(
      Database::open(options.path, {.vfs_name = options.vfs_name, .cache_kib = kWriterCacheKib}));
  TRY(read_format(database));
  // What an earlier process left in the WAL may never have been synced; from here on it is. On a
  // full disk the keystore serves reads all the same.
  const Result<void> home = database.checkpoint_truncate();
  if (!home && home.error().code != ErrorCode::exhausted) return std::unexpected(home.error());
  KeystoreState state = TRY(load_state(database));
  auto keystore = std::make_unique<SqliteKeystore>(options);
  TRY(keystore->start(std::move(database), std::move(state)));
  return keystore;
}

Result<std::unique_ptr<Keystore>> create_sqlite_keystore(const SqliteKeystoreOptions& options,
                                                         const KeyTable& first,
                                                         std::span<const AuditRecord> records,
                                                         std::uint32_t format) {
  TRY(first.check());
  if (TRY(file_exists(options.path))) {
    return fail(ErrorCode::already_exists, fmt::format("{} is there already", options.path));
  }
  const std::string unfinished = options.path + ".new";
  TRY(remove_database(unfinished));
  // A WAL without its file would be taken for the new file's.
  TRY(remove_database(options.path));
  Database database =
      TRY(Database::open(unfinished, {.vfs_name = options.vfs_name, .create = true}));
  const std::uint32_t number = format == 0 ? kFormatCurrent.format : format;
  TRY(write_first_rows(database, first_state(first, number), records, options.clock.now()));
  TRY(database.checkpoint_truncate());
  TRY(database.close());
  TRY(publish_database(unfinished, options.path));
  return open_sqlite_keystore(options);
}

Result<bool> upgrade_sqlite_keystore(const SqliteKeystoreOptions& options,
                                     std::span<const AuditRecord> records) {
  Database database =
      TRY(Database::open(options.path, {.vfs_name = options.vfs_name, .create = false}));
  TRY(wait_for_writer(database));
  Transaction transaction = TRY(Transaction::begin(database));
  if (TRY(read_format(database)).format >= kFormatCurrent.format) return false;
  TRY(database.execute(kRekeySchema));
  TRY(append_audit(database, records, options.clock.now()));
  TRY(write_format(database, kFormatCurrent));
  TRY(transaction.commit());
  return true;
}

}  // namespace keyward::store
