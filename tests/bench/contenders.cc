#include "tests/bench/contenders.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "base/c_ptr.h"

namespace keyward::bench {
namespace {

using Connection = CPtr<sqlite3, sqlite3_close>;
using Prepared = CPtr<sqlite3_stmt, sqlite3_finalize>;

constexpr std::int64_t kBatchRows = 10'000;
// As often as our writer does while nobody else writes.
constexpr int kCheckpointPages = 16 * 1024 * 1024 / (16 * 1024);

void check(sqlite3* database, int code, std::string_view what) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  give_up(fmt::format("{}: {}", what, sqlite3_errmsg(database)));
}

void execute(sqlite3* database, const char* sql) {
  check(database, sqlite3_exec(database, sql, nullptr, nullptr, nullptr), sql);
}

// Other bytes of the same size: what any rewrite must at least do.
void copy_changed(sqlite3_context* context, int, sqlite3_value** values) {
  static std::vector<std::byte> bytes;
  const auto* data = static_cast<const std::byte*>(sqlite3_value_blob(values[0]));
  bytes.assign(data, data + sqlite3_value_bytes(values[0]));
  for (std::byte& byte : bytes) byte ^= std::byte{0x5a};
  sqlite3_result_blob64(context, bytes.data(), bytes.size(), SQLITE_STATIC);
}

Connection open(const std::filesystem::path& file, const char* synchronous) {
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &handle, SQLITE_OPEN_READWRITE, "unix-excl");
  Connection database(handle);
  check(handle, code, file.c_str());
  execute(handle,
          "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-16384; "
          "PRAGMA temp_store=MEMORY");
  execute(handle, synchronous);
  check(handle,
        sqlite3_create_function_v2(handle, "copy_changed", 1, SQLITE_UTF8, nullptr, copy_changed,
                                   nullptr, nullptr, nullptr),
        "sqlite3_create_function_v2");
  return database;
}

Prepared prepare(sqlite3* database, const char* sql) {
  sqlite3_stmt* statement = nullptr;
  check(database, sqlite3_prepare_v2(database, sql, -1, &statement, nullptr), sql);
  return Prepared(statement);
}

std::int64_t number(sqlite3* database, const char* sql) {
  const Prepared query = prepare(database, sql);
  check(database, sqlite3_step(query.get()), sql);
  return sqlite3_column_int64(query.get(), 0);
}

void checkpoint(sqlite3* database, int mode) {
  check(database, sqlite3_wal_checkpoint_v2(database, "main", mode, nullptr, nullptr),
        "sqlite3_wal_checkpoint_v2");
}

int note_wal_pages(void* pages, sqlite3*, const char*, int now) {
  *static_cast<int*>(pages) = now;
  return SQLITE_OK;
}

Json answer(const Meter& meter) {
  Json usage = meter.read().to_json();
  return {{"usage", std::move(usage)}, {"peak_kib", peak_memory_kib()}};
}

}  // namespace

Json rewrite_bare(const std::filesystem::path& file) {
  const Connection database = open(file, "PRAGMA synchronous=NORMAL");
  const std::int64_t last = number(database.get(), "SELECT max(id) FROM payload");
  const Prepared update = prepare(database.get(),
                                  "UPDATE payload SET mk = mk + 1, blob = copy_changed(blob) "
                                  "WHERE id > ?1 AND id <= ?2");
  int wal_pages = 0;
  sqlite3_wal_hook(database.get(), note_wal_pages, &wal_pages);
  const Meter meter;
  for (std::int64_t row = 0; row < last; row += kBatchRows) {
    sqlite3_bind_int64(update.get(), 1, row);
    sqlite3_bind_int64(update.get(), 2, row + kBatchRows);
    check(database.get(), sqlite3_step(update.get()), "UPDATE");
    check(database.get(), sqlite3_reset(update.get()), "UPDATE");
    if (wal_pages >= kCheckpointPages) checkpoint(database.get(), SQLITE_CHECKPOINT_PASSIVE);
  }
  checkpoint(database.get(), SQLITE_CHECKPOINT_TRUNCATE);
  return answer(meter);
}

Json rewrite_row_by_row(const std::filesystem::path& file) {
  const Connection database = open(file, "PRAGMA synchronous=NORMAL");
  const std::int64_t last = number(database.get(), "SELECT max(id) FROM payload");
  const Prepared select =
      prepare(database.get(), "SELECT id, blob FROM payload WHERE id > ?1 AND id <= ?2");
  const Prepared update =
      prepare(database.get(), "UPDATE payload SET mk = mk + 1, blob = ?2 WHERE id = ?1");
  int wal_pages = 0;
  sqlite3_wal_hook(database.get(), note_wal_pages, &wal_pages);
  std::vector<std::byte> bytes;
  const Meter meter;
  for (std::int64_t row = 0; row < last; row += kBatchRows) {
    execute(database.get(), "BEGIN IMMEDIATE");
    sqlite3_bind_int64(select.get(), 1, row);
    sqlite3_bind_int64(select.get(), 2, row + kBatchRows);
    while (sqlite3_step(select.get()) == SQLITE_ROW) {
      const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(select.get(), 1));
      bytes.assign(data, data + sqlite3_column_bytes(select.get(), 1));
      for (std::byte& byte : bytes) byte ^= std::byte{0x5a};
      sqlite3_bind_int64(update.get(), 1, sqlite3_column_int64(select.get(), 0));
      sqlite3_bind_blob64(update.get(), 2, bytes.data(), bytes.size(), SQLITE_STATIC);
      check(database.get(), sqlite3_step(update.get()), "UPDATE");
      check(database.get(), sqlite3_reset(update.get()), "UPDATE");
    }
    check(database.get(), sqlite3_reset(select.get()), "SELECT");
    execute(database.get(), "COMMIT");
    if (wal_pages >= kCheckpointPages) checkpoint(database.get(), SQLITE_CHECKPOINT_PASSIVE);
  }
  checkpoint(database.get(), SQLITE_CHECKPOINT_TRUNCATE);
  return answer(meter);
}

Json rewrite_synced_one_by_one(const std::filesystem::path& file, std::uint32_t sample) {
  const Connection database = open(file, "PRAGMA synchronous=FULL");
  const Prepared update =
      prepare(database.get(), "UPDATE payload SET blob = copy_changed(blob) WHERE id = ?1");
  const Meter meter;
  for (std::uint32_t row = 1; row <= sample; ++row) {
    sqlite3_bind_int64(update.get(), 1, row);
    check(database.get(), sqlite3_step(update.get()), "UPDATE");
    check(database.get(), sqlite3_reset(update.get()), "UPDATE");
  }
  Json measured = answer(meter);
  checkpoint(database.get(), SQLITE_CHECKPOINT_TRUNCATE);
  return measured;
}

std::filesystem::path sqlcipher_program() {
  return build_directory() / "tests" / "bench" / "keyward-bench-sqlcipher";
}

}  // namespace keyward::bench
