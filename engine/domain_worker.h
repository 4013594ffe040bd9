// A DomainWorker does the work of one keystore, a turn at a time: a reseal first, then a rekey that
// waits for it, or the rekey that is under way.
//
//   MonotonicTime again = worker.turn(stop);   // now: there is more; max: nothing to do
//
// What there is to do is read from the key table each time, so it is the same after a crash. turn()
// runs on one thread at a time; all other functions are safe from any thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "api/rekey_status.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/caller.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/job_parts.h"
#include "engine/keyring.h"
#include "engine/queued_rekeys.h"
#include "engine/rate_limiter.h"
#include "engine/rekey_meter.h"
#include "store/control_store.h"
#include "store/key_table.h"

namespace keyward::engine {

class DomainWorker final {
 public:
  struct Parts {
    Keyring& keyring;
    CustodianSet& custodians;
    store::ControlStore& control;
    EventLog& events;
    Clock& clock;
    QueuedRekeys& queue;
    RateLimiter& limiter;
    std::size_t batch_entries;
  };
  DomainWorker(Parts parts, Domain domain) : parts_(parts), domain_(std::move(domain)) {}

  // About a second of work, or one hardware call. Answers when it wants its next turn.
  MonotonicTime turn(std::stop_token stop);

  // As in RekeyService.
  Result<JobId> start(const std::vector<CustodianId>& without, const Caller& caller);
  Result<void> pause(const Caller& caller);
  Result<void> resume(const Caller& caller);
  Result<void> cancel(const Caller& caller);
  // `not_found` when there is nothing to try. The next turn asks unhealthy custodians again.
  Result<void> retry(const Caller& caller);
  // A start that cannot be done now, because the keystore is locked, is written down.
  Result<JobId> start_or_queue(const Caller& caller);
  api::RekeyStatus status() const;
  bool has_work() const;
  // When the last try failed; none when it went well.
  std::optional<MonotonicTime> failed_at() const;

 private:
  enum class Step { more, paused, nothing };

  JobParts job_parts(std::shared_ptr<store::Keystore> keystore) const;
  Result<std::shared_ptr<store::Keystore>> open(std::stop_token stop);
  MonotonicTime look_later(const Error& error);
  Result<Step> step(const JobParts& parts, std::stop_token stop);
  Result<Step> step_rekey(const JobParts& parts, const store::KeyTable& table,
                          std::stop_token stop);
  Result<Step> step_reseal(const JobParts& parts);
  void confirm_copies(const JobParts& parts);
  Result<Step> begin_queued(const JobParts& parts, const QueuedRekey& queued);
  Result<JobId> begin(const JobParts& parts, const std::vector<CustodianId>& without,
                      std::optional<JobId> job, const Caller& caller);
  Result<JobId> queue(const std::vector<CustodianId>& without, const Caller& caller);
  void finish_rekey(const store::RekeyRow& rekey);
  void note_success(const JobParts& parts);
  MonotonicTime after_failure(const JobParts& parts, const Error& error, std::stop_token stop);
  void record_failure(const JobParts& parts, const Error& error);
  void ask_custodians(const store::KeyTable& table);
  void show_rekey(const store::KeyTable& table, api::RekeyStatus& status) const;
  std::string old_key_text(const store::KeyTable& table) const;

  Parts parts_;
  const Domain domain_;
  std::atomic<bool> asked_by_person_ = false;

  // Of the thread that has the turn.
  unsigned quick_tries_ = 0;
  unsigned looks_ = 0;
  bool is_confirm_due_ = false;  // A reseal failed, perhaps between a copy and its confirmation.
  bool is_cleared_ = false;      // No failure of before is shown any more.
  std::uint64_t generation_ = 0;

  mutable std::mutex mutex_;
  RekeyMeter meter_;
  std::string error_;  // Of the last try, where the key table has no place for it.
  std::optional<UtcTime> next_try_;
  std::optional<MonotonicTime> failed_at_;
};

}  // namespace keyward::engine
