#include "store/sqlite/sqlite_reencryption.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/text.h"

namespace keyward::store {
namespace {

constexpr std::size_t kMiB = 1u << 20;
// Of blobs in one transaction: its pages stay in memory until it ends.
constexpr std::size_t kBatchBytesMax = 4 * kMiB;
// Row numbers that one statement covers: some 100 µs of work.
constexpr std::int64_t kSpanMax = 256;
constexpr std::int64_t kSpanMin = 4;
constexpr std::size_t kPieceBytesMax = 1 * kMiB;
constexpr std::int64_t kPieceRowsMax = 1024;

constexpr std::chrono::milliseconds kPurgeWait{1000};
constexpr std::int64_t kLastRow = std::numeric_limits<std::int64_t>::max();

std::int64_t add_clamped(std::int64_t row, std::int64_t span) {
  return row > kLastRow - span ? kLastRow : row + span;
}

// So that a statement rewrites some megabytes at most, however big the entries are.
std::int64_t span_of(const KeystoreState& state, std::size_t entries_left) {
  const auto blob_bytes = std::max<std::uint64_t>(state.blob_bytes_max, 1);
  const auto fitting = static_cast<std::int64_t>(kBatchBytesMax / blob_bytes);
  const auto left = static_cast<std::int64_t>(std::min<std::size_t>(entries_left, kSpanMax));
  return std::min(std::clamp(fitting, kSpanMin, kSpanMax), left);
}

Result<void> check_batch(const KeyTable& table, std::uint64_t generation) {
  if (table.generation != generation) {
    return fail(ErrorCode::conflict,
                fmt::format("the key table of {} is at generation {}, not {}; read it again",
                            table.domain.text(), table.generation, generation));
  }
  if (table.rekey && table.rekey->phase == RekeyPhase::reencrypt) return {};
  return fail(ErrorCode::conflict,
              fmt::format("no rekey of {} is in the phase that re-encrypts", table.domain.text()));
}

}  // namespace

// ---- RowRewriter ----

Result<std::unique_ptr<RowRewriter>> RowRewriter::create(Database& database) {
  constexpr std::string_view kFunction = "keyward_reencrypt";
  const auto define = [&](void* self) -> Result<void> {
    const int code = sqlite3_create_function_v2(database.handle(), kFunction.data(), 2,
                                                SQLITE_UTF8 | SQLITE_DIRECTONLY, self, on_row,
                                                nullptr, nullptr, nullptr);
    if (code == SQLITE_OK) return {};
    return std::unexpected(sqlite_error(database.handle(), code, "sqlite3_create_function_v2"));
  };
  TRY(define(nullptr));  // The statement needs it to be there; it gets its object below.
  Statement next = TRY(database.prepare("SELECT min(id) FROM payload WHERE id > ?1"));
  Statement name_of = TRY(database.prepare("SELECT name FROM names WHERE id = ?1"));
  // The unary plus keeps SQLite from looking for a better way than the walk along the row numbers.
  Statement update =
      TRY(database.prepare("UPDATE payload SET mk = ?4, blob = keyward_reencrypt(blob, id) "
                           "WHERE id > ?1 AND id <= ?2 AND +mk = ?3"));
  std::unique_ptr<RowRewriter> rewriter(
      new RowRewriter(std::move(update), std::move(next), std::move(name_of)));
  TRY(define(rewriter.get()));
  return rewriter;
}

Result<RowRewriter::Rows> RowRewriter::rewrite(std::int64_t after, std::int64_t last, KeyRef from,
                                               KeyRef to, Reencryptor& reencryptor) {
  reencryptor_ = &reencryptor;
  rows_ = {};
  failure_.reset();
  StatementReset reset(update_);
  TRY(update_.bind(1, after));
  TRY(update_.bind(2, last));
  TRY(update_.bind(3, from));
  TRY(update_.bind(4, to));
  const Result<void> done = update_.run();
  if (failure_) return std::unexpected(name_entry(*failure_));
  TRY(done);
  return rows_;
}

void RowRewriter::on_row(sqlite3_context* context, int, sqlite3_value** values) {
  auto& self = *static_cast<RowRewriter*>(sqlite3_user_data(context));
  const auto* data = static_cast<const std::byte*>(sqlite3_value_blob(values[0]));
  const auto size = static_cast<std::size_t>(sqlite3_value_bytes(values[0]));
  self.rewrite_row(context, {data, size}, sqlite3_value_int64(values[1]));
}

void RowRewriter::rewrite_row(sqlite3_context* context, ByteView old_blob, std::int64_t id) {
  if (new_blob_.size() < old_blob.size()) new_blob_.resize(old_blob.size());
  const MutableByteView new_blob = MutableByteView(new_blob_).first(old_blob.size());
  if (Result<void> done = reencryptor_->reencrypt(old_blob, new_blob); !done) {
    failure_ = done.error();
    failed_id_ = id;
    sqlite3_result_error(context, "re-encryption failed", -1);
    return;
  }
  ++rows_.count;
  rows_.bytes += old_blob.size();
  // Not copied: SQLite writes the row before it calls for the next one.
  sqlite3_result_blob64(context, new_blob.data(), new_blob.size(), SQLITE_STATIC);
}

Error RowRewriter::name_entry(const Error& error) {
  StatementReset reset(name_of_);
  std::string name = fmt::format("of row {}, which has no name", failed_id_);
  if (name_of_.bind(1, failed_id_)) {
    if (const Result<bool> found = name_of_.step(); found && *found)
      name = fmt::format("\"{}\"", printable(name_of_.text(0)));
  }
  return with_context(error, fmt::format("entry {} cannot be re-encrypted", name));
}

Result<std::optional<std::int64_t>> RowRewriter::next_row(std::int64_t after) {
  StatementReset reset(next_);
  TRY(next_.bind(1, after));
  if (!TRY(next_.step()) || next_.is_null(0)) return std::optional<std::int64_t>();
  return std::optional(next_.integer(0));
}

// ---- Batches ----

Result<RekeyProgress> SqliteReencryption::progress() {
  const std::shared_ptr<const KeystoreState> state = committed_.get();
  if (!state->table.rekey) return RekeyProgress{};
  const std::uint64_t left = state->account(state->table.rekey->from)->entries;
  if (state->table.rekey->phase == RekeyPhase::prepare)
    return RekeyProgress{.entries_done = 0, .entries_total = left, .has_batch = false};
  const std::uint64_t total = std::max(state->rekey_entries, left);
  return RekeyProgress{.entries_done = total - left,
                       .entries_total = total,
                       .has_batch = state->cursor != kCursorStart};
}

Result<BatchReport> SqliteReencryption::run_batch(std::uint64_t generation, std::size_t entries_max,
                                                  Reencryptor& reencryptor) {
  BatchReport report;
  const Writer::Job slice = [&](WriterContext& context) -> Result<void> {
    TRY(check_batch(context.state.table, generation));
    report = TRY(run_slice(context.state, std::max<std::size_t>(entries_max, 1), reencryptor));
    return {};
  };
  // What earlier slices left in the WAL is written out beside this one; while requests come, after
  // it, so that they get the writer and the disk to themselves in the meantime.
  Result<void> synced;
  const auto sync = [&] { synced = sync_wal(); };
  const bool has_requests = writer_.has_requests_lately();
  TRY(has_requests ? writer_.work(slice) : writer_.work(slice, sync));
  if (has_requests) sync();
  TRY(synced);
  return report;
}

Result<BatchReport> SqliteReencryption::run_slice(KeystoreState& state, std::size_t entries_max,
                                                  Reencryptor& reencryptor) {
  KeyAccount& from = *state.account(state.table.rekey->from);
  KeyAccount& to = *state.account(state.table.rekey->to);
  const MonotonicTime deadline = clock_.monotonic() + writer_.slice();
  BatchReport report;
  std::size_t bytes = 0;
  reencryptor.begin_batch();
  do {
    const std::int64_t last =
        add_clamped(state.cursor, span_of(state, entries_max - report.entries));
    const RowRewriter::Rows rows =
        TRY(rewriter_->rewrite(state.cursor, last, from.ref, to.ref, reencryptor));
    report.entries += rows.count;
    bytes += rows.bytes;
    const std::optional<std::int64_t> next =
        rows.count != 0 ? std::optional(last) : TRY(rewriter_->next_row(last));
    report.done = !next;
    state.cursor = !next || *next == last ? last : *next - 1;
  } while (!report.done && report.entries < entries_max && bytes < kBatchBytesMax &&
           clock_.monotonic() < deadline && !writer_.request_waits());
  from.entries -= std::min(from.entries, report.entries);
  to.entries += report.entries;
  return report;
}

// By the caller's thread, through a reader's connection, while the writer goes on.
Result<void> SqliteReencryption::sync_wal() {
  const std::size_t bytes = writer_.bytes_to_sync();
  if (bytes == 0) return {};
  ReaderLease reader = TRY(readers_.acquire());
  const Result<void> synced = reader->sync_wal();
  writer_.note_sync(synced, bytes);
  return synced;
}

// ---- Scan ----

// Rows copied out of the database, so that the visitor takes its time without a transaction open.
struct SqliteReencryption::Piece {
  struct Row {
    EntryInfo info;
    std::size_t blob_at = 0;
  };
  std::int64_t after = 0;
  bool is_last = false;
  std::vector<Row> rows;
  Bytes blobs;
};

namespace {

Result<EntryInfo> read_info(Reader& reader) {
  Statement& row = reader.scan;
  if (row.is_null(4)) {
    return fail(ErrorCode::corrupt,
                fmt::format("row {} has content but no name; restore the keystore from a backup",
                            row.integer(0)));
  }
  Result<EntryName> name = EntryName::parse(row.text(4));
  if (!name)
    return std::unexpected(Error{ErrorCode::corrupt,
                                 "the store has an entry with a name that "
                                 "cannot be: " +
                                     name.error().message});
  const KeyId key = TRY(reader.key_of(row.integer(1), row.text(4)));
  return EntryInfo{*std::move(name), key, static_cast<std::uint64_t>(row.integer(2)),
                   row.blob(3).size()};
}

Result<void> check_names(Reader& reader, std::int64_t after, std::int64_t last,
                         std::size_t expected) {
  StatementReset reset(reader.count_names);
  TRY(reader.count_names.bind(1, after));
  TRY(reader.count_names.bind(2, last));
  TRY(reader.count_names.step());
  const auto found = static_cast<std::size_t>(reader.count_names.integer(0));
  if (found == expected) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("{} entries have a name but no content; restore the keystore from a "
                          "backup",
                          found - std::min(found, expected)));
}

}  // namespace

