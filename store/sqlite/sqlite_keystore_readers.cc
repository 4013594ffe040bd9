#include "store/sqlite/sqlite_keystore_readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <stop_token>
#include <utility>

#include "base/check.h"
#include "base/text.h"

namespace keyward::store {
namespace {

// Readers look up single rows; the kernel's page cache is their real cache.
constexpr std::size_t kReaderCacheKib = 1024;

constexpr std::string_view kGet =
    "SELECT p.mk, p.version, p.blob FROM names n LEFT JOIN payload p ON p.id = n.id "
    "WHERE n.name = ?1";
constexpr std::string_view kList =
    "SELECT n.name, p.mk, p.version, length(p.blob) FROM names n "
    "LEFT JOIN payload p ON p.id = n.id WHERE n.name > ?1 ORDER BY n.name LIMIT ?2";
constexpr std::string_view kScan =
    "SELECT p.id, p.mk, p.version, p.blob, n.name FROM payload p "
    "LEFT JOIN names n ON n.id = p.id WHERE p.id > ?1 ORDER BY p.id LIMIT ?2";
constexpr std::string_view kCountNames = "SELECT count(*) FROM names WHERE id > ?1 AND id <= ?2";

}  // namespace

std::shared_ptr<const KeystoreState> CommittedState::get() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void CommittedState::publish(std::shared_ptr<const KeystoreState> state) {
  {
    const std::lock_guard lock(mutex_);
    state_ = std::move(state);
  }
  commits_.fetch_add(1, std::memory_order_release);
}

Reader::Reader(Database connection, Statement get_entry, Statement list_entries,
               Statement scan_entries, Statement count, Statement begin, Statement end)
    : database(std::move(connection)),
      get(std::move(get_entry)),
      list(std::move(list_entries)),
      scan(std::move(scan_entries)),
      count_names(std::move(count)),
      begin_(std::move(begin)),
      end_(std::move(end)) {}

Result<std::unique_ptr<Reader>> Reader::open(const std::string& path, const std::string& vfs_name) {
  Database database = TRY(Database::open(
      path, {.vfs_name = vfs_name, .read_only = true, .cache_kib = kReaderCacheKib}));
  Statement get = TRY(database.prepare(kGet));
  Statement list = TRY(database.prepare(kList));
  Statement scan = TRY(database.prepare(kScan));
  Statement count = TRY(database.prepare(kCountNames));
  Statement begin = TRY(database.prepare("BEGIN"));
  Statement end = TRY(database.prepare("ROLLBACK"));
  return std::unique_ptr<Reader>(new Reader(std::move(database), std::move(get), std::move(list),
                                            std::move(scan), std::move(count), std::move(begin),
                                            std::move(end)));
}

// The count is read before the transaction begins, so that a commit in between only makes the
// reader refresh once more than it must.
Result<void> Reader::refresh(const CommittedState& committed) {
  const std::uint64_t commits = committed.commits();
  if (in_transaction_ && database.in_transaction() && commits == commits_seen_) return {};
  end_transaction();
  state_ = committed.get();
  committed_ = &committed;
  commits_seen_ = commits;
  StatementReset reset(begin_);
  TRY(begin_.run());
  in_transaction_ = true;
  return {};
}

void Reader::end_transaction() {
  if (!std::exchange(in_transaction_, false)) return;
  // SQLite ends it by itself after some errors.
  if (!database.in_transaction()) return;
  StatementReset reset(end_);
  const Result<void> ended = end_.run();
  CHECK(ended.has_value(), "a read transaction without running statements did not end");
}

Result<void> Reader::sync_wal() {
  {
    // SQLite opens a connection's WAL when it reads for the first time.
    StatementReset reset(count_names);
    TRY(count_names.bind(1, std::int64_t{0}));
    TRY(count_names.bind(2, std::int64_t{0}));
    TRY(count_names.step());
  }
  end_transaction();
  return database.sync_wal();
}

Result<KeyId> Reader::key_of(KeyRef ref, std::string_view entry) const {
  if (const KeyAccount* account = state_->account(ref)) return account->id;
  // A commit may have come between the state and the begin of the transaction.
  const std::shared_ptr<const KeystoreState> newest = committed_->get();
  if (const KeyAccount* account = newest->account(ref)) return account->id;
  return fail(
      ErrorCode::corrupt,
      fmt::format("entry \"{}\" names a key (reference {:#x}) that is not in the key table; "
                  "restore the keystore from a backup",
                  printable(entry), ref));
}

ReaderLease::~ReaderLease() {
  if (reader_) pool_->give_back(std::move(reader_));
}

ReaderPool::ReaderPool(std::string path, std::string vfs_name, std::size_t readers_max,
                       const CommittedState& committed, Clock& clock)
    : path_(std::move(path)),
      vfs_name_(std::move(vfs_name)),
      readers_max_(readers_max),
      committed_(committed),
      clock_(clock) {}

ReaderPool::~ReaderPool() {
  CHECK(lent_.empty(), "a keystore was closed while somebody read from it");
}

Result<ReaderLease> ReaderPool::acquire() {
  ReaderLease lease(*this, TRY(take()));
  TRY(lease->refresh(committed_));
  return lease;
}

Result<std::unique_ptr<Reader>> ReaderPool::take() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !draining_ && (!idle_.empty() || count_ < readers_max_); });
  std::unique_ptr<Reader> reader;
  if (idle_.empty()) {
    ++count_;
    ++opening_;
    lock.unlock();
    Result<std::unique_ptr<Reader>> opened = Reader::open(path_, vfs_name_);
    lock.lock();
    --opening_;
    if (!opened) --count_;
    changed_.notify_all();
    if (!opened) return opened;
    reader = *std::move(opened);
    // It has no transaction yet; it begins one when the drain is over.
    changed_.wait(lock, [&] { return !draining_; });
  } else {
    reader = std::move(idle_.back());
    idle_.pop_back();
  }
  reader->lent_at_ = clock_.monotonic();
  lent_.push_back(reader.get());
  return reader;
}

