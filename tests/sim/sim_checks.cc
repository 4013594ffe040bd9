// The promises that SimModel checks.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "engine/keyring.h"
#include "engine/reseal_job.h"
#include "engine/schedule_keeper.h"
#include "tests/sim/sim_model.h"

namespace keyward::sim {
namespace {

using namespace std::chrono_literals;
using engine::ScheduleName;

std::chrono::milliseconds length_of(Period period) {
  return nth_after(UtcTime{}, period, 1) - UtcTime{};  // Hours, days and weeks only.
}

// How many due times lie in (after, until]. Counted by hand, not by the product's Schedule.
std::int64_t dues_between(UtcTime anchor, std::chrono::milliseconds period, UtcTime after,
                          UtcTime until) {
  const auto dues_until = [&](UtcTime time) {
    return time <= anchor ? 0 : (time - anchor) / period;
  };
  return std::max<std::int64_t>(0, dues_until(until) - dues_until(std::max(after, anchor)));
}

std::vector<hsm::HeldObject> objects_of(const std::string& id, SimHardware& hardware) {
  return hsm::FakeCustodian(id, hardware.hardware).list().value();
}

}  // namespace

bool SimModel::is_troubled() {
  if (node_->crash_plan().is_armed() || node_->store_plan().is_armed()) return true;
  for (const auto& [id, hardware] : node_->hardware())
    if (hardware.is_down || hardware.needs_person || hardware.plan.is_armed()) return true;
  if (node_->service().clock_verdict() != engine::ClockSanity::Verdict::believable) return true;
  return std::ranges::any_of(
      tables_, [](const auto& known) { return known.second.rekey && known.second.rekey->paused; });
}

// Until what failed has been tried again, and the schedules have been looked at.
std::chrono::nanoseconds SimModel::grace() const {
  return node_->settings().limits.look_every + engine::kRekeyRetry + 25min;
}

void SimModel::check(bool thorough) {
  if (!node_->is_up()) return disturb();
  if (node_->store_plan().is_armed()) return store_failed();
  if (node_->crash_plan().is_armed()) return disturb();
  look_at_tables();
  if (is_troubled()) disturb();
  for (auto& [id, hardware] : node_->hardware()) check_hardware(id, hardware);
  for (const auto& [name, table] : tables_) {
    check_table(name, table);
    check_entries(name, thorough);
    check_retry(name);
  }
  for (const ScheduleName name : engine::kScheduleNames) check_schedule(name);
  check_odd_tries();
  for (const auto& [name, table] : tables_) {
    check_history(name);
    check_overdue_event(name);
  }
  if (std::ranges::none_of(domains_, [](const auto& known) { return known.second.has_news; }))
    may_have_lost_ = false;
  check_unhealthy_events();
  if (calm_for() >= grace()) check_calm();
}

void SimModel::look_at_tables() {
  tables_.clear();
  for (auto& [name, domain] : domains_) {
    const auto keystore = node_->keyring().keystore(domain_of(name));
    if (!keystore) {  // Locked since the start: a run of the schedule may wait for it.
      domain.is_queued = true;
      continue;
    }
    tables_.emplace(name, (*keystore)->keys().value());
  }
}

void SimModel::check_table(const std::string& name, const store::KeyTable& table) {
  if (const auto checked = table.check(); !checked)
    fail(fmt::format("{}: {}", name, checked.error().message));
  const auto current =
      std::ranges::count(table.keys, store::KeyState::current, &store::KeyRow::state);
  if (current != 1) fail(fmt::format("{}: {} keys are current", name, current));
}

// Whatever the hardware holds is named by a key table, and what entries need is there.
void SimModel::check_hardware(const std::string& id, SimHardware& hardware) {
  if (hardware.is_down || tables_.size() < domains_.size()) return;
  std::set<KeyContext> held;
  for (const hsm::HeldObject& object : objects_of(id, hardware)) {
    held.insert(object.context);
    const store::KeyTable& table = tables_.at(object.context.domain.text());
    const store::KeyRow* row = table.find(object.context.key);
    if (row == nullptr || std::ranges::find(row->holders, CustodianId{id}) == row->holders.end())
      fail(fmt::format("{} holds {}, which no key table names", id, object.where));
  }
  for (const auto& [name, table] : tables_)
    for (const store::KeyRow& row : table.keys)
      if (row.state != store::KeyState::retiring && row.copy_of({id}) != nullptr &&
          table.find_wanted({id}) != nullptr && !held.contains(table.context(row.id)))
        fail(fmt::format("{}: {} no longer holds key {}, which is in use", name, id,
                         row.id.to_text()));
}

void SimModel::check_entries(const std::string& name, bool thorough) {
  constexpr std::size_t kSample = 2;
  auto& written = domains_.at(name).written;
  if (thorough)
    for (auto& [entry, values] : written) check_entry(name, entry, values);
  else
    for (std::size_t i = 0; i < kSample && !written.empty(); ++i) {
      const auto one =
          std::next(written.begin(), static_cast<std::ptrdiff_t>(random_() % written.size()));
      check_entry(name, one->first, one->second);
    }
}

void SimModel::check_entry(const std::string& name, const std::string& entry,
                           std::set<std::string>& values) {
  const auto secret =
      node_->keyring().get(domain_of(name), EntryName::parse(entry).value(), kOperator);
  if (!secret && secret.error().code == ErrorCode::unavailable) return;  // Locked since the start.
  std::string found;  // Stays "" when there is none.
  if (secret) {
    const ByteView bytes = secret->reveal();
    found.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  } else if (secret.error().code != ErrorCode::not_found) {
    return fail(fmt::format("{}/{} is lost: {}", name, entry, secret.error().message));
  }
  if (!values.contains(found))
    return fail(fmt::format("{}/{} reads {}, which was not written last", name, entry,
                            found.empty() ? "as if it were not there" : found));
  values = {found};  // What was once read stays.
}

void SimModel::check_retry(const std::string& name) {
  constexpr std::chrono::minutes kWorkerBusy{2};
  Domain1& domain = domains_.at(name);
  const store::KeyTable& table = tables_.at(name);
  const auto status = node_->service().progress(std::vector{domain_of(name)}).front();
  if (!status.phase.empty()) domain.served = std::max(domain.served, clock_.now());
  // Beside a rekey under way, nobody shows the one that waits.
  if (!table.rekey) domain.is_queued = !status.job.empty();
  const bool is_paused = table.rekey && table.rekey->paused;
  if (domain.failed && !is_paused) {
    if (!has_open_failure(name)) fail(fmt::format("{} fails, and no event is open", name));
    if (clock_.monotonic() - *domain.failed > engine::kRekeyRetry + kWorkerBusy)
      fail(fmt::format("{} failed at {} and was not tried again", name,
                       to_iso8601(domain.failed_utc)));
  }
  if (status.phase.empty() && status.error.empty() && has_open_failure(name))
    fail(fmt::format("{} has nothing to do, and an event says that it fails", name));
}

void SimModel::check_odd_tries() {
  for (const OddTry& odd : odd_tries_) {
    const auto& run = schedules_[engine::schedule_of(domain_of(odd.domain))].last_run;
    // A run of the schedule has a failed one tried as well.
    if (run && *run >= std::chrono::floor<std::chrono::seconds>(odd.from) && *run <= odd.to)
      continue;
    fail(fmt::format("{} was tried again after {} ms, not after 15 minutes", odd.domain,
                     std::chrono::duration_cast<std::chrono::milliseconds>(odd.gap).count()));
  }
  odd_tries_.clear();
}

void SimModel::check_schedule(ScheduleName name) {
  Schedule1& schedule = schedules_[name];
  const auto now = node_->service().schedule(name);
  if (!now) return fail(fmt::format("the schedule is gone: {}", now.error().message));
  if (schedule.is_unsure) {
    schedule.period.reset();
    if (now->rotation.period) schedule.period = length_of(*now->rotation.period);
    schedule.anchor = now->anchor;
    schedule.is_unsure = false;
  } else if (!may_have_forgotten_) {
    check_runs(name, schedule, *now);
  }
  schedule.last_run = now->last_run;
  if (schedule.last_run > clock_.now()) schedule.held_until = *schedule.last_run;
  schedule.asked_for = false;
  schedule.dues = 0;
  for (auto& [domain, state] : domains_)
    if (engine::schedule_of(domain_of(domain)) == name) {
      // What the store kept from starting follows later.
      if (state.scheduled_starts > 0) state.is_owed = false;
      if (state.scheduled_starts == 0 && may_have_forgotten_) state.is_owed = true;
      state.scheduled_starts = 0;
      state.was_queued = state.is_queued;
    }
  if (name != engine::kScheduleNames[1]) return;
  checked_utc_ = std::max(checked_utc_, clock_.now());
  may_have_forgotten_ = false;
}

// From here on the hours are counted anew; what came due until now counts.
void SimModel::count_dues() {
  for (auto& [name, schedule] : schedules_)
    if (schedule.period)
      schedule.dues += dues_between(
          schedule.anchor, *schedule.period,
          std::max(schedule.last_run.value_or(schedule.anchor), checked_utc_), clock_.now());
}

// A run needs a due time since the last one, and however many were missed, it is one.
void SimModel::check_runs(ScheduleName name, Schedule1& schedule, const engine::Schedule& now) {
  // One that could not be stored is forgotten when the process ends.
  if (now.last_run < schedule.last_run && has_forgotten_) return;
  const bool has_run = now.last_run != schedule.last_run;
  const UtcTime before = schedule.last_run.value_or(schedule.anchor);
  std::int64_t allowed = 0;
  if (has_run && schedule.period) {
    const auto due = dues_between(schedule.anchor, *schedule.period, before, *now.last_run);
    if (due == 0 && !schedule.asked_for)
      fail(fmt::format("the schedule ran at {} and was not due", to_iso8601(*now.last_run)));
    if (due > 0)
      allowed = 1 + schedule.dues +
                dues_between(schedule.anchor, *schedule.period, std::max(before, checked_utc_),
                             *now.last_run);
  }
  for (const auto& [domain, state] : domains_) {
    if (engine::schedule_of(domain_of(domain)) != name) continue;
    const auto limit =
        static_cast<std::size_t>(allowed) + (state.was_queued || state.is_owed ? 1u : 0u);
    if (state.scheduled_starts > limit)
      fail(fmt::format("{}: the schedule started {} rekeys where {} were due", domain,
                       state.scheduled_starts, limit));
  }
}

// Each finished or cancelled rekey has one event, and each event its rekey.
void SimModel::check_history(const std::string& name) {
  constexpr std::size_t kAll = 100'000;
  Domain1& domain = domains_.at(name);
  // A rekey has its row before its last step, and its event after that.
  if (!domain.has_news || tables_.at(name).rekey) return;
  domain.has_news = false;
  const auto rows = node_->service().history(domain_of(name), kAll);
  if (!rows) return fail(fmt::format("{}: no history: {}", name, rows.error().message));
  std::array<std::size_t, 2> stored{};
  for (const api::RekeyStatus& row : *rows) {
    ++stored[row.cancelled ? 1 : 0];
    if (!row.except.empty()) fail(fmt::format("{}: {}", name, row.except.front()));
  }
  for (std::size_t i : {0u, 1u}) {
    const std::string_view what = i == 0 ? "finished" : "cancelled";
    const std::size_t known = domain.heard[i] + domain.lost[i];
    if (stored[i] < known)
      fail(fmt::format("{}: {} events of {} rekeys, and {} in the history", name, known, what,
                       stored[i]));
    if (stored[i] > known && !may_have_lost_)
      fail(fmt::format("{}: {} {} rekeys, and {} events", name, stored[i], what, known));
    domain.lost[i] = std::max(stored[i], known) - domain.heard[i];
  }
}

void SimModel::check_overdue_event(const std::string& name) {
  const auto& period = schedules_[engine::schedule_of(domain_of(name))].period;
  if (!period || clock_.monotonic() - live_since_ < grace()) return;
  const auto age = clock_.now() - tables_.at(name).current().created;
  const auto allowed = *period + std::min<std::chrono::milliseconds>(24h, *period);
  if (age > allowed + node_->settings().limits.look_every + 1min &&
      node_->service().clock_verdict() == engine::ClockSanity::Verdict::believable &&
      calm_for() > grace() && !is_open(engine::kMasterKeyOverdue, name))
    fail(fmt::format("{}: its key is overdue, and no event says so", name));
  if (age < *period && is_open(engine::kMasterKeyOverdue, name) && calm_for() > grace())
    fail(fmt::format("{}: its key is new, and an event says that it is overdue", name));
}

void SimModel::check_unhealthy_events() {
  // The prober's pause, and a little.
  constexpr std::chrono::minutes kSeen{11};
  if (calm_for() < kSeen) return;
  for (const auto& [id, hardware] : node_->hardware())
    if (is_open(engine::kCustodianUnhealthy, id))
      fail(fmt::format("{} answers again, and an event says that it does not", id));
}

// ---- When nothing fails for a while ----

void SimModel::check_calm() {
  constexpr std::chrono::minutes kRekeyTakes{20};
  if (tables_.size() < domains_.size()) return fail("a keystore stays locked");
  for (const auto& [name, table] : tables_) check_served(name);
  if (is_open(engine::kClockJumped, "clock")) fail("the clock is right, and an event denies it");
  if (clock_.monotonic() - begun_ < kRekeyTakes) return;
  for (const auto& [name, table] : tables_) check_at_rest(name);
  for (auto& [id, hardware] : node_->hardware()) check_objects(id, hardware);
}

void SimModel::check_at_rest(const std::string& name) {
  const auto status = node_->service().progress(std::vector{domain_of(name)}).front();
  if (!status.phase.empty() || !status.error.empty() || status.state != api::DomainState::active)
    fail(fmt::format("{} does not come to rest: {} {}", name, status.phase, status.error));
  if (has_open_failure(name) || is_open(engine::kKeystoreLocked, name) ||
      is_open(engine::kKeystoreDegraded, name) || is_open(engine::kKeyOrphaned, name))
    fail(fmt::format("{} works, and an event says otherwise", name));
}

// The last due time that is so long ago that it must have been acted on.
void SimModel::check_served(const std::string& name) {
  const Schedule1& schedule = schedules_[engine::schedule_of(domain_of(name))];
  const UtcTime then = clock_.now() - std::chrono::floor<std::chrono::milliseconds>(grace());
  if (!schedule.period || then < schedule.anchor + *schedule.period) return;
  const UtcTime due =
      schedule.anchor + (then - schedule.anchor) / *schedule.period * *schedule.period;
  if (due <= schedule.held_until) return;
  const UtcTime served = domains_.at(name).served;
  if (served < std::chrono::floor<std::chrono::seconds>(due))
    fail(fmt::format("{} was due at {} and was not rekeyed: the last rekey was at {}", name,
                     to_iso8601(due), to_iso8601(served)));
}

// At rest the hardware holds each current key where it is wanted, confirmed, and nothing else.
void SimModel::check_objects(const std::string& id, SimHardware& hardware) {
  std::size_t expected = 0;
  for (const auto& [name, table] : tables_)
    if (table.find_wanted({id}) != nullptr) ++expected;
  const auto held = objects_of(id, hardware);
  if (held.size() != expected)
    fail(fmt::format("{} holds {} objects, not {}", id, held.size(), expected));
  for (const hsm::HeldObject& object : held) {
    const store::KeyTable& table = tables_.at(object.context.domain.text());
    if (object.context != table.context(table.current().id))
      fail(fmt::format("{} holds an orphan: {}", id, object.where));
    else if (!object.confirmed)
      fail(fmt::format("{}: {} is not confirmed", id, object.where));
  }
}

}  // namespace keyward::sim
