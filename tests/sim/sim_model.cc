#include "tests/sim/sim_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "engine/schedule_keeper.h"

namespace keyward::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kNextTry = "the next try is at ";

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this node";
}

bool is_failure(const engine::Event& event) {
  return event.name == engine::kRekeyFailed.name || event.name == engine::kSedsRekeyFailed.name ||
         event.name == engine::kResealFailed.name;
}

}  // namespace

SimModel::SimModel(SimClock& clock, SimTrace& trace, std::uint64_t seed)
    : clock_(clock), trace_(trace), random_(seed) {}

void SimModel::watch(SimNode& node) {
  node_ = &node;
  for (const std::string& name : node.settings().domains) domains_[name];
  for (const engine::ScheduleName name : engine::kScheduleNames) schedules_[name];
}

void SimModel::fail(std::string text) {
  trace_.add(clock_.now(), "BROKEN " + text);
  broken_.push_back(std::move(text));
}

// ---- What is heard ----

void SimModel::heard(const engine::Event& event) {
  const std::pair key{event.name, event.subject};
  // The host's name would make traces of two machines differ.
  const std::string subject = event.name == engine::kSedsRekeyFailed.name ? "SED" : event.subject;
  // One that is locked says so every minute.
  if (!event.open || event.name != engine::kKeystoreLocked.name || !open_.contains(key))
    trace_.add(clock_.now(), fmt::format("event {}{} {}: {}", event.open ? "open " : "", event.name,
                                         subject, event.text));
  if (event.open)
    open_.insert(key);
  else
    open_.erase(key);
  const auto found = domains_.find(subject);
  if (found == domains_.end()) return;
  Domain1& domain = found->second;
  if (is_failure(event)) heard_failure(subject, event);
  if (event.name == engine::kRekeyStarted.name) {
    domain.served = std::max(domain.served, clock_.now());
    begun_ = clock_.monotonic();
    if (event.text.starts_with("started by scheduler")) ++domain.scheduled_starts;
  }
  if (event.name == engine::kRekeyFinished.name) ++domain.heard[0];
  if (event.name == engine::kRekeyCancelled.name) ++domain.heard[1];
  if (event.name == engine::kRekeyFinished.name || event.name == engine::kRekeyCancelled.name) {
    domain.has_news = true;
    domain.served = std::max(domain.served, clock_.now());
  }
}

void SimModel::heard_failure(const std::string& name, const engine::Event& event) {
  Domain1& domain = domains_.at(name);
  if (!event.open) {
    domain.failed.reset();
    return;
  }
  const std::string next_try = to_iso8601(clock_.now() + engine::kRekeyRetry);
  if (!event.text.ends_with(fmt::format("{}{}", kNextTry, next_try)))
    fail(fmt::format("{}: the next try should be at {}, but: {}", name, next_try, event.text));
  const MonotonicTime now = clock_.monotonic();
  // A rekey that is slowed by a limit may take its worker's time for a while.
  constexpr std::chrono::minutes kWorkerBusy{2};
  if (domain.failed && domain.excused == 0) {
    const auto gap = now - *domain.failed;
    if (gap < engine::kRekeyRetry || gap > engine::kRekeyRetry + kWorkerBusy)
      odd_tries_.push_back({name, domain.failed_utc, clock_.now(), gap});
  }
  domain.failed = now;
  domain.failed_utc = clock_.now();
  if (domain.excused > 0) --domain.excused;
}

void SimModel::recovered() { all_stimulated(); }

void SimModel::all_stimulated() {
  for (auto& [name, domain] : domains_) domain.excused = kExcused;
}

bool SimModel::is_open(const engine::EventKind& kind, const std::string& subject) const {
  return open_.contains({std::string(kind.name), subject});
}

