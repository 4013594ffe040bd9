// The Writer is the one thread that changes a keystore's file, through the one connection that may.
//
//   TRY(writer.write(bytes, [&](WriterContext& context) { ... }));    // durable when it returns
//   TRY(writer.work([&](WriterContext& context) { ... }));            // atomic; durable later
//
// Requests that wait at the same time share one transaction and its one sync; a savepoint around
// each keeps the failure of one from the others. Work in the background (a rekey's batches) gets a
// transaction of its own that is not synced, and a turn between two groups of requests; slice()
// says how long that may be. Checkpoints are made here alone, between transactions: SQLite
// before 3.51.3 can lose pages when one connection checkpoints while another writes
// (sqlite.org/wal.html, "the WAL-reset bug").
//
// After a failed sync nothing is written any more until the keystore is opened again: what the
// kernel dropped then is read back from its cache as if it were on the disk.
//
// Safe from any thread but its own. It stops, with all that was asked for done, in its destructor.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite_keystore_readers.h"

namespace keyward::store {

// What a job of the writer works on.
struct WriterContext {
  Database& database;
  // As the transaction leaves it. A job changes it only when it is sure to succeed. Entry counts,
  // cursor and sizes are written by the writer; the rest by the job that changes it.
  KeystoreState& state;
  // Set by a job that wrote the state's rows itself.
  bool rows_rewritten = false;
};

class Writer final {
 public:
  using Job = std::function<Result<void>(WriterContext&)>;

  // `readers` and `committed` outlive it.
  static Result<std::unique_ptr<Writer>> start(Database database, KeystoreState state,
                                               CommittedState& committed, ReaderPool& readers,
                                               Clock& clock);
  ~Writer();

  // Runs the job inside a transaction and returns when that is durable, or was rolled back.
  // `bytes` is about what it writes, so that a transaction stays bounded.
  Result<void> write(std::size_t bytes, const Job& job);
  // Runs the job in an unsynced transaction of its own. `meanwhile` runs on the caller's thread
  // beside it: so the disk writes out earlier work while the next is done.
  Result<void> work(const Job& job, const std::function<void()>& meanwhile = {});
  // Runs the job between two transactions. For checkpoints.
  Result<void> pause_and(const Job& job);

  // For jobs: how long this piece of background work may take, and whether it should end early.
  std::chrono::nanoseconds slice() const;
  bool request_waits() const { return requests_waiting_.load(std::memory_order_relaxed) > 0; }
  // Bytes in the WAL that nobody has synced yet, where they are enough to be worth a sync; else 0.
  // A request's own sync, or a checkpoint's, would have to write them out while somebody waits.
  std::size_t bytes_to_sync() const;
  bool has_requests_lately() const {
    return is_lately(last_request_.load(std::memory_order_relaxed));
  }
  // `io`, with what to do, once a sync has failed.
  Result<void> check_latch() const;
  // Somebody else synced these bytes of the WAL: with this answer.
  void note_sync(const Result<void>& synced, std::size_t bytes);

 private:
  struct Request {
    const Job* job;
    std::size_t bytes = 0;
    bool in_transaction = true;
    Result<void> result{};  // The writer's, until `answered`.
    bool answered = false;  // Under mutex_, as is the notice of it.
    std::condition_variable wake{};
  };
  // What the thread does between two looks at the queues.
  struct Turn {
    std::vector<Request*> group;
    Request* background = nullptr;
  };
  struct Savepoints {
    Statement begin;
    Statement release;
    Statement rollback;
  };

  Writer(Database database, CounterRows counters, Savepoints savepoints, CommittedState& committed,
         ReaderPool& readers, Clock& clock);

  Result<void> ask(std::deque<Request*>& queue, Request& request,
                   const std::function<void()>& meanwhile = {});
  void run();
  bool next_turn(Turn& turn);
  void answer(const Turn& turn);

  void run_group(std::vector<Request*>& group);
  Result<void> try_group(std::vector<Request*>& group);
  Result<void> run_in_savepoint(Request& request, WriterContext& context);
  Result<void> run_background(const Request& request);
  Result<void> save_and_commit(Transaction& transaction, WriterContext& context);
  Result<void> use_synchronous(Synchronous mode);
  void note_error(const Error& error);

  void checkpoint_if_due();
  Result<void> checkpoint();
  std::size_t checkpoint_due_bytes() const;
  bool is_lately(MonotonicTime time) const;
  static int on_commit(void* self, sqlite3* database, const char* name, int pages);

  Database database_;
  CounterRows counters_;
  Savepoints savepoints_;
  CommittedState& committed_;
  ReaderPool& readers_;
  Clock& clock_;

  // The writer thread's own.
  Synchronous synchronous_ = Synchronous::full;
  std::size_t wal_pages_ = 0;
  std::size_t wal_pages_copied_ = 0;
  MonotonicTime last_background_ = MonotonicTime::min();
  bool disk_was_full_ = false;

  std::atomic<std::size_t> requests_waiting_{0};
  std::atomic<std::size_t> unsynced_{0};
  std::atomic<bool> latched_{false};
  std::atomic<MonotonicTime> last_request_{MonotonicTime::min()};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Request*> requests_;
  std::deque<Request*> background_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace keyward::store
