#include "engine/rekey_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "api/fields.h"
#include "api/rekey_requests.h"
#include "base/log.h"
#include "engine/domain_worker.h"
#include "engine/queued_rekeys.h"
#include "engine/rate_limiter.h"
#include "engine/rekey_history.h"
#include "engine/reseal_job.h"
#include "engine/schedule_keeper.h"

namespace keyward::engine {
namespace {

// Until all keystores are open: at the start soon, later seldom.
constexpr std::chrono::seconds kLookAtStart{1};
constexpr std::chrono::seconds kLookWhileLocked{30};
constexpr std::chrono::minutes kStart{2};
// The soonest new try when a custodian recovers.
constexpr std::chrono::minutes kRecoveredRetry{1};
constexpr std::string_view kLimitDocument = "rekey-limit";

Caller scheduler() { return {"scheduler", "daemon"}; }
Caller limit_keeper() { return {"encryption-limit", "daemon"}; }

// Unknown, as 0, when the clock was set back meanwhile.
double entries_per_second(const RekeyRecord& record) {
  if (!record.finished || *record.finished <= record.started) return 0;
  const std::chrono::duration<double> taken = *record.finished - record.started;
  return static_cast<double>(record.entries_done) / taken.count();
}

api::RekeyStatus to_status(const RekeyRecord& record) {
  api::RekeyStatus status;
  status.domain = record.domain;
  status.job = record.job.to_text();
  status.entries_done = record.entries_done;
  status.entries_total = record.entries_total;
  status.entries_per_second = entries_per_second(record);
  status.started = record.started;
  status.finished = record.finished;
  status.cancelled = record.cancelled;
  status.actor = record.actor;
  const std::size_t all = record.custodians.size();
  status.old_key =
      fmt::format("{} of {} destroyed", all - std::min(all, record.except.size()), all);
  for (const CustodianId& id : record.except)
    status.except.push_back(
        fmt::format("{} can still open key {}", id.text, record.old_key.to_text()));
  status.outcome =
      record.except.empty() ? api::RekeyOutcome::destroyed : api::RekeyOutcome::destroyed_except;
  if (record.cancelled) status.outcome = api::RekeyOutcome::cancelled;
  return status;
}

}  // namespace

class RekeyService::Impl {
 public:
  Impl(RekeyService::Parts parts, RekeyService::Limits limits)
      : parts_(parts),
        limits_(limits),
        queue_(parts.control),
        limiter_(parts.clock),
        keeper_({parts.keyring, parts.control, parts.events, parts.clock}, limits.clock,
                limits.allow_short_rotation) {
    limiter_.set(load_limit());
    recovered_ = parts_.custodians.on_recovered([this] { wake_failed(); });
  }

  void run(std::stop_token stop) {
    started_ = parts_.clock.monotonic();
    std::vector<std::jthread> helpers;
    for (unsigned i = 1; i < limits_.workers; ++i) helpers.emplace_back([&] { work(stop); });
    work(stop);
  }

  // Calls `act` on each domain's worker, and gives the worker a turn when that went well.
  template <typename Act>
  auto each(std::span<const Domain> domains, Act act) {
    std::vector<decltype(act(std::declval<DomainWorker&>()))> answers;
    for (const Domain& domain : domains) {
      const auto known = parts_.keyring.domains();
      if (std::ranges::find(known, domain) == known.end()) {
        answers.push_back(fail(ErrorCode::not_found, fmt::format("there is no domain {}: keyward "
                                                                 "cluster domains list",
                                                                 domain.text())));
        continue;
      }
      const auto slot = slot_of(domain);
      answers.push_back(act(slot->worker));
      if (answers.back()) wake(*slot);
    }
    return answers;
  }

  std::vector<Result<JobId>> start(std::span<const Domain> domains,
                                   const std::vector<CustodianId>& without, const Caller& caller) {
    auto jobs = each(domains, [&](DomainWorker& worker) { return worker.start(without, caller); });
    if (std::ranges::any_of(jobs, [](const auto& job) { return job.has_value(); }))
      record_whole_runs(domains);
    return jobs;
  }

  Result<void> reseal(const Domain& domain, const std::vector<CustodianId>& wanted,
                      const Caller& caller) {
    TRY(ResealJob::want(job_parts(TRY(parts_.keyring.keystore(domain))), wanted, caller));
    notice(domain);
    return {};
  }

  void notice(const Domain& domain) { wake(*slot_of(domain)); }

  std::vector<api::RekeyStatus> progress(std::span<const Domain> domains) {
    std::vector<api::RekeyStatus> rows;
    for (const Domain& domain : domains) rows.push_back(slot_of(domain)->worker.status());
    return rows;
  }