bool SimModel::has_open_failure(const std::string& domain) const {
  const bool is_rekey = domain == "SED" ? is_open(engine::kSedsRekeyFailed, host_name())
                                        : is_open(engine::kRekeyFailed, domain);
  return is_rekey || is_open(engine::kResealFailed, domain);
}

// ---- What is done ----

void SimModel::process_started() {
  disturb();
  open_.clear();
  live_since_ = clock_.monotonic();
  checked_utc_ = clock_.now();
  has_forgotten_ = std::exchange(has_store_failed_, false);
  for (auto& [name, domain] : domains_) {
    domain.failed.reset();
    domain.has_news = true;
    domain.is_queued = true;  // Until it is open, a run of its schedule is written down only.
  }
}

void SimModel::process_ended() {
  disturb();
  may_have_lost_ = true;
  odd_tries_.clear();
  count_dues();
}

void SimModel::rekeys_asked_for(const std::vector<std::string>& names) {
  begun_ = clock_.monotonic();
  const auto is_asked_for = [&](const std::string& name) {
    return std::ranges::find(names, name) != names.end();
  };
  std::set<engine::ScheduleName> whole(std::begin(engine::kScheduleNames),
                                       std::end(engine::kScheduleNames));
  for (const auto& [name, domain] : domains_)  // KEYWARD may be left out.
    if (name != "KEYWARD" && !is_asked_for(name)) whole.erase(engine::schedule_of(domain_of(name)));
  for (auto& [name, domain] : domains_) {
    const bool is_in_whole = whole.contains(engine::schedule_of(domain_of(name)));
    if (is_asked_for(name) || is_in_whole) domain.served = std::max(domain.served, clock_.now());
    if (is_asked_for(name)) domain.excused = kExcused;
  }
  for (const engine::ScheduleName name : whole) schedules_[name].asked_for = true;
}

// A rekey that a person does not want now comes at its next time.
void SimModel::rekey_cancelled(const std::string& name) {
  begun_ = clock_.monotonic();
  Domain1& domain = domains_.at(name);
  domain.served = std::max(domain.served, clock_.now());
  domain.excused = kExcused;
}

void SimModel::store_failed() {
  disturb();
  may_have_lost_ = may_have_forgotten_ = has_store_failed_ = true;
  live_since_ = clock_.monotonic();
  for (auto& [name, domain] : domains_) domain.has_news = true;
}

void SimModel::clock_will_shift() {
  count_dues();
  was_believed_ = node_->is_up() &&
                  node_->service().clock_verdict() == engine::ClockSanity::Verdict::believable;
}

// A clock that parts from the hour by more than a day is not believed at once, and one that shows
// what cannot be never is. Only a change after an even day that is believed says so surely: another
// one may go back to what was believed before.
void SimModel::clock_shifted(std::chrono::milliseconds step) {
  disturb();
  const MonotonicTime now = clock_.monotonic();
  const bool was_even = now - std::max(shifted_, live_since_) > 24h;
  live_since_ = shifted_ = now;
  checked_utc_ = clock_.now();
  if (!was_believed_ || !was_even || std::chrono::abs(step) < 25h) return;
  if (node_->service().clock_verdict() == engine::ClockSanity::Verdict::believable)
    fail(fmt::format("the clock jumped to {} and is believed", to_iso8601(clock_.now())));
}

void SimModel::schedule_set(engine::ScheduleName name) {
  disturb();
  schedules_[name].is_unsure = true;
  all_stimulated();  // Everything is looked at anew.
}

void SimModel::written(const std::string& domain, const std::string& name, const std::string& value,
                       bool acknowledged) {
  auto& values = domains_.at(domain).written[name];
  if (acknowledged) values.clear();
  if (!acknowledged && values.empty()) values.insert("");
  values.insert(value);
}

std::size_t SimModel::rekeys() const {
  std::size_t count = 0;
  for (const auto& [name, domain] : domains_) count += domain.heard[0] + domain.heard[1];
  return count;
}

}  // namespace keyward::sim