void ReaderPool::give_back(std::unique_ptr<Reader> reader) {
  const std::lock_guard lock(mutex_);
  std::erase(lent_, reader.get());
  if (draining_) reader->end_transaction();
  idle_.push_back(std::move(reader));
  if (draining_ || idle_.size() == 1) changed_.notify_all();
}

void ReaderPool::end_idle() {
  const std::lock_guard lock(mutex_);
  for (const std::unique_ptr<Reader>& reader : idle_) reader->end_transaction();
}

Result<ReaderPool::Drained> ReaderPool::drain(std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  CHECK(!draining_, "two drains at once: only the writer drains");
  draining_ = true;
  for (const std::unique_ptr<Reader>& reader : idle_) reader->end_transaction();
  const MonotonicTime deadline = clock_.monotonic() + wait;
  // One that is being opened reads the schema, in a transaction of its own.
  const auto at_work = [&] { return !lent_.empty() || opening_ != 0; };
  while (at_work() && clock_.monotonic() < deadline)
    clock_.wait_until(lock, changed_, std::stop_token{}, deadline);
  if (!at_work()) return Drained(*this);
  draining_ = false;
  changed_.notify_all();
  return fail(ErrorCode::busy,
              fmt::format("a reader has been at work for {} ms and holds up the checkpoint; it is "
                          "tried again",
                          oldest_age().count()));
}

std::chrono::milliseconds ReaderPool::oldest_age() const {
  MonotonicTime oldest = clock_.monotonic();
  const MonotonicTime now = oldest;
  for (const Reader* reader : lent_) oldest = std::min(oldest, reader->lent_at_);
  return std::chrono::duration_cast<std::chrono::milliseconds>(now - oldest);
}

void ReaderPool::reopen() {
  const std::lock_guard lock(mutex_);
  draining_ = false;
  changed_.notify_all();
}

ReaderPool::Drained::~Drained() {
  if (pool_ != nullptr) pool_->reopen();
}

}  // namespace keyward::store