  std::vector<api::RekeyStatus> progress() {
    std::vector<api::RekeyStatus> rows;
    for (const Domain& domain : parts_.keyring.domains()) {
      auto status = slot_of(domain)->worker.status();
      if (!status.phase.empty()) rows.push_back(std::move(status));
    }
    return rows;
  }

  Result<void> set_rate_limit(std::optional<std::uint64_t> per_second, const Caller& caller) {
    if (per_second == 0)
      return fail(ErrorCode::invalid_argument,
                  "a limit of 0 entries per second would stop every rekey: pause them instead");
    const auto stored = parts_.control.load(kLimitDocument);
    if (!stored && stored.error().code != ErrorCode::not_found)
      return std::unexpected(stored.error());
    store::AuditRecord record = audit_record(caller, "limit.modify", "rekey");
    record.detail = api::to_json(api::RekeyLimit{per_second});
    TRY(parts_.control.save(
        {std::string(kLimitDocument), stored ? stored->version : 0, record.detail}, {&record, 1}));
    limiter_.set(per_second);
    parts_.events.raise(
        kRekeyLimitChanged, "rekey",
        per_second ? fmt::format("{} entries per second", *per_second) : std::string("no limit"));
    return {};
  }

  void wake_all() {
    const std::lock_guard lock(mutex_);
    for (auto& [domain, slot] : slots_) make_due(*slot);
    look_due_ = MonotonicTime::min();
    wake_.notify_all();
  }

  JobParts job_parts(std::shared_ptr<store::Keystore> keystore) {
    return {std::move(keystore), parts_.keyring, parts_.custodians,
            parts_.control,      parts_.events,  parts_.clock};
  }

  RekeyService::Parts parts_;
  const RekeyService::Limits limits_;
  QueuedRekeys queue_;
  RateLimiter limiter_;
  ScheduleKeeper keeper_;

 private:
  struct Slot {
    Slot(DomainWorker::Parts parts, Domain domain) : worker(parts, std::move(domain)) {}
    DomainWorker worker;
    // Under the service's mutex.
    bool is_busy = false;
    bool is_noticed = false;    // Something changed during its turn.
    bool is_recovered = false;  // A custodian answers again.
    MonotonicTime due = MonotonicTime::min();
    std::uint64_t served = 0;  // The turn it had last, so that the longest waiting comes first.
  };

  std::optional<std::uint64_t> load_limit() {
    const auto stored = parts_.control.load(kLimitDocument);
    if (!stored) return limits_.entries_per_second;
    const auto limit = api::from_json<api::RekeyLimit>(stored->json);
    if (limit) return limit->entries_per_second;
    log(LogLevel::warning, "the stored rekey limit cannot be read: {}", limit.error().message);
    return limits_.entries_per_second;
  }

  std::shared_ptr<Slot> slot_of(const Domain& domain) {
    const std::lock_guard lock(mutex_);
    auto& slot = slots_[domain];
    if (!slot)
      slot = std::make_shared<Slot>(
          DomainWorker::Parts{parts_.keyring, parts_.custodians, parts_.control, parts_.events,
                              parts_.clock, queue_, limiter_, limits_.batch_entries},
          domain);
    return slot;
  }

  void wake(Slot& slot) {
    const std::lock_guard lock(mutex_);
    make_due(slot);
    wake_.notify_all();
  }

  static void make_due(Slot& slot) {
    slot.is_noticed = true;
    slot.due = MonotonicTime::min();
  }

  // A custodian answers again: what failed may go well now. Not at once after the failure, so that
  // one that answers and fails by turns is not asked without end.
  void wake_failed() {
    const std::lock_guard lock(mutex_);
    for (auto& [domain, slot] : slots_) {
      slot->is_recovered = true;  // One that has its turn now may be about to fail.
      bring_forward(*slot);
    }
    wake_.notify_all();
  }

  static void bring_forward(Slot& slot) {
    if (slot.is_busy || !std::exchange(slot.is_recovered, false)) return;
    if (const auto failed = slot.worker.failed_at())
      slot.due = std::min(slot.due, *failed + kRecoveredRetry);
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
      const MonotonicTime now = parts_.clock.monotonic();
      if (!is_looking_ && look_due_ <= now)
        take_look(lock);
      else if (const auto slot = next_slot(now))
        take_turn(lock, *slot, stop);
      else
        parts_.clock.wait_until(lock, wake_, stop, next_deadline());
    }
  }

