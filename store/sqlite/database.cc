#include "store/sqlite/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>

#include "store/sqlite/vfs_control.h"

namespace keyward::store {
namespace {

struct Meaning {
  int code;  // A primary result code.
  ErrorCode error;
  std::string_view advice;
};

constexpr Meaning kMeanings[] = {
    {SQLITE_FULL, ErrorCode::exhausted, "the disk is full, nothing was changed; free space on it"},
    {SQLITE_BUSY, ErrorCode::busy, "somebody else is using the database; try again"},
    {SQLITE_LOCKED, ErrorCode::busy, "another statement is using the database; try again"},
    {SQLITE_CORRUPT, ErrorCode::corrupt,
     "the file is damaged; stop the daemon and restore it from a backup"},
    {SQLITE_NOTADB, ErrorCode::corrupt, "the file is no SQLite database; restore it from a backup"},
    {SQLITE_IOERR, ErrorCode::io,
     "reading or writing failed; look at the kernel log, the disk may be failing"},
    {SQLITE_CANTOPEN, ErrorCode::unavailable,
     "it cannot be opened; check that the directory exists and that its owner is the daemon's "
     "user"},
    {SQLITE_READONLY, ErrorCode::io,
     "it cannot be written; check the file's permissions and that its disk is mounted for writing"},
    {SQLITE_PERM, ErrorCode::io, "access was refused; check the file's owner and permissions"},
    {SQLITE_AUTH, ErrorCode::io, "access was refused; check the file's owner and permissions"},
    {SQLITE_NOMEM, ErrorCode::exhausted, "the memory is used up; nothing was changed"},
    {SQLITE_CONSTRAINT, ErrorCode::conflict, "it contradicts what is stored; nothing was changed"},
    {SQLITE_INTERRUPT, ErrorCode::cancelled, "it was interrupted; nothing was changed"},
    {SQLITE_TOOBIG, ErrorCode::invalid_argument, "the value is too big; nothing was changed"},
    {SQLITE_PROTOCOL, ErrorCode::busy, "the lock on the WAL could not be had; try again"},
};

// 512 GiB. So no page number reaches 2^25, and the first byte of an overflow page tells it from a
// b-tree page (see Vfs).
constexpr std::uint32_t kPagesMax = (1u << 25) - 1;

// The names of the files whose absence makes an open fail are SQLite's own business; a missing
// database is ours to tell apart.
bool is_missing(sqlite3* database, int code) {
  return (code & 0xff) == SQLITE_CANTOPEN && sqlite3_system_errno(database) == ENOENT;
}

std::string_view path_of(sqlite3* database) {
  const char* path = database == nullptr ? nullptr : sqlite3_db_filename(database, "main");
  return path == nullptr ? std::string_view("the database") : std::string_view(path);
}

Error make_error(std::string_view path, int code, std::string_view detail,
                 std::string_view origin) {
  Meaning meaning{code, ErrorCode::io, "this is a fault of the program; please report it"};
  for (const Meaning& row : kMeanings)
    if (row.code == (code & 0xff)) meaning = row;
  return {meaning.error,
          fmt::format("{}: {} (SQLite {}) on {}: {}", origin, detail, code, path, meaning.advice),
          origin, static_cast<std::uint64_t>(code)};
}

Error error_of(sqlite3_stmt* statement, int code, std::string_view origin) {
  return sqlite_error(sqlite3_db_handle(statement), code, origin);
}

sqlite3_file* wal_file(sqlite3* database) {
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(database, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK)
    return nullptr;
  return file != nullptr && file->pMethods != nullptr ? file : nullptr;
}

sqlite3_file* main_file(sqlite3* database) {
  sqlite3_file* file = nullptr;
  const int code = sqlite3_file_control(database, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  return code == SQLITE_OK && file != nullptr && file->pMethods != nullptr ? file : nullptr;
}

Result<void> expect_ok(sqlite3* database, int code, std::string_view origin) {
  if (code != SQLITE_OK) return std::unexpected(sqlite_error(database, code, origin));
  return {};
}

}  // namespace

Error sqlite_error(sqlite3* database, int code, std::string_view origin) {
  // The connection's text belongs to its last failure, which need not be this one.
  const bool own_text = database != nullptr && sqlite3_extended_errcode(database) == code;
  const char* text = own_text ? sqlite3_errmsg(database) : sqlite3_errstr(code);
  return make_error(path_of(database), code, text, origin);
}

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

Statement::~Statement() { sqlite3_finalize(handle_); }

Result<void> Statement::bind(int index, std::int64_t value) {
  const int code = sqlite3_bind_int64(handle_, index, value);
  if (code != SQLITE_OK) return std::unexpected(error_of(handle_, code, "sqlite3_bind_int64"));
  return {};
}

Result<void> Statement::bind(int index, std::string_view text) {
  const int code = sqlite3_bind_text64(handle_, index, text.data() == nullptr ? "" : text.data(),
                                       text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) return std::unexpected(error_of(handle_, code, "sqlite3_bind_text64"));
  return {};
}

Result<void> Statement::bind(int index, ByteView blob) {
  const void* data = blob.empty() ? static_cast<const void*>("") : blob.data();
  const int code = sqlite3_bind_blob64(handle_, index, data, blob.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) return std::unexpected(error_of(handle_, code, "sqlite3_bind_blob64"));
  return {};
}

Result<void> Statement::bind_null(int index) {
  const int code = sqlite3_bind_null(handle_, index);
  if (code != SQLITE_OK) return std::unexpected(error_of(handle_, code, "sqlite3_bind_null"));
  return {};
}

Result<void> Statement::bind_borrowed(int index, ByteView blob) {
  const void* data = blob.empty() ? static_cast<const void*>("") : blob.data();
  const int code = sqlite3_bind_blob64(handle_, index, data, blob.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) return std::unexpected(error_of(handle_, code, "sqlite3_bind_blob64"));
  return {};
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(handle_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return std::unexpected(error_of(handle_, code, "sqlite3_step"));
}

Result<void> Statement::run() {
  while (TRY(step())) {
  }
  return {};
}

void Statement::reset() {
  sqlite3_reset(handle_);
  sqlite3_clear_bindings(handle_);
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(handle_, column); }

std::string_view Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(handle_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
}

ByteView Statement::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(handle_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_, column) == SQLITE_NULL;
}

Result<Database> Database::open(std::string_view path, const Options& options) {
  const std::string name(path);
  sqlite3* handle = nullptr;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (options.create) flags |= SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(name.c_str(), &handle, flags, options.vfs_name.c_str());
  Database database(handle, name);  // SQLite makes a handle even when it fails.
  if (is_missing(handle, code) && !options.create) {
    return fail(ErrorCode::not_found, fmt::format("sqlite3_open_v2: {} does not exist", name),
                "sqlite3_open_v2", static_cast<std::uint64_t>(code));
  }
  if (code != SQLITE_OK) {
    const char* text = handle == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle);
    return std::unexpected(make_error(name, code, text, "sqlite3_open_v2"));
  }
  TRY(database.configure(options));
  return database;
}

Result<void> Database::configure(const Options& options) {
  for (const auto& [option, value] :
       {std::pair{SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1}, std::pair{SQLITE_DBCONFIG_DEFENSIVE, 1},
        std::pair{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0}, std::pair{SQLITE_DBCONFIG_DQS_DML, 0},
        std::pair{SQLITE_DBCONFIG_DQS_DDL, 0}}) {
    int answer = -1;
    TRY(expect_ok(handle_, sqlite3_db_config(handle_, option, value, &answer),
                  "sqlite3_db_config"));
  }
  TRY(execute(fmt::format(
      "PRAGMA page_size={}; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; "
      "PRAGMA cell_size_check=ON; PRAGMA wal_autocheckpoint=0; PRAGMA max_page_count={}; "
      "PRAGMA cache_size=-{}; PRAGMA synchronous=FULL",
      kPageBytes, kPagesMax, options.cache_kib)));
  const std::string erase = TRY(query_text("PRAGMA secure_delete=ON"));
  const std::string journal = TRY(query_text("PRAGMA journal_mode=WAL"));
  if (erase != "1" || journal != "wal") {
    return fail(ErrorCode::unsupported,
                fmt::format("{}: this SQLite answers secure_delete={} and journal_mode={}, needed "
                            "are 1 and wal; install the SQLite of the distribution",
                            path_, erase, journal),
                "PRAGMA");
  }
  if (options.read_only) TRY(execute("PRAGMA query_only=ON"));
  return {};
}

Database& Database::operator=(Database&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(path_, other.path_);
  return *this;
}

Database::~Database() { sqlite3_close_v2(handle_); }

Result<void> Database::close() {
  TRY(expect_ok(handle_, sqlite3_close(handle_), "sqlite3_close"));
  handle_ = nullptr;
  return {};
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  TRY(expect_ok(handle_, code, "sqlite3_prepare_v3"));
  return Statement(statement);
}

Result<void> Database::execute(std::string_view sql) {
  const std::string text(sql);
  return expect_ok(handle_, sqlite3_exec(handle_, text.c_str(), nullptr, nullptr, nullptr),
                   "sqlite3_exec");
}

Result<std::string> Database::query_text(std::string_view sql) {
  Statement statement = TRY(prepare(sql));
  if (!TRY(statement.step())) return std::string();
  return std::string(statement.text(0));
}

Result<void> Database::set_synchronous(Synchronous mode) {
  // SQLite ignores the change inside a transaction, without a word.
  if (in_transaction()) {
    return fail(ErrorCode::conflict, "synchronous can be changed outside of a transaction only");
  }
  return execute(fmt::format("PRAGMA synchronous={}", static_cast<int>(mode)));
}

Result<void> Database::checkpoint_truncate() {
  int frames = 0;
  int copied = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(handle_, "main", SQLITE_CHECKPOINT_TRUNCATE, &frames, &copied);
  TRY(expect_ok(handle_, code, "sqlite3_wal_checkpoint_v2"));
  const std::uint64_t left = TRY(wal_bytes());
  if (left != 0) {
    return fail(
        ErrorCode::busy,
        fmt::format("the WAL of {} still has {} bytes after a checkpoint; try again", path_, left),
        "sqlite3_wal_checkpoint_v2");
  }
  // SQLite does not sync the truncation itself: a power cut could bring the old frames back.
  return sync_wal();
}

Result<std::size_t> Database::checkpoint_passive() {
  int frames = 0;
  int copied = 0;
  const int code =
      sqlite3_wal_checkpoint_v2(handle_, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
  TRY(expect_ok(handle_, code, "sqlite3_wal_checkpoint_v2"));
  return static_cast<std::size_t>(frames > copied ? frames - copied : 0);
}

Result<std::uint64_t> Database::wal_bytes() {
  sqlite3_file* file = wal_file(handle_);
  if (file == nullptr) return 0;
  sqlite3_int64 size = 0;
  TRY(expect_ok(handle_, file->pMethods->xFileSize(file, &size), "xFileSize"));
  return static_cast<std::uint64_t>(size);
}

Result<void> Database::sync_wal() {
  sqlite3_file* file = wal_file(handle_);
  if (file == nullptr) return {};
  return expect_ok(handle_, file->pMethods->xSync(file, SQLITE_SYNC_NORMAL), "xSync");
}

Result<std::uint32_t> Database::page_count() {
  sqlite3_file* file = main_file(handle_);
  if (file == nullptr) return 0;
  sqlite3_int64 size = 0;
  TRY(expect_ok(handle_, file->pMethods->xFileSize(file, &size), "xFileSize"));
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(size) / kPageBytes);
}

Result<bool> Database::read_page(std::uint32_t number, MutableByteView page) {
  sqlite3_file* file = main_file(handle_);
  if (file == nullptr || number == 0) return false;
  const int code = file->pMethods->xRead(file, page.data(), static_cast<int>(page.size()),
                                         (std::int64_t{number} - 1) * kPageBytes);
  if (code == SQLITE_IOERR_SHORT_READ) return false;
  TRY(expect_ok(handle_, code, "xRead"));
  return true;
}

Result<std::uint32_t> Database::user_version() {
  Statement statement = TRY(prepare("PRAGMA user_version"));
  TRY(statement.step());
  return static_cast<std::uint32_t>(statement.integer(0));
}

Result<void> Database::set_user_version(std::uint32_t version) {
  return execute(fmt::format("PRAGMA user_version={}", version));
}

Result<void> Database::check_integrity() {
  const std::string finding = TRY(query_text("PRAGMA integrity_check(1)"));
  if (finding == "ok") return {};
  return fail(ErrorCode::corrupt,
              fmt::format("integrity_check of {} finds: {}. Stop the daemon and restore the file "
                          "from a backup",
                          path_, finding),
              "PRAGMA integrity_check");
}

bool Database::sync_failed() const {
  bool failed = false;
  const int code = sqlite3_file_control(handle_, "main", kFileControlSyncFailed, &failed);
  return code == SQLITE_OK && failed;
}

bool Database::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

std::int64_t Database::changes() const { return sqlite3_changes64(handle_); }

Result<Transaction> Transaction::begin(Database& database) {
  TRY(database.execute("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  // SQLite has rolled back by itself after some errors; then there is nothing left to undo.
  if (database_ != nullptr && database_->in_transaction())
    static_cast<void>(database_->execute("ROLLBACK"));
}

Result<void> Transaction::commit() {
  TRY(database_->execute("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace keyward::store
