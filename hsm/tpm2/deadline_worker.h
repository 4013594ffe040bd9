// DeadlineWorker runs jobs one at a time on a thread of its own, and lets its callers go when the
// time limit is over.
//
//   DeadlineWorker worker("TPM", std::chrono::seconds(30));
//   Result<int> answer = worker.run<int>("unseal", [core](const std::stop_token& stop) { … });
//
// A job that still waits then is dropped and has no effect. One that runs goes on, with its stop
// token requested, and may have taken effect; the jobs behind it wait, each within its own limit,
// until it returns. So a TPM that stops costs time-outs, and one that goes on again needs no
// repair: there is never a second conversation with it beside a stuck one.
//
// A job owns all that it touches, since it may outlive its caller and the worker. Limits are real
// time: hardware does not follow a virtual clock. run() is safe from any thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/result.h"

namespace keyward::hsm::tpm2 {

class DeadlineWorker final {
 public:
  DeadlineWorker(std::string device, std::chrono::seconds time_limit);
  DeadlineWorker(const DeadlineWorker&) = delete;
  DeadlineWorker& operator=(const DeadlineWorker&) = delete;
  // No call may be on its way. A job that nobody waits for any more is given two seconds, then the
  // thread is left behind with it.
  ~DeadlineWorker();

  // Whether a job that timed out still runs.
  bool is_held_up() const;

  // `timeout` as above, else what the job answers.
  template <typename T>
  Result<T> run(std::string_view what,
                std::move_only_function<Result<T>(const std::stop_token&)> job) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    TRY(run_job(what, [answer, job = std::move(job)](const std::stop_token& stop) mutable {
      answer->emplace(job(stop));
    }));
    return std::move(**answer);
  }

 private:
  struct Job;
  struct State;
  using Work = std::move_only_function<void(const std::stop_token&)>;

  static void serve(const std::shared_ptr<State>& state);
  Result<void> run_job(std::string_view what, Work work);
  Error give_up(std::string_view what, const std::shared_ptr<Job>& job);

  std::string device_;
  std::chrono::seconds time_limit_;
  std::shared_ptr<State> state_;
};

}  // namespace keyward::hsm::tpm2
