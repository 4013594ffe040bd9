// Database is one connection to one SQLite file, Statement one prepared statement on it.
//
//   Database db = TRY(Database::open(path, {.vfs_name = vfs.name(), .create = true}));
//   Statement put = TRY(db.prepare("INSERT INTO document VALUES (?1, ?2)"));
//   Transaction transaction = TRY(Transaction::begin(db));
//   {
//     StatementReset reset(put);                 // resets and clears the bindings at the end
//     TRY(put.bind(1, name));
//     TRY(put.bind(2, json));
//     TRY(put.run());
//   }
//   TRY(transaction.commit());                   // rolled back if it is never reached
//
// Every connection has the settings that the promise "nothing superseded is left in the files"
// needs: secure_delete=ON, temp_store=MEMORY, WAL without automatic checkpoints, neither while
// running nor on close; pages of 16 KiB. The locking is that of unix-excl: the first connection
// keeps other processes out, further ones inside this process work.
//
// Thread rule: a connection and its statements belong to one thread at a time. Several connections
// to one file may be used at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace keyward::store {

inline constexpr int kPageBytes = 16 * 1024;

// What a commit waits for. It can be changed outside of a transaction only.
enum class Synchronous : std::uint8_t {
  normal = 1,  // Nothing: atomic, and durable with the next full commit or checkpoint.
  full = 2,    // fdatasync of the WAL, which makes all earlier commits durable too.
  extra = 3,   // As full; outside of WAL mode also the directory.
};

class Statement final {
 public:
  Statement(Statement&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  // Parameters count from 1. The value is copied.
  Result<void> bind(int index, std::int64_t value);
  Result<void> bind(int index, std::string_view text);
  Result<void> bind(int index, ByteView blob);
  Result<void> bind_null(int index);
  // For big values: not copied, so it must stay until the statement is reset.
  Result<void> bind_borrowed(int index, ByteView blob);

  // True when there is a row to read.
  Result<bool> step();
  // For statements without rows.
  Result<void> run();
  // Ends the statement's read of the database and forgets the bindings.
  void reset();

  // Columns count from 0. Views are good until the next step() or reset().
  std::int64_t integer(int column) const;
  std::string_view text(int column) const;
  ByteView blob(int column) const;
  bool is_null(int column) const;

  sqlite3_stmt* handle() const { return handle_; }

 private:
  friend class Database;
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  sqlite3_stmt* handle_;
};

// Resets a statement at the end of its scope, so that no read transaction outlives its use.
class StatementReset final {
 public:
  explicit StatementReset(Statement& statement) : statement_(statement) {}
  ~StatementReset() { statement_.reset(); }
  StatementReset(const StatementReset&) = delete;
  StatementReset& operator=(const StatementReset&) = delete;

 private:
  Statement& statement_;
};

class Database final {
 public:
  struct Options {
    std::string vfs_name = "unix-excl";  // A Vfs's name().
    bool create = false;                 // Otherwise a file that is not there is `not_found`.
    // Every statement that writes is refused. The file is opened for writing all the same:
    // unix-excl needs that for its lock.
    bool read_only = false;
    std::size_t cache_kib = 16 * 1024;
  };

  // `busy` when another process has the file open, `not_found`, `corrupt` when it is no database,
  // `io` or `unavailable` as the operating system answers.
  static Result<Database> open(std::string_view path, const Options& options);

  Database(Database&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), path_(std::move(other.path_)) {}
  Database& operator=(Database&& other) noexcept;
  ~Database();

  // All statements must be gone. No checkpoint is made.
  Result<void> close();

  // `sql` holds one statement.
  Result<Statement> prepare(std::string_view sql);
  // Runs all statements of a script without parameters and drops their rows.
  Result<void> execute(std::string_view sql);

  Result<void> set_synchronous(Synchronous mode);
  // Copies the whole WAL into the file, truncates it and syncs both. `busy` while a reader or
  // writer is at work: then not all was copied, and nothing may be destroyed on the strength of it.
  Result<void> checkpoint_truncate();
  // Copies what can be copied without waiting for anybody. Answers the frames left in the WAL.
  Result<std::size_t> checkpoint_passive();
  // Size of the WAL file, and an fdatasync of it.
  Result<std::uint64_t> wal_bytes();
  Result<void> sync_wal();

  Result<std::uint32_t> user_version();
  // Part of the transaction that is open, as any other change.
  Result<void> set_user_version(std::uint32_t version);

  // Of the main file as it is, whatever the WAL says; pages count from 1. False past its end. Not
  // through a descriptor of our own: closing that would drop SQLite's locks on the file.
  Result<std::uint32_t> page_count();
  Result<bool> read_page(std::uint32_t number, MutableByteView page);

  // PRAGMA integrity_check; `corrupt` with its first finding.
  Result<void> check_integrity();

  // True once a sync of this file or its WAL has failed, through any connection of this process,
  // until the last of them is closed. What had been written before may be lost then, although a
  // later sync reports success. False for a VFS other than Vfs.
  bool sync_failed() const;

  bool in_transaction() const;
  std::int64_t changes() const;  // Rows changed by the last INSERT, UPDATE or DELETE.
  const std::string& path() const { return path_; }
  sqlite3* handle() const { return handle_; }

 private:
  Database(sqlite3* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  Result<void> configure(const Options& options);
  Result<std::string> query_text(std::string_view sql);

  sqlite3* handle_;
  std::string path_;
};

// BEGIN IMMEDIATE … COMMIT. The destructor rolls back what was not committed.
class Transaction final {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // When it fails, the changes are rolled back. After `io` they may come back with a restart.
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

// The error that `code`, an SQLite result code, stands for; `origin` is the SQLite function.
Error sqlite_error(sqlite3* database, int code, std::string_view origin);

}  // namespace keyward::store