  std::shared_ptr<Slot> next_slot(MonotonicTime now) {
    std::shared_ptr<Slot> best;
    for (auto& [domain, slot] : slots_)
      if (!slot->is_busy && slot->due <= now && (!best || slot->served < best->served)) best = slot;
    return best;
  }

  MonotonicTime next_deadline() const {
    MonotonicTime earliest = is_looking_ ? MonotonicTime::max() : look_due_;
    for (const auto& [domain, slot] : slots_)
      if (!slot->is_busy) earliest = std::min(earliest, slot->due);
    return earliest;
  }

  void take_turn(std::unique_lock<std::mutex>& lock, Slot& slot, const std::stop_token& stop) {
    slot.is_busy = true;
    slot.is_noticed = false;
    slot.served = ++turns_;
    lock.unlock();
    const MonotonicTime due = slot.worker.turn(stop);
    lock.lock();
    slot.is_busy = false;
    slot.due = slot.is_noticed ? MonotonicTime::min() : due;
    bring_forward(slot);
    wake_.notify_all();
  }

  void take_look(std::unique_lock<std::mutex>& lock) {
    is_looking_ = true;
    look_due_ = MonotonicTime::max();
    lock.unlock();
    const MonotonicTime due = look();
    lock.lock();
    is_looking_ = false;
    look_due_ = std::min(look_due_, due);  // wake_all() may have come between.
    wake_.notify_all();
  }

  // Everything that comes by itself. Answers when to look next.
  MonotonicTime look() {
    const auto domains = parts_.keyring.domains();
    refresh_slots(domains);
    // A run of no domains would count as one.
    const bool is_listed = parts_.keyring.is_listed();
    start_missed(domains);
    if (is_listed)
      for (const ScheduleName name : keeper_.due()) run_schedule(name, domains);
    for (const Domain& domain : domains) check_encryptions(domain);
    keeper_.check_overdue();
    const MonotonicTime now = parts_.clock.monotonic();
    const MonotonicTime next = now + look_pause(now, domains.empty());
    // What is due and has to wait for the list would be due at once again.
    return is_listed ? std::min(next, keeper_.next_look().value_or(next)) : next;
  }

  std::chrono::milliseconds look_pause(MonotonicTime now, bool is_empty) {
    const bool is_locked =
        is_empty || std::ranges::any_of(parts_.keyring.status(), [](const auto& status) {
          return status.state == api::DomainState::locked;
        });
    if (!is_locked) return limits_.look_every;
    return now - started_ < kStart ? kLookAtStart : kLookWhileLocked;
  }

  // Each idle domain looks whether its key table has work; one that is gone loses its slot.
  void refresh_slots(const std::vector<Domain>& domains) {
    for (const Domain& domain : domains) slot_of(domain);
    const std::lock_guard lock(mutex_);
    std::erase_if(slots_, [&](const auto& slot) {
      return !slot.second->is_busy && std::ranges::find(domains, slot.first) == domains.end();
    });
    for (auto& [domain, slot] : slots_)
      if (slot->due == MonotonicTime::max()) make_due(*slot);
  }

  void run_schedule(ScheduleName name, const std::vector<Domain>& domains) {
    for (const Domain& domain : domains) {
      if (schedule_of(domain) == name) start_scheduled(domain);
    }
    if (const auto recorded = keeper_.record_run(name); !recorded)
      log(LogLevel::error, "the run of a schedule could not be stored: {}",
          recorded.error().message);
  }

  void start_scheduled(const Domain& domain) {
    const auto slot = slot_of(domain);
    if (const auto job = slot->worker.start_or_queue(scheduler()); job) {
      wake(*slot);
    } else {
      log(LogLevel::error, "the scheduled rekey of {} was not started: {}", domain.text(),
          job.error().message);
      if (job.error().code != ErrorCode::unsupported) missed_.insert(domain);
    }
  }

  // The run counts for all of a schedule's domains; one that failed in it does not wait for the
  // next.
  void start_missed(const std::vector<Domain>& domains) {
    for (const Domain& domain : std::exchange(missed_, {}))
      if (std::ranges::find(domains, domain) != domains.end()) start_scheduled(domain);
  }

  void check_encryptions(const Domain& domain) {
    const auto keystore = parts_.keyring.keystore(domain);
    if (!keystore) return;
    const auto table = (*keystore)->keys();
    if (!table || table->rekey) return;
    const std::uint64_t made = table->current().encryptions_reserved;
    if (made < limits_.encryptions_before_rekey) return;
    parts_.events.raise(kEncryptionLimitNear, domain.text(),
                        fmt::format("about {} entries were encrypted under its master key, at {} "
                                    "puts are refused; a rekey begins",
                                    made, 1ull << 32));
    const auto slot = slot_of(domain);
    if (const auto job = slot->worker.start({}, limit_keeper()); !job)
      log(LogLevel::error, "the rekey of {} was not started: {}", domain.text(),
          job.error().message);
    wake(*slot);
  }

