#include "store/sqlite/writer.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace keyward::store {
namespace {

using std::chrono::milliseconds;

// A request that comes during background work waits for the rest of its slice. So slices are short
// while requests come, and long, with less overhead, while none do.
constexpr milliseconds kShortSlice{1};
constexpr milliseconds kLongSlice{20};
constexpr milliseconds kLately{100};

constexpr std::size_t kMiB = 1u << 20;
constexpr std::size_t kUnsyncedBytesMax = 1 * kMiB;
constexpr std::size_t kGroupBytesMax = 4 * kMiB;
constexpr std::size_t kGroupRequestsMax = 1024;

// A checkpoint holds up requests while it copies and syncs, and each costs a sync: small ones while
// somebody waits for both, big ones while nobody does.
constexpr std::size_t kCheckpointBusyBytes = 1 * kMiB;
constexpr std::size_t kCheckpointBytes = 4 * kMiB;
constexpr std::size_t kCheckpointQuietBytes = 16 * kMiB;
// Readers that never pause keep SQLite from starting the WAL anew; at this size they are made to.
constexpr std::size_t kWalBytesMax = 64 * kMiB;
constexpr milliseconds kWalDrainWait{100};
static_assert(kWalBytesMax == 67'108'864, "as in kLimitWal");
// One transaction may be bigger; its WAL shrinks again when it is started anew.
constexpr std::string_view kLimitWal = "PRAGMA journal_size_limit=67108864";

Result<void> run_once(Statement& statement) {
  StatementReset reset(statement);
  return statement.run();
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::start(Database database, KeystoreState state,
                                              CommittedState& committed, ReaderPool& readers,
                                              Clock& clock) {
  TRY(database.execute(kLimitWal));
  CounterRows counters = TRY(CounterRows::create(database, state.format));
  Savepoints savepoints{TRY(database.prepare("SAVEPOINT request")),
                        TRY(database.prepare("RELEASE request")),
                        TRY(database.prepare("ROLLBACK TO request"))};
  committed.publish(std::make_shared<const KeystoreState>(std::move(state)));
  std::unique_ptr<Writer> writer(new Writer(std::move(database), std::move(counters),
                                            std::move(savepoints), committed, readers, clock));
  writer->thread_ = std::thread([&self = *writer] { self.run(); });
  return writer;
}

Writer::Writer(Database database, CounterRows counters, Savepoints savepoints,
               CommittedState& committed, ReaderPool& readers, Clock& clock)
    : database_(std::move(database)),
      counters_(std::move(counters)),
      savepoints_(std::move(savepoints)),
      committed_(committed),
      readers_(readers),
      clock_(clock) {
  sqlite3_wal_hook(database_.handle(), &Writer::on_commit, this);
}

Writer::~Writer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

Result<void> Writer::write(std::size_t bytes, const Job& job) {
  Request request{.job = &job, .bytes = bytes};
  last_request_.store(clock_.monotonic(), std::memory_order_relaxed);
  return ask(requests_, request);
}

Result<void> Writer::work(const Job& job, const std::function<void()>& meanwhile) {
  Request request{.job = &job};
  return ask(background_, request, meanwhile);
}

Result<void> Writer::pause_and(const Job& job) {
  Request request{.job = &job, .in_transaction = false};
  return ask(background_, request);
}

Result<void> Writer::ask(std::deque<Request*>& queue, Request& request,
                         const std::function<void()>& meanwhile) {
  std::unique_lock lock(mutex_);
  CHECK(!stopping_, "a keystore was closed while somebody wrote to it");
  queue.push_back(&request);
  requests_waiting_.store(requests_.size(), std::memory_order_relaxed);
  wake_.notify_one();
  std::exception_ptr thrown;
  if (meanwhile) {
    lock.unlock();
    try {
      meanwhile();
    } catch (...) {  // The writer has the request until it is answered, whatever happens here.
      thrown = std::current_exception();
    }
    lock.lock();
  }
  request.wake.wait(lock, [&] { return request.answered; });
  if (thrown) std::rethrow_exception(thrown);
  return std::move(request.result);
}

void Writer::run() {
  Turn turn;
  while (next_turn(turn)) {
    if (!turn.group.empty()) run_group(turn.group);
    if (turn.background != nullptr) turn.background->result = run_background(*turn.background);
    answer(turn);
    checkpoint_if_due();
  }
}

// One group of requests, or one piece of background work; they take turns while both wait.
bool Writer::next_turn(Turn& turn) {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [&] { return stopping_ || !requests_.empty() || !background_.empty(); });
  turn.background = nullptr;
  const bool had_group = !turn.group.empty();
  turn.group.clear();
  if (!background_.empty() && (had_group || requests_.empty())) {
    turn.background = background_.front();
    background_.pop_front();
    return true;
  }
  std::size_t bytes = 0;
  while (!requests_.empty() && bytes < kGroupBytesMax && turn.group.size() < kGroupRequestsMax) {
    bytes += requests_.front()->bytes;
    turn.group.push_back(requests_.front());
    requests_.pop_front();
  }
  requests_waiting_.store(requests_.size(), std::memory_order_relaxed);
  return !turn.group.empty();
}

// Each is woken by itself: with one notice for all, every slice of a rekey would wake every waiting
// put. Under the mutex, since the request goes with the function that waits for it.
void Writer::answer(const Turn& turn) {
  const std::lock_guard lock(mutex_);
  const auto tell = [](Request& request) {
    request.answered = true;
    request.wake.notify_one();
  };
  for (Request* request : turn.group) tell(*request);
  if (turn.background != nullptr) tell(*turn.background);
}

// A request that failed by itself keeps its error; all others share the transaction's fate.
void Writer::run_group(std::vector<Request*>& group) {
  const Result<void> whole = try_group(group);
  if (whole) return;
  note_error(whole.error());
  for (Request* request : group)
    if (request->result) request->result = whole;
}

Result<void> Writer::try_group(std::vector<Request*>& group) {
  TRY(check_latch());
  TRY(use_synchronous(Synchronous::full));
  KeystoreState state = *committed_.get();
  WriterContext context{database_, state};
  Transaction transaction = TRY(Transaction::begin(database_));
  for (Request* request : group) TRY(run_in_savepoint(*request, context));
  if (std::ranges::none_of(group,
                           [](const Request* request) { return request->result.has_value(); }))
    return {};
  return save_and_commit(transaction, context);
}

// Fails when the whole transaction is lost, as it is after some errors of SQLite.
Result<void> Writer::run_in_savepoint(Request& request, WriterContext& context) {
  TRY(run_once(savepoints_.begin));
  request.result = (*request.job)(context);
  if (request.result) return run_once(savepoints_.release);
  note_error(request.result.error());
  if (!database_.in_transaction()) return request.result;
  TRY(run_once(savepoints_.rollback));
  return run_once(savepoints_.release);
}

Result<void> Writer::run_background(const Request& request) {
  last_background_ = clock_.monotonic();
  const auto attempt = [&]() -> Result<void> {
    TRY(check_latch());
    KeystoreState state = *committed_.get();
    WriterContext context{database_, state};
    if (!request.in_transaction) return (*request.job)(context);
    TRY(use_synchronous(Synchronous::normal));
    Transaction transaction = TRY(Transaction::begin(database_));
    TRY((*request.job)(context));
    return save_and_commit(transaction, context);
  };
  Result<void> result = attempt();
  if (!result) note_error(result.error());
  return result;
}

Result<void> Writer::save_and_commit(Transaction& transaction, WriterContext& context) {
  const std::shared_ptr<const KeystoreState> before = committed_.get();
  if (before->format != context.state.format)
    counters_ = TRY(CounterRows::create(database_, context.state.format));
  TRY(counters_.save(context.state, context.rows_rewritten ? nullptr : before.get()));
  TRY(transaction.commit());
  if (synchronous_ == Synchronous::full) unsynced_.store(0, std::memory_order_relaxed);
  committed_.publish(std::make_shared<const KeystoreState>(std::move(context.state)));
  return {};
}

Result<void> Writer::use_synchronous(Synchronous mode) {
  if (mode == synchronous_) return {};
  TRY(database_.set_synchronous(mode));
  synchronous_ = mode;
  return {};
}

std::chrono::nanoseconds Writer::slice() const {
  return has_requests_lately() ? kShortSlice : kLongSlice;
}

std::size_t Writer::bytes_to_sync() const {
  const std::size_t bytes = unsynced_.load(std::memory_order_relaxed);
  return bytes >= kUnsyncedBytesMax ? bytes : 0;
}

bool Writer::is_lately(MonotonicTime time) const {
  return time != MonotonicTime::min() && clock_.monotonic() - time < kLately;
}

// ---- The latch ----

void Writer::note_error(const Error& error) {
  if (error.code == ErrorCode::exhausted) disk_was_full_ = true;
  const auto code = static_cast<int>(error.native);
  const bool sync = code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
  if ((error.code == ErrorCode::io && sync) || database_.sync_failed()) latched_ = true;
}

// The count is a guide only: a commit that comes in between may be missed.
void Writer::note_sync(const Result<void>& synced, std::size_t bytes) {
  if (!synced) latched_ = true;
  const std::size_t left = unsynced_.load(std::memory_order_relaxed);
  if (synced) unsynced_.store(left - std::min(left, bytes), std::memory_order_relaxed);
}

Result<void> Writer::check_latch() const {
  if (!latched_) return {};
  return fail(ErrorCode::io,
              fmt::format("a sync of {} has failed, so what was written before it may be lost even "
                          "if the disk answers again. Entries can be read, but nothing is written, "
                          "switched or destroyed until the keystore is opened anew: check the disk "
                          "and the kernel log, then restart the daemon",
                          database_.path()));
}

// ---- Checkpoints ----

int Writer::on_commit(void* self, sqlite3*, const char*, int pages) {
  auto& writer = *static_cast<Writer*>(self);
  const auto now = static_cast<std::size_t>(pages);
  const bool begun_anew = now < writer.wal_pages_;
  const std::size_t added = begun_anew ? now : now - writer.wal_pages_;
  if (begun_anew) writer.wal_pages_copied_ = 0;
  writer.wal_pages_ = now;
  writer.unsynced_.fetch_add(added * kPageBytes, std::memory_order_relaxed);
  return SQLITE_OK;
}

std::size_t Writer::checkpoint_due_bytes() const {
  if (!is_lately(last_background_)) return kCheckpointBytes;
  return has_requests_lately() ? kCheckpointBusyBytes : kCheckpointQuietBytes;
}

void Writer::checkpoint_if_due() {
  const std::size_t due = (wal_pages_ - std::min(wal_pages_, wal_pages_copied_)) * kPageBytes;
  // A WAL that has been copied is written from its start again: that needs no room on a full disk.
  const bool makes_room = std::exchange(disk_was_full_, false);
  if ((due < checkpoint_due_bytes() && !makes_room) || latched_) return;
  if (const Result<void> done = checkpoint(); !done) note_error(done.error());
  // Also after a failure: it is tried again when as much has been written once more. Nothing
  // depends on it before purge(), which reports its own.
  wal_pages_copied_ = wal_pages_;
}

Result<void> Writer::checkpoint() {
  if (wal_pages_ * kPageBytes >= kWalBytesMax) {
    const Result<ReaderPool::Drained> drained = readers_.drain(kWalDrainWait);
    TRY(database_.checkpoint_passive());
    return {};
  }
  readers_.end_idle();
  TRY(database_.checkpoint_passive());
  // Those that began meanwhile would keep the WAL from being started anew.
  readers_.end_idle();
  return {};
}

}  // namespace keyward::store
