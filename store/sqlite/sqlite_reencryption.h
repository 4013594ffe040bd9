// Reencryption on SQLite: batches as UPDATE statements that call the cipher, scans in pieces, and
// the checkpoint that leaves nothing superseded in the files.
//
// A batch runs on the writer's thread for one slice of time, as one transaction of many statements
// of some hundred rows each. Between statements it looks at the clock and at the requests that
// wait. One statement walks the table once and rewrites each row where it stands: no row is looked
// up twice, none is copied to another thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

#include "base/clock.h"
#include "store/reencryption.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite_keystore_readers.h"
#include "store/sqlite/writer.h"

struct sqlite3_context;
struct sqlite3_value;

namespace keyward::store {

// The UPDATE and its callback. The writer's thread only.
class RowRewriter final {
 public:
  static Result<std::unique_ptr<RowRewriter>> create(Database& database);
  RowRewriter(const RowRewriter&) = delete;
  RowRewriter& operator=(const RowRewriter&) = delete;

  struct Rows {
    std::uint64_t count = 0;
    std::size_t bytes = 0;
  };
  // Rewrites the rows past `after`, up to `last`, that are under `from`. After an error the
  // transaction must be rolled back; the error names the entry.
  Result<Rows> rewrite(std::int64_t after, std::int64_t last, KeyRef from, KeyRef to,
                       Reencryptor& reencryptor);
  // The first row past `after`.
  Result<std::optional<std::int64_t>> next_row(std::int64_t after);

 private:
  RowRewriter(Statement update, Statement next, Statement name_of)
      : update_(std::move(update)), next_(std::move(next)), name_of_(std::move(name_of)) {}
  static void on_row(sqlite3_context* context, int count, sqlite3_value** values);
  void rewrite_row(sqlite3_context* context, ByteView old_blob, std::int64_t id);
  Error name_entry(const Error& error);

  Statement update_;
  Statement next_;
  Statement name_of_;
  Bytes new_blob_;
  // Of the statement that runs.
  Reencryptor* reencryptor_ = nullptr;
  Rows rows_;
  std::int64_t failed_id_ = 0;
  std::optional<Error> failure_;
};

class SqliteReencryption final : public Reencryption {
 public:
  // All outlive it.
  SqliteReencryption(Writer& writer, ReaderPool& readers, const CommittedState& committed,
                     std::unique_ptr<RowRewriter> rewriter, Clock& clock)
      : writer_(writer),
        readers_(readers),
        committed_(committed),
        rewriter_(std::move(rewriter)),
        clock_(clock) {}

  Result<RekeyProgress> progress() override;
  Result<BatchReport> run_batch(std::uint64_t generation, std::size_t entries_max,
                                Reencryptor& reencryptor) override;
  Result<void> scan(EntryVisitor& visitor, std::stop_token stop) override;
  Result<void> purge() override;

 private:
  struct Piece;

  Result<BatchReport> run_slice(KeystoreState& state, std::size_t entries_max,
                                Reencryptor& reencryptor);
  Result<void> sync_wal();
  Result<void> read_piece(Piece& piece);

  Writer& writer_;
  ReaderPool& readers_;
  const CommittedState& committed_;
  std::unique_ptr<RowRewriter> rewriter_;
  Clock& clock_;
};

}  // namespace keyward::store
