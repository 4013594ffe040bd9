// keyward-bench-sqlcipher measures SQLCipher's own rekey. A program by itself, since its library
// has SQLite's symbols.
//
//   keyward-bench-sqlcipher fill FILE ENTRIES SIZE   names and payloads, two tables as ours
//   keyward-bench-sqlcipher rekey FILE delete|wal    prints {"usage": …}
//
// Raw keys, so that no key derivation is measured; pages of 4 KiB. "delete" is how SQLCipher works
// unless it is told otherwise: a rollback journal and synchronous=FULL. "wal" is as near to ours as
// it comes: WAL, synchronous=NORMAL, and a last checkpoint as part of the work.
#define SQLITE_HAS_CODEC 1
#include <fmt/format.h>
#include <sqlcipher/sqlite3.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/measure.h"

namespace keyward::bench {
namespace {

void check(sqlite3* database, int code, std::string_view what) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return;
  give_up(fmt::format("{}: {}", what, sqlite3_errmsg(database)));
}

void execute(sqlite3* database, const char* sql) {
  check(database, sqlite3_exec(database, sql, nullptr, nullptr, nullptr), "SQLCipher");
}

// A key of 32 equal bytes. These are no secrets.
std::string raw_key(char digit) { return fmt::format("\"x'{}'\"", std::string(64, digit)); }

sqlite3* open(const std::string& file, char digit) {
  sqlite3* database = nullptr;
  check(database, sqlite3_open(file.c_str(), &database), "sqlite3_open");
  execute(database,
          fmt::format("PRAGMA key={}; PRAGMA cipher_page_size=4096", raw_key(digit)).c_str());
  execute(database, "PRAGMA cache_size=-16384");
  return database;
}

void fill(const std::string& file, std::uint32_t entries, std::size_t size) {
  sqlite3* database = open(file, '1');
  execute(database,
          "CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE); "
          "CREATE TABLE payload(id INTEGER PRIMARY KEY, mk INTEGER, version INTEGER, blob BLOB); "
          "BEGIN");
  sqlite3_stmt* name = nullptr;
  sqlite3_stmt* payload = nullptr;
  check(database,
        sqlite3_prepare_v2(database, "INSERT INTO names VALUES(?1, printf('entry-%08d', ?1))", -1,
                           &name, nullptr),
        "INSERT");
  check(database,
        sqlite3_prepare_v2(database, "INSERT INTO payload VALUES(?1, 16777217, 1, ?2)", -1,
                           &payload, nullptr),
        "INSERT");
  std::vector<std::uint64_t> secret((size + 7) / 8, 0x9e3779b97f4a7c15u);
  for (std::uint32_t id = 1; id <= entries; ++id) {
    secret[0] = id;
    sqlite3_bind_int64(name, 1, id);
    sqlite3_bind_int64(payload, 1, id);
    sqlite3_bind_blob(payload, 2, secret.data(), static_cast<int>(size), SQLITE_STATIC);
    for (sqlite3_stmt* insert : {name, payload}) {
      check(database, sqlite3_step(insert), "INSERT");
      sqlite3_reset(insert);
    }
  }
  execute(database, "COMMIT");
  sqlite3_finalize(name);
  sqlite3_finalize(payload);
  execute(database, "PRAGMA wal_checkpoint(TRUNCATE)");
  sqlite3_close(database);
  fmt::print("{}\n", Json{{"entries", entries}}.dump());
}

// There and back, so that the file opens under its first key the next time.
void rekey(const std::string& file, bool wal) {
  sqlite3* database = open(file, '1');
  execute(database, wal ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
                          "PRAGMA wal_autocheckpoint=0"
                        : "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL");
  const Meter meter;
  execute(database, fmt::format("PRAGMA rekey={}", raw_key('2')).c_str());
  execute(database, "PRAGMA wal_checkpoint(TRUNCATE)");
  Json usage = meter.read().to_json();
  const std::uint64_t peak = peak_memory_kib();
  execute(database, fmt::format("PRAGMA rekey={}", raw_key('1')).c_str());
  execute(database, "PRAGMA wal_checkpoint(TRUNCATE)");
  sqlite3_close(database);
  fmt::print("{}\n", Json{{"usage", std::move(usage)}, {"peak_kib", peak}}.dump());
}

}  // namespace
}  // namespace keyward::bench

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (words.size() == 4 && words[0] == "fill") {
    keyward::bench::fill(words[1], static_cast<std::uint32_t>(std::stoul(words[2])),
                         std::stoul(words[3]));
  } else if (words.size() == 3 && words[0] == "rekey") {
    keyward::bench::rekey(words[1], words[2] == "wal");
  } else {
    fmt::print(stderr,
               "usage: keyward-bench-sqlcipher fill FILE ENTRIES SIZE | rekey FILE delete|wal\n");
    return 2;
  }
  return 0;
}
