#include <fmt/format.h>
#include <lmdb.h>
#include <sqlite3.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/c_ptr.h"
#include "tests/bench/contenders.h"

namespace keyward::bench {
namespace {

using Environment = CPtr<MDB_env, mdb_env_close>;

constexpr std::size_t kMapBytes = std::size_t{16} << 30;  // Address space, not memory.
constexpr std::size_t kCommitBytes = 16 * 1024 * 1024;

void check(int code, std::string_view what) {
  if (code != MDB_SUCCESS) give_up(fmt::format("{}: {}", what, mdb_strerror(code)));
}

Environment open(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  MDB_env* handle = nullptr;
  check(mdb_env_create(&handle), "mdb_env_create");
  Environment environment(handle);
  check(mdb_env_set_mapsize(handle, kMapBytes), "mdb_env_set_mapsize");
  check(mdb_env_open(handle, directory.c_str(), 0, 0600), "mdb_env_open");
  return environment;
}

// A write transaction with a cursor on the one table.
class Writing final {
 public:
  explicit Writing(MDB_env* environment) {
    check(mdb_txn_begin(environment, nullptr, 0, &transaction_), "mdb_txn_begin");
    MDB_dbi table = 0;
    check(mdb_dbi_open(transaction_, nullptr, MDB_INTEGERKEY | MDB_CREATE, &table), "mdb_dbi_open");
    check(mdb_cursor_open(transaction_, table, &cursor), "mdb_cursor_open");
  }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
  void commit() {
    mdb_cursor_close(cursor);
    check(mdb_txn_commit(transaction_), "mdb_txn_commit");
  }
  MDB_cursor* cursor = nullptr;

 private:
  MDB_txn* transaction_ = nullptr;
};

// Rewrites from past `after`, one transaction's worth. False when there was no more.
bool rewrite_some(MDB_env* environment, std::uint64_t& after) {
  Writing writing(environment);
  std::uint64_t wanted = after + 1;
  MDB_val key{sizeof wanted, &wanted};
  MDB_val value{};
  std::vector<std::byte> bytes;
  std::size_t written = 0;
  int code = mdb_cursor_get(writing.cursor, &key, &value, MDB_SET_RANGE);
  while (code == MDB_SUCCESS && written < kCommitBytes) {
    const auto* data = static_cast<const std::byte*>(value.mv_data);
    bytes.assign(data, data + value.mv_size);
    for (std::byte& byte : bytes) byte ^= std::byte{0x5a};
    after = *static_cast<std::uint64_t*>(key.mv_data);
    MDB_val changed{bytes.size(), bytes.data()};
    check(mdb_cursor_put(writing.cursor, &key, &changed, MDB_CURRENT), "mdb_cursor_put");
    written += bytes.size();
    code = mdb_cursor_get(writing.cursor, &key, &value, MDB_NEXT);
  }
  if (code != MDB_NOTFOUND) check(code, "mdb_cursor_get");
  writing.commit();
  return code == MDB_SUCCESS;
}

}  // namespace

void copy_into_lmdb(const std::filesystem::path& file, const std::filesystem::path& directory) {
  sqlite3* handle = nullptr;
  need(sqlite3_open_v2(file.c_str(), &handle, SQLITE_OPEN_READWRITE, "unix-excl") == SQLITE_OK,
       "the keystore does not open");
  const CPtr<sqlite3, sqlite3_close> database(handle);
  sqlite3_stmt* query = nullptr;
  need(sqlite3_prepare_v2(handle, "SELECT id, blob FROM payload ORDER BY id", -1, &query,
                          nullptr) == SQLITE_OK,
       "the payloads cannot be read");
  const CPtr<sqlite3_stmt, sqlite3_finalize> rows(query);
  const Environment environment = open(directory);
  Writing writing(environment.get());
  while (sqlite3_step(query) == SQLITE_ROW) {
    auto id = static_cast<std::uint64_t>(sqlite3_column_int64(query, 0));
    MDB_val key{sizeof id, &id};
    MDB_val value{static_cast<std::size_t>(sqlite3_column_bytes(query, 1)),
                  const_cast<void*>(sqlite3_column_blob(query, 1))};
    check(mdb_cursor_put(writing.cursor, &key, &value, MDB_APPEND), "mdb_cursor_put");
  }
  writing.commit();
}

Json rewrite_lmdb(const std::filesystem::path& directory) {
  const Environment environment = open(directory);
  const Meter meter;
  std::uint64_t after = 0;
  while (rewrite_some(environment.get(), after)) {
  }
  Json usage = meter.read().to_json();
  return {{"usage", std::move(usage)}, {"peak_kib", peak_memory_kib()}};
}

}  // namespace keyward::bench
