// A ReaderPool lends connections for reading.
//
//   ReaderLease reader = TRY(pool.acquire());
//   StatementReset reset(reader->get);
//   TRY(reader->get.bind(1, name.text()));
//   ...
//
// A reader keeps its read transaction open from one lease to the next, until the writer commits:
// that makes a get three times as fast. Open transactions hold up checkpoints, so the writer ends
// those that nobody uses before each one; and drain() keeps new ones out while the WAL is
// truncated. Leases last milliseconds at most: what takes longer works in pieces. Safe from any
// thread; a lease belongs to one.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"

namespace keyward::store {

// What the writer tells the readers: the last committed state, and how often it has committed.
class CommittedState final {
 public:
  std::shared_ptr<const KeystoreState> get() const;
  std::uint64_t commits() const { return commits_.load(std::memory_order_acquire); }
  // After a commit, before anybody is told of it.
  void publish(std::shared_ptr<const KeystoreState> state);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const KeystoreState> state_;
  std::atomic<std::uint64_t> commits_{0};
};

// One connection with the statements that read entries.
class Reader final {
 public:
  static Result<std::unique_ptr<Reader>> open(const std::string& path, const std::string& vfs_name);

  Database database;
  Statement get;          // name → mk, version, blob; nulls without a payload
  Statement list;         // past a name, at most n → name, mk, version, size of the blob
  Statement scan;         // past an id, at most n → id, mk, version, blob, name
  Statement count_names;  // past an id, up to another → how many names

  // Syncs the WAL, with no transaction open: so it holds up no checkpoint.
  Result<void> sync_wal();

  // The key that the row of an entry refers to; `corrupt` names the entry.
  Result<KeyId> key_of(KeyRef ref, std::string_view entry) const;

 private:
  friend class ReaderPool;
  Reader(Database connection, Statement get_entry, Statement list_entries, Statement scan_entries,
         Statement count, Statement begin, Statement end);
  Result<void> refresh(const CommittedState& committed);
  void end_transaction();

  Statement begin_;
  Statement end_;
  bool in_transaction_ = false;
  std::shared_ptr<const KeystoreState> state_;
  const CommittedState* committed_ = nullptr;
  std::uint64_t commits_seen_ = 0;
  MonotonicTime lent_at_{};
};

class ReaderPool;

// Gives the reader back at the end of its scope.
class ReaderLease final {
 public:
  ReaderLease(ReaderLease&& other) noexcept = default;
  ReaderLease& operator=(ReaderLease&&) = delete;
  ~ReaderLease();

  Reader* operator->() const { return reader_.get(); }
  Reader& operator*() const { return *reader_; }

 private:
  friend class ReaderPool;
  ReaderLease(ReaderPool& pool, std::unique_ptr<Reader> reader)
      : pool_(&pool), reader_(std::move(reader)) {}
  ReaderPool* pool_;
  std::unique_ptr<Reader> reader_;
};

class ReaderPool final {
 public:
  // `committed` and `clock` outlive it.
  ReaderPool(std::string path, std::string vfs_name, std::size_t readers_max,
             const CommittedState& committed, Clock& clock);
  ~ReaderPool();

  // Waits while all are lent.
  Result<ReaderLease> acquire();

  // Ends the transactions of readers that are not lent. Cheap; called before each checkpoint.
  void end_idle();

  // While a Drained lives, no reader has a transaction.
  class Drained final {
   public:
    Drained(Drained&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
    Drained& operator=(Drained&&) = delete;
    ~Drained();

   private:
    friend class ReaderPool;
    explicit Drained(ReaderPool& pool) : pool_(&pool) {}
    ReaderPool* pool_;
  };
  // `busy` names the age of the reader that did not end within `wait`.
  Result<Drained> drain(std::chrono::milliseconds wait);

 private:
  friend class ReaderLease;
  void give_back(std::unique_ptr<Reader> reader);
  Result<std::unique_ptr<Reader>> take();
  void reopen();
  std::chrono::milliseconds oldest_age() const;

  const std::string path_;
  const std::string vfs_name_;
  const std::size_t readers_max_;
  const CommittedState& committed_;
  Clock& clock_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::unique_ptr<Reader>> idle_;
  std::vector<const Reader*> lent_;
  std::size_t count_ = 0;    // Idle, lent and opening.
  std::size_t opening_ = 0;  // Not yet lent, but reading the schema already.
  bool draining_ = false;
};

}  // namespace keyward::store