  // KEYWARD may be left out: people name the others when they say "all".
  void record_whole_runs(std::span<const Domain> started) {
    const auto domains = parts_.keyring.domains();
    for (const ScheduleName name : kScheduleNames) {
      const auto concerns = [&](const Domain& domain) {
        return schedule_of(domain) == name && domain.text() != "KEYWARD";
      };
      const auto is_started = [&](const Domain& domain) {
        return !concerns(domain) || std::ranges::find(started, domain) != started.end();
      };
      if (std::ranges::none_of(domains, concerns) || !std::ranges::all_of(domains, is_started))
        continue;
      if (const auto recorded = keeper_.record_run(name); !recorded)
        log(LogLevel::warning, "the time of the rekey could not be stored: {}",
            recorded.error().message);
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<Domain, std::shared_ptr<Slot>> slots_;
  std::uint64_t turns_ = 0;
  bool is_looking_ = false;
  std::set<Domain> missed_;  // Of whoever looks.
  MonotonicTime look_due_ = MonotonicTime::min();
  MonotonicTime started_{};
  std::shared_ptr<void> recovered_;  // Last: it must end before what its listener uses.
};

RekeyService::RekeyService(Parts parts, Limits limits)
    : impl_(std::make_unique<Impl>(parts, limits)) {}

RekeyService::~RekeyService() = default;

void RekeyService::run(std::stop_token stop) { impl_->run(std::move(stop)); }

std::vector<Result<JobId>> RekeyService::start(std::span<const Domain> domains,
                                               const std::vector<CustodianId>& without,
                                               const Caller& caller) {
  return impl_->start(domains, without, caller);
}

std::vector<Result<void>> RekeyService::pause(std::span<const Domain> domains,
                                              const Caller& caller) {
  return impl_->each(domains, [&](DomainWorker& worker) { return worker.pause(caller); });
}

std::vector<Result<void>> RekeyService::resume(std::span<const Domain> domains,
                                               const Caller& caller) {
  return impl_->each(domains, [&](DomainWorker& worker) { return worker.resume(caller); });
}

std::vector<Result<void>> RekeyService::cancel(std::span<const Domain> domains,
                                               const Caller& caller) {
  return impl_->each(domains, [&](DomainWorker& worker) { return worker.cancel(caller); });
}

std::vector<Result<void>> RekeyService::retry(std::span<const Domain> domains,
                                              const Caller& caller) {
  impl_->keeper_.confirm_clock();
  auto answers = impl_->each(domains, [&](DomainWorker& worker) { return worker.retry(caller); });
  impl_->wake_all();
  return answers;
}

Result<void> RekeyService::reseal(const Domain& domain, const std::vector<CustodianId>& wanted,
                                  const Caller& caller) {
  return impl_->reseal(domain, wanted, caller);
}

void RekeyService::notice(const Domain& domain) { impl_->notice(domain); }

std::vector<api::RekeyStatus> RekeyService::progress() const { return impl_->progress(); }

std::vector<api::RekeyStatus> RekeyService::progress(std::span<const Domain> domains) const {
  return impl_->progress(domains);
}

Result<std::vector<api::RekeyStatus>> RekeyService::history(const Domain& domain,
                                                            std::size_t count_max) {
  std::vector<api::RekeyStatus> rows;
  for (const RekeyRecord& record : TRY(rekey_history(impl_->parts_.control, domain, count_max)))
    rows.push_back(to_status(record));
  return rows;
}

Result<Schedule> RekeyService::schedule(ScheduleName name) const {
  return impl_->keeper_.load(name);
}

Result<void> RekeyService::set_schedule(ScheduleName name, Schedule schedule,
                                        const Caller& caller) {
  TRY(impl_->keeper_.set(name, schedule, caller));
  impl_->wake_all();
  return {};
}

Result<std::optional<UtcTime>> RekeyService::next_run(ScheduleName name) const {
  return TRY(impl_->keeper_.load(name)).next_run();
}

Result<void> RekeyService::set_rate_limit(std::optional<std::uint64_t> entries_per_second,
                                          const Caller& caller) {
  return impl_->set_rate_limit(entries_per_second, caller);
}

std::optional<std::uint64_t> RekeyService::rate_limit() const { return impl_->limiter_.get(); }

ClockSanity::Verdict RekeyService::clock_verdict() const { return impl_->keeper_.clock_verdict(); }

}  // namespace keyward::engine
