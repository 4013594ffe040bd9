#include "hsm/tpm2/deadline_worker.h"

#include <fmt/format.h>
#include <signal.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace keyward::hsm::tpm2 {

struct DeadlineWorker::Job {
  Work work;
  std::stop_source stop;
  bool begun = false;
  bool done = false;
};

struct DeadlineWorker::State {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<std::shared_ptr<Job>> waiting;
  std::shared_ptr<Job> running;
  bool stopping = false;
  bool exited = false;
  std::unique_ptr<Clock> clock = real_clock();
  std::thread thread;  // Touched by the worker's owner alone.
};

namespace {

constexpr std::chrono::seconds kLastWait{2};

// A broken connection must be an error code on this thread, not SIGPIPE for the process; and the
// program's own signals are not for this thread.
class AllSignalsBlocked final {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

DeadlineWorker::DeadlineWorker(std::string device, std::chrono::seconds time_limit)
    : device_(std::move(device)), time_limit_(time_limit), state_(std::make_shared<State>()) {
  const AllSignalsBlocked blocked;
  state_->thread = std::thread([state = state_] { serve(state); });
}

DeadlineWorker::~DeadlineWorker() {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  const MonotonicTime deadline = state_->clock->monotonic() + kLastWait;
  while (!state_->exited && state_->clock->monotonic() < deadline) {
    state_->clock->wait_until(lock, state_->changed, {}, deadline);
  }
  std::thread thread = std::move(state_->thread);
  const bool exited = state_->exited;
  lock.unlock();
  if (exited) {
    thread.join();
  } else {
    thread.detach();
  }
}

bool DeadlineWorker::is_held_up() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->running != nullptr;
}

void DeadlineWorker::serve(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  while (true) {
    state->changed.wait(lock, [&] { return state->stopping || !state->waiting.empty(); });
    if (state->stopping) break;
    const std::shared_ptr<Job> job = state->waiting.front();
    state->waiting.pop_front();
    state->running = job;
    job->begun = true;
    lock.unlock();
    job->work(job->stop.get_token());
    job->work = nullptr;  // What the job owned goes here, outside the lock.
    lock.lock();
    job->done = true;
    state->running = nullptr;
    state->changed.notify_all();
  }
  state->exited = true;
  state->changed.notify_all();
}

Result<void> DeadlineWorker::run_job(std::string_view what, Work work) {
  auto job = std::make_shared<Job>();
  job->work = std::move(work);
  std::unique_lock lock(state_->mutex);
  const MonotonicTime deadline = state_->clock->monotonic() + time_limit_;
  state_->waiting.push_back(job);
  state_->changed.notify_all();
  while (!job->done && state_->clock->monotonic() < deadline) {
    state_->clock->wait_until(lock, state_->changed, {}, deadline);
  }
  if (!job->done) return std::unexpected(give_up(what, job));
  return {};
}

Error DeadlineWorker::give_up(std::string_view what, const std::shared_ptr<Job>& job) {
  if (job->begun) {
    job->stop.request_stop();
    return {ErrorCode::timeout,
            fmt::format("{}: the {} did not answer within {} s. It may still carry this out: look "
                        "before trying again. If it does not come back by itself, restart it, or "
                        "power the machine off and on",
                        what, device_, time_limit_.count())};
  }
  std::erase(state_->waiting, job);
  return {
      ErrorCode::timeout,
      fmt::format("{}: the {} is still held up by an earlier call after {} s; nothing was sent. "
                  "If it does not come back by itself, restart it, or power the machine off and "
                  "on",
                  what, device_, time_limit_.count())};
}

}  // namespace keyward::hsm::tpm2
