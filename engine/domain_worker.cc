#include "engine/domain_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "engine/host_name.h"
#include "engine/rekey_history.h"
#include "engine/rekey_job.h"
#include "engine/rekey_service.h"
#include "engine/reseal_job.h"

namespace keyward::engine {
namespace {

constexpr std::chrono::seconds kTurn{1};
// A keystore that is locked is looked at again after this, then after twice as long, and so on.
constexpr std::chrono::milliseconds kLookAgain{500};
constexpr unsigned kLooksMax = 7;  // About a minute.
// `busy`, and a `conflict` because the key table was changed meanwhile, pass by themselves.
constexpr unsigned kQuickTriesMax = 5;
constexpr std::chrono::seconds kQuickRetry{1};

std::string_view phase_text(store::RekeyPhase phase) {
  constexpr std::string_view kNames[] = {"prepare", "reencrypt", "verify", "destroy"};
  return kNames[static_cast<std::size_t>(phase)];
}

// The event of the drives' keystore names the node, as it is the node's own.
struct FailureEvent {
  const EventKind& kind;
  std::string subject;
  std::string_view what{};
};
FailureEvent failure_event(const Domain& domain) {
  if (domain.text() == "SED") return {kSedsRekeyFailed, host_name(), "SED: "};
  return {kRekeyFailed, domain.text()};
}

std::string join(const std::vector<CustodianId>& ids) {
  std::string text;
  for (const CustodianId& id : ids) text += (text.empty() ? "" : ", ") + id.text;
  return text;
}

std::string finished_text(const RekeyRecord& record) {
  std::string proof =
      fmt::format("{} entries re-encrypted, 0 are under the old key {}; it is DESTROYED",
                  record.entries_done, record.old_key.to_text());
  if (record.except.empty()) return proof;
  return fmt::format("{} EXCEPT what {} can still open", proof, join(record.except));
}

bool can_never_begin(ErrorCode code) {
  return code == ErrorCode::invalid_argument || code == ErrorCode::unsupported;
}

}  // namespace

JobParts DomainWorker::job_parts(std::shared_ptr<store::Keystore> keystore) const {
  return {std::move(keystore), parts_.keyring, parts_.custodians,
          parts_.control,      parts_.events,  parts_.clock};
}

MonotonicTime DomainWorker::turn(std::stop_token stop) {
  auto keystore = open(stop);
  if (!keystore) return look_later(keystore.error());
  looks_ = 0;
  const JobParts parts = job_parts(*std::move(keystore));
  const MonotonicTime end = parts_.clock.monotonic() + kTurn;
  while (!stop.stop_requested() && parts_.clock.monotonic() < end) {
    const auto outcome = step(parts, stop);
    if (!outcome) return after_failure(parts, outcome.error(), stop);
    if (*outcome == Step::paused) return MonotonicTime::max();
    note_success(parts);
    if (*outcome != Step::nothing) continue;
    return is_confirm_due_ ? parts_.clock.monotonic() + kRekeyRetry : MonotonicTime::max();
  }
  return parts_.clock.monotonic();
}

Result<std::shared_ptr<store::Keystore>> DomainWorker::open(std::stop_token stop) {
  auto keystore = TRY(parts_.keyring.keystore(domain_));
  TRY(parts_.keyring.wait_unsealed(domain_, std::move(stop), parts_.clock.monotonic()));
  return keystore;
}

MonotonicTime DomainWorker::look_later(const Error& error) {
  if (error.code == ErrorCode::not_found) return MonotonicTime::max();
  const auto pause = kLookAgain * (1u << looks_);
  looks_ = std::min(looks_ + 1, kLooksMax);
  return parts_.clock.monotonic() + pause;
}

Result<DomainWorker::Step> DomainWorker::step(const JobParts& parts, std::stop_token stop) {
  const store::KeyTable table = TRY(parts.keystore->keys());
  generation_ = table.generation;
  if (asked_by_person_.exchange(false)) ask_custodians(table);
  if (table.rekey) return step_rekey(parts, table, std::move(stop));
  if (ResealJob::is_needed(table)) return step_reseal(parts);
  if (const auto queued = TRY(parts_.queue.find(domain_))) return begin_queued(parts, *queued);
  if (is_confirm_due_) confirm_copies(parts);
  return Step::nothing;
}

Result<DomainWorker::Step> DomainWorker::step_rekey(const JobParts& parts,
                                                    const store::KeyTable& table,
                                                    std::stop_token stop) {
  if (table.rekey->paused) return Step::paused;
  // It has begun: a crash may have kept the request.
  if (table.rekey->phase == store::RekeyPhase::prepare) TRY(parts_.queue.remove(domain_));
  const bool is_batch = table.rekey->phase == store::RekeyPhase::reencrypt;
  const std::size_t allowed =
      is_batch ? parts_.limiter.take(parts_.batch_entries, stop) : parts_.batch_entries;
  if (allowed == 0) return Step::more;
  auto& reencryption = parts.keystore->reencryption();
  const std::uint64_t before = is_batch ? TRY(reencryption.progress()).entries_done : 0;
  const auto outcome = TRY(RekeyJob(parts).step(allowed, std::move(stop)));
  if (is_batch) {
    const std::uint64_t after = TRY(reencryption.progress()).entries_done;
    const std::uint64_t done = after > before ? after - before : 0;
    parts_.limiter.give_back(allowed - std::min<std::size_t>(allowed, done));
    const std::lock_guard lock(mutex_);
    meter_.add(done, parts_.clock.monotonic());
  }
  if (outcome == RekeyJob::Outcome::paused) return Step::paused;
  if (outcome == RekeyJob::Outcome::done) finish_rekey(*table.rekey);
  return Step::more;  // A reseal may wait.
}

Result<DomainWorker::Step> DomainWorker::step_reseal(const JobParts& parts) {
  if (auto stepped = ResealJob(parts).step(); !stepped) {
    is_confirm_due_ = true;
    return std::unexpected(std::move(stepped.error()));
  }
  if (!ResealJob::is_needed(TRY(parts.keystore->keys())))
    parts_.events.raise(kResealFinished, domain_.text(),
                        "every key has its copies at the wanted custodians, and no others");
  return Step::more;
}

// Nothing waits for it, and no rekey has failed by it: a custodian that is silent is told later.
void DomainWorker::confirm_copies(const JobParts& parts) {
  const Result<void> told = ResealJob(parts).confirm();
  is_confirm_due_ = !told;
  if (!told) log(LogLevel::warning, "{}: {}", domain_.text(), told.error().message);
}

Result<DomainWorker::Step> DomainWorker::begin_queued(const JobParts& parts,
                                                      const QueuedRekey& queued) {
  const auto begun = begin(parts, queued.without, queued.job, queued.caller);
  if (!begun && !can_never_begin(begun.error().code)) return std::unexpected(begun.error());
  TRY(parts_.queue.remove(domain_));
  if (!begun) return std::unexpected(begun.error());
  return Step::more;
}

Result<JobId> DomainWorker::begin(const JobParts& parts, const std::vector<CustodianId>& without,
                                  std::optional<JobId> job, const Caller& caller) {
  const JobId id = TRY(RekeyJob(parts).begin({.without = without, .job = job}, caller));
  {
    const std::lock_guard lock(mutex_);
    meter_.reset();
  }
  parts_.events.raise(kRekeyStarted, domain_.text(),
                      fmt::format("started by {}, job {}", caller.actor, id.to_text()));
  return id;
}

Result<JobId> DomainWorker::queue(const std::vector<CustodianId>& without, const Caller& caller) {
  return TRY(parts_.queue.save({domain_, JobId::random(), without, caller, parts_.clock.now()}))
      .job;
}

// Its own record, not the newest: by a clock that was set back it began before an earlier one.
void DomainWorker::finish_rekey(const store::RekeyRow& rekey) {
  const auto record = load_rekey_record(parts_.control, domain_.text(), rekey.started, rekey.job);
  if (!record) return;
  if (record->cancelled)
    parts_.events.raise(kRekeyCancelled, domain_.text(),
                        fmt::format("all entries are under key {}, the other one is destroyed",
                                    record->new_key.to_text()));
  else
    parts_.events.raise(kRekeyFinished, domain_.text(), finished_text(*record));
  parts_.events.clear(kMasterKeyOverdue, domain_.text());
  parts_.events.clear(kEncryptionLimitNear, domain_.text());
}

void DomainWorker::note_success(const JobParts& parts) {
  quick_tries_ = 0;
  if (std::exchange(is_cleared_, true)) return;
  if (auto cleared = RekeyJob(parts).clear_failure(); !cleared) {
    if (cleared.error().code != ErrorCode::not_found) is_cleared_ = false;
  }
  const FailureEvent event = failure_event(domain_);
  parts_.events.clear(event.kind, event.subject);
  parts_.events.clear(kResealFailed, domain_.text());
  const std::lock_guard lock(mutex_);
  error_.clear();
  next_try_.reset();
  failed_at_.reset();
}

MonotonicTime DomainWorker::after_failure(const JobParts& parts, const Error& error,
                                          std::stop_token stop) {
  const MonotonicTime now = parts_.clock.monotonic();
  if (stop.stop_requested() || error.code == ErrorCode::cancelled) return now;
  const auto table = parts.keystore->keys();
  const bool is_raced =
      error.code == ErrorCode::conflict && table && table->generation != generation_;
  if ((is_raced || error.code == ErrorCode::busy) && quick_tries_ < kQuickTriesMax) {
    ++quick_tries_;
    return is_raced ? now : now + kQuickRetry;
  }
  quick_tries_ = 0;
  record_failure(parts, error);
  return now + kRekeyRetry;
}

void DomainWorker::record_failure(const JobParts& parts, const Error& error) {
  is_cleared_ = false;
  const UtcTime next_try = parts_.clock.now() + kRekeyRetry;
  {
    const std::lock_guard lock(mutex_);
    error_ = error.message;
    next_try_ = next_try;
    failed_at_ = parts_.clock.monotonic();
  }
  const auto table = parts.keystore->keys();
  const bool is_rekey = !table || table->rekey || !ResealJob::is_needed(*table);
  if (table && table->rekey) {
    if (auto kept = RekeyJob(parts).record_failure(error, next_try); !kept)
      log(LogLevel::warning, "the failure of the rekey of {} could not be stored: {}",
          domain_.text(), kept.error().message);
  }
  const FailureEvent event =
      is_rekey ? failure_event(domain_) : FailureEvent{kResealFailed, domain_.text()};
  parts_.events.raise(
      event.kind, event.subject,
      fmt::format("{}{}; the next try is at {}", event.what, error.message, to_iso8601(next_try)));
}

// A person says that the cause is repaired. What still fails then fails in its own step.
void DomainWorker::ask_custodians(const store::KeyTable& table) {
  const auto concerns_us = [&](const CustodianId& id) {
    return table.find_wanted(id) != nullptr ||
           std::ranges::any_of(table.keys, [&](const store::KeyRow& row) {
             return std::ranges::find(row.holders, id) != row.holders.end();
           });
  };
  for (const CustodianHealth& health : parts_.custodians.health())
    if (!health.healthy && concerns_us(health.id))
      static_cast<void>(parts_.custodians.test(health.id));
}

Result<JobId> DomainWorker::start(const std::vector<CustodianId>& without, const Caller& caller) {
  const JobParts parts = job_parts(TRY(parts_.keyring.keystore(domain_)));
  const store::KeyTable table = TRY(parts.keystore->keys());
  if (table.rekey) {
    if (!without.empty()) TRY(RekeyJob(parts).leave_out(without, caller));
    asked_by_person_ = true;
    return table.rekey->job;
  }
  if (const auto waiting = TRY(parts_.queue.find(domain_))) return waiting->job;
  if (!parts.keystore->supports_rekey())
    return fail(ErrorCode::unsupported,
                fmt::format("{} is stored in an older format, in which keys cannot be replaced. "
                            "Run: keyward upgrade commit",
                            domain_.text()));
  if (ResealJob::is_needed(table)) return queue(without, caller);
  return begin(parts, without, std::nullopt, caller);
}

Result<JobId> DomainWorker::start_or_queue(const Caller& caller) {
  auto started = start({}, caller);
  if (started || !is_retryable(started.error().code)) return started;
  return queue({}, caller);
}

Result<void> DomainWorker::pause(const Caller& caller) {
  return RekeyJob(job_parts(TRY(parts_.keyring.keystore(domain_)))).pause(caller);
}

Result<void> DomainWorker::resume(const Caller& caller) {
  return RekeyJob(job_parts(TRY(parts_.keyring.keystore(domain_)))).resume(caller);
}

Result<void> DomainWorker::cancel(const Caller& caller) {
  const JobParts parts = job_parts(TRY(parts_.keyring.keystore(domain_)));
  const bool is_queued = TRY(parts_.queue.find(domain_)).has_value();
  if (is_queued && !TRY(parts.keystore->keys()).rekey) {
    store::AuditRecord record = audit_record(caller, "rekey.cancel", domain_.text());
    TRY(parts_.control.audit_trail().append({&record, 1}));
    return parts_.queue.remove(domain_);
  }
  return RekeyJob(parts).cancel(caller);
}

Result<void> DomainWorker::retry(const Caller& caller) {
  const auto keystore = TRY(parts_.keyring.keystore(domain_));
  if (!has_work())
    return fail(ErrorCode::not_found,
                fmt::format("no rekey of {} is under way, so there is nothing to try again",
                            domain_.text()));
  store::AuditRecord record = audit_record(caller, "rekey.retry", domain_.text());
  TRY(parts_.control.audit_trail().append({&record, 1}));
  asked_by_person_ = true;
  return {};
}

std::optional<MonotonicTime> DomainWorker::failed_at() const {
  const std::lock_guard lock(mutex_);
  return failed_at_;
}

bool DomainWorker::has_work() const {
  const auto keystore = parts_.keyring.keystore(domain_);
  const auto table =
      keystore ? (*keystore)->keys() : Result<store::KeyTable>(std::unexpected(keystore.error()));
  if (table && (table->rekey || ResealJob::is_needed(*table))) return true;
  const auto queued = parts_.queue.find(domain_);
  return queued && queued->has_value();
}

api::RekeyStatus DomainWorker::status() const {
  api::RekeyStatus status;
  status.domain = domain_.text();
  const auto keystore = parts_.keyring.keystore(domain_);
  const auto table =
      keystore ? (*keystore)->keys() : Result<store::KeyTable>(std::unexpected(keystore.error()));
  if (!table) {
    status.state = api::DomainState::locked;
    status.error = table.error().message;
    return status;
  }
  {
    const std::lock_guard lock(mutex_);
    status.error = error_;
    status.next_try = next_try_;
    status.entries_per_second = meter_.per_second(parts_.clock.monotonic());
  }
  if (table->rekey) {
    if (const auto progress = (*keystore)->reencryption().progress()) {
      status.entries_done = progress->entries_done;
      status.entries_total = progress->entries_total;
    }
    show_rekey(*table, status);
    return status;
  }
  const auto queued = parts_.queue.find(domain_);
  if (queued && *queued) {
    status.job = (*queued)->job.to_text();
    status.actor = (*queued)->caller.actor;
  }
  const bool is_busy = ResealJob::is_needed(*table) || !status.job.empty();
  if (is_busy) status.phase = ResealJob::is_needed(*table) ? "reseal" : "prepare";
  if (is_busy)
    status.state = status.error.empty() ? api::DomainState::in_progress : api::DomainState::failed;
  return status;
}

void DomainWorker::show_rekey(const store::KeyTable& table, api::RekeyStatus& status) const {
  const store::RekeyRow& rekey = *table.rekey;
  status.job = rekey.job.to_text();
  status.phase = phase_text(rekey.phase);
  status.started = rekey.started;
  status.actor = rekey.actor;
  status.cancelled = rekey.cancelled;
  if (!rekey.error.empty()) {
    status.error = rekey.error;
    status.next_try = rekey.next_try;
  }
  const bool is_switched = rekey.phase == store::RekeyPhase::destroy;
  if (is_switched) status.old_key = old_key_text(table);
  if (is_switched)
    for (const CustodianId& id : table.find(rekey.from)->except) status.except.push_back(id.text);
  if (rekey.paused)
    status.state = api::DomainState::paused;
  else if (status.error.empty())
    status.state = api::DomainState::in_progress;
  else  // After the switch the new key is in full use; what is left is the old one's destruction.
    status.state = is_switched ? api::DomainState::active : api::DomainState::failed;
  const bool is_running = status.state == api::DomainState::in_progress;
  if (!is_running || rekey.phase != store::RekeyPhase::reencrypt) status.entries_per_second = 0;
  if (status.entries_per_second > 0 && status.entries_total >= status.entries_done)
    status.seconds_left =
        static_cast<std::uint64_t>(static_cast<double>(status.entries_total - status.entries_done) /
                                   status.entries_per_second) +
        1;
}

// Who held it stands in the rekey's record, which is written before the first is asked.
std::string DomainWorker::old_key_text(const store::KeyTable& table) const {
  const store::RekeyRow& rekey = *table.rekey;
  const auto record = load_rekey_record(parts_.control, domain_.text(), rekey.started, rekey.job);
  const std::size_t left = table.find(rekey.from)->holders.size();
  if (!record) return fmt::format("{} to be destroyed", left);
  const std::size_t all = std::max(record->custodians.size(), left);
  return fmt::format("{} of {} destroyed", all - left, all);
}

}  // namespace keyward::engine