Result<void> SqliteReencryption::read_piece(Piece& piece) {
  ReaderLease reader = TRY(readers_.acquire());
  piece.rows.clear();
  piece.blobs.clear();
  const std::int64_t after = piece.after;
  StatementReset reset(reader->scan);
  TRY(reader->scan.bind(1, after));
  TRY(reader->scan.bind(2, kPieceRowsMax));
  while (piece.blobs.size() < kPieceBytesMax && TRY(reader->scan.step())) {
    const ByteView blob = reader->scan.blob(3);
    piece.rows.push_back({TRY(read_info(*reader)), piece.blobs.size()});
    piece.blobs.insert(piece.blobs.end(), blob.begin(), blob.end());
    piece.after = reader->scan.integer(0);
  }
  const bool filled = piece.blobs.size() >= kPieceBytesMax ||
                      piece.rows.size() == static_cast<std::size_t>(kPieceRowsMax);
  piece.is_last = !filled;
  return check_names(*reader, after, filled ? piece.after : kLastRow, piece.rows.size());
}

Result<void> SqliteReencryption::scan(EntryVisitor& visitor, std::stop_token stop) {
  Piece piece;
  piece.after = kCursorStart;
  while (!piece.is_last) {
    TRY(read_piece(piece));
    for (const Piece::Row& row : piece.rows) {
      if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the scan was stopped");
      const ByteView blobs = piece.blobs;
      TRY(visitor.visit(row.info, blobs.subspan(row.blob_at, row.info.blob_bytes)));
    }
  }
  return {};
}

// ---- Purge ----

Result<void> SqliteReencryption::purge() {
  // Most of it with readers at work, so that the rest, without them, is short.
  TRY(writer_.pause_and([&](WriterContext& context) -> Result<void> {
    readers_.end_idle();
    TRY(context.database.checkpoint_passive());
    return {};
  }));
  return writer_.pause_and([&](WriterContext& context) -> Result<void> {
    const ReaderPool::Drained drained = TRY(readers_.drain(kPurgeWait));
    TRY(context.database.checkpoint_truncate());
    // A rekey ends here; with many keystores their caches would add up.
    sqlite3_db_release_memory(context.database.handle());
    return {};
  });
}

}  // namespace keyward::store
