#include "engine/schedule_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kClock = "clock";
// A key may be this much older than its rotation before anybody is told: a rekey takes its time.
constexpr std::chrono::hours kOverdueMargin{24};

std::string_view option_of(ScheduleName name) {
  return name == ScheduleName::cluster ? "cluster" : "sed";
}

// How old a key may become.
UtcTime overdue_at(UtcTime created, Period period) {
  const UtcTime due = nth_after(created, period, 1);
  return due + std::min<std::chrono::milliseconds>(kOverdueMargin, due - created);
}

}  // namespace

ScheduleName schedule_of(const Domain& domain) {
  return domain.text() == "SED" ? ScheduleName::sed : ScheduleName::cluster;
}

Result<Schedule> ScheduleKeeper::load(ScheduleName name) const {
  auto document = parts_.control.load(document_name(name));
  if (!document && document.error().code == ErrorCode::not_found) return Schedule{};
  const store::Document found = TRY(std::move(document));
  Schedule schedule = TRY(schedule_from_json(found.json, found.version));
  const std::lock_guard lock(mutex_);
  const auto ran = ran_.find(name);
  return ran == ran_.end() ? schedule : schedule.after_run(ran->second);
}

Result<void> ScheduleKeeper::set(ScheduleName name, Schedule schedule, const Caller& caller) {
  TRY(check_rotation(schedule.rotation,
                     {.tpm_wanted = is_tpm_wanted(), .allow_short = allow_short_}));
  schedule.anchor = std::chrono::floor<std::chrono::seconds>(parts_.clock.now());
  if (schedule.rotation.period && clock_verdict() == ClockSanity::Verdict::impossible)
    return fail(ErrorCode::unavailable,
                fmt::format("the clock shows {}, which cannot be: set it first, since the rotation "
                            "is counted from now",
                            to_iso8601(schedule.anchor)));
  store::AuditRecord record = audit_record(caller, "schedule.modify", option_of(name));
  record.detail = schedule_to_json(schedule);
  TRY(parts_.control.save(
      {std::string(document_name(name)), schedule.version, schedule_to_json(schedule)},
      {&record, 1}));
  confirm_clock();
  return {};
}

std::vector<ScheduleName> ScheduleKeeper::due() {
  std::vector<ScheduleName> names;
  if (observe() != ClockSanity::Verdict::believable) return names;
  for (const ScheduleName name : kScheduleNames) {
    const auto schedule = load(name);
    if (!schedule) {
      log(LogLevel::error, "{}", schedule.error().message);
      continue;
    }
    const auto next = schedule->next_run();
    if (next && *next <= parts_.clock.now()) names.push_back(name);
  }
  return names;
}

Result<void> ScheduleKeeper::record_run(ScheduleName name) {
  const UtcTime now = std::chrono::floor<std::chrono::seconds>(parts_.clock.now());
  {
    const std::lock_guard lock(mutex_);
    ran_[name] = std::max(now, ran_[name]);
  }
  const Schedule ran = TRY(load(name)).after_run(now);
  TRY(parts_.control.save({std::string(document_name(name)), ran.version, schedule_to_json(ran)},
                          {}));
  return {};
}

std::optional<MonotonicTime> ScheduleKeeper::next_look() {
  const MonotonicTime now = parts_.clock.monotonic();
  if (clock_verdict() != ClockSanity::Verdict::believable) {
    const std::lock_guard lock(mutex_);
    return sanity_.settles_at();
  }
  std::optional<MonotonicTime> earliest;
  for (const ScheduleName name : kScheduleNames) {
    const auto schedule = load(name);
    const auto next = schedule ? schedule->next_run() : std::nullopt;
    if (!next) continue;
    // A wait of years would leave the clock's range; the caller looks earlier anyway.
    const auto wait = std::clamp<std::chrono::milliseconds>(
        *next - parts_.clock.now(), std::chrono::milliseconds{0}, std::chrono::hours{24});
    earliest = earliest ? std::min(*earliest, now + wait) : now + wait;
  }
  return earliest;
}

void ScheduleKeeper::check_overdue() {
  if (clock_verdict() != ClockSanity::Verdict::believable) return;
  const UtcTime now = parts_.clock.now();
  for (const auto& status : parts_.keyring.status()) {
    const auto domain = Domain::parse(status.domain);
    if (!domain || !status.key_created) continue;
    const auto schedule = load(schedule_of(*domain));
    if (!schedule) continue;
    const auto& period = schedule->rotation.period;
    if (!period || overdue_at(*status.key_created, *period) >= now) {
      parts_.events.clear(kMasterKeyOverdue, status.domain);
      continue;
    }
    parts_.events.raise(
        kMasterKeyOverdue, status.domain,
        fmt::format("its master key is from {} and should be replaced {}",
                    to_iso8601(*status.key_created), schedule->rotation.to_words()));
  }
}

void ScheduleKeeper::confirm_clock() {
  const std::lock_guard lock(mutex_);
  sanity_.observe(parts_.clock.now(), parts_.clock.monotonic());
  sanity_.confirm();
}

ClockSanity::Verdict ScheduleKeeper::clock_verdict() {
  const std::lock_guard lock(mutex_);
  return sanity_.observe(parts_.clock.now(), parts_.clock.monotonic());
}

ClockSanity::Verdict ScheduleKeeper::observe() {
  remember_stored_times();
  const auto verdict = clock_verdict();
  switch (verdict) {
    case ClockSanity::Verdict::believable:
      parts_.events.clear(kClockJumped, kClock);
      break;
    case ClockSanity::Verdict::jumped:
      parts_.events.raise(kClockJumped, kClock,
                          fmt::format("the clock has jumped by more than a day, to {}",
                                      to_iso8601(parts_.clock.now())));
      break;
    case ClockSanity::Verdict::impossible:
      parts_.events.raise(kClockJumped, kClock,
                          fmt::format("the clock shows {}, which cannot be: set it",
                                      to_iso8601(parts_.clock.now())));
      break;
  }
  return verdict;
}

void ScheduleKeeper::remember_stored_times() {
  std::optional<UtcTime> latest;
  const auto take = [&](const std::optional<UtcTime>& time) {
    if (time && (!latest || *latest < *time)) latest = time;
  };
  for (const auto& status : parts_.keyring.status()) take(status.key_created);
  for (const ScheduleName name : kScheduleNames)
    if (const auto schedule = load(name)) take(schedule->last_run);
  const std::lock_guard lock(mutex_);
  if (latest) sanity_.remember(*latest);
}

bool ScheduleKeeper::is_tpm_wanted() {
  return std::ranges::any_of(parts_.keyring.domains(), [&](const Domain& domain) {
    const auto keystore = parts_.keyring.keystore(domain);
    const auto table =
        keystore ? (*keystore)->keys() : Result<store::KeyTable>(std::unexpected(keystore.error()));
    return table && std::ranges::any_of(table->wanted, [](const WantedCustodian& wanted) {
             return wanted.id.text.starts_with("tpm2:");
           });
  });
}

}  // namespace keyward::engine
