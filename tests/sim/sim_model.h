// A SimModel knows what the product was asked and told, and checks at each step of a simulation
// that it keeps its promises. It computes due times by itself and looks into the hardware directly;
// what it asks the product for is what any client could ask.
//
//   model.disturb();                   // something fails from now on
//   model.check();                     // after each step, when nobody runs
//   if (!model.broken().empty()) ...   // each broken promise in words
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/event_kinds.h"
#include "engine/event_log.h"
#include "engine/schedule.h"
#include "store/key_table.h"
#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_trace.h"

namespace keyward::sim {

class SimModel final {
 public:
  SimModel(SimClock& clock, SimTrace& trace, std::uint64_t seed);
  // The node that it looks at; before the first start.
  void watch(SimNode& node);

  // What happens, as the node's listener hears it.
  void heard(const engine::Event& event);
  void recovered();

  // What was done, by whoever did it.
  void process_started();
  void process_ended();
  // Something fails, or an operator did what the product must not undo by itself.
  void disturb() { calm_since_ = clock_.monotonic(); }
  void stimulated(const std::string& domain) { domains_.at(domain).excused = kExcused; }
  void all_stimulated();
  // A person asked for a rekey of these and at least one was begun. One that was refused is the
  // person's to ask for again.
  void rekeys_asked_for(const std::vector<std::string>& names);
  void rekey_cancelled(const std::string& domain);
  void store_failed();
  // Around a change of the clock by `step`.
  void clock_will_shift();
  void clock_shifted(std::chrono::milliseconds step);
  void schedule_set(engine::ScheduleName name);
  void written(const std::string& domain, const std::string& name, const std::string& value,
               bool acknowledged);

  // All promises that can be checked now. `thorough`: every entry, not a sample.
  void check(bool thorough);
  const std::vector<std::string>& broken() const { return broken_; }
  // Rekeys that came to their end, cancelled ones too.
  std::size_t rekeys() const;

 private:
  static constexpr unsigned kExcused = 2;
  struct Domain1 {
    std::map<std::string, std::set<std::string>> written;  // "" is: no such entry.
    // The last try of this process that failed, if none went well since.
    std::optional<MonotonicTime> failed;
    UtcTime failed_utc{};
    // Tries that may come before their time: somebody asked, perhaps while one was under way.
    unsigned excused = 0;
    UtcTime served{};                  // The last time at which a rekey was begun or under way.
    bool is_queued = false;            // A rekey is written down and has not begun.
    bool was_queued = false;           // At the check before.
    bool is_owed = false;              // A run may not have started it, as the store failed.
    std::size_t scheduled_starts = 0;  // Since the last check.
    // Of finished and of cancelled rekeys: events heard, and those that a crash swallowed.
    std::array<std::size_t, 2> heard{};
    std::array<std::size_t, 2> lost{};
    bool has_news = false;
  };
  struct Schedule1 {
    std::optional<std::chrono::milliseconds> period;
    UtcTime anchor{};
    std::optional<UtcTime> last_run;
    UtcTime held_until{};    // By a clock that was set back, the last run was yet to come.
    std::int64_t dues = 0;   // Since the last check, up to a restart or a change of the clock.
    bool is_unsure = true;   // To be read from the product.
    bool asked_for = false;  // A person started all its domains.
  };
  // A try that came at another time than 15 minutes after the last one.
  struct OddTry {
    std::string domain;
    UtcTime from{};
    UtcTime to{};
    std::chrono::nanoseconds gap{};
  };

  void fail(std::string text);
  std::chrono::nanoseconds calm_for() const { return clock_.monotonic() - calm_since_; }
  std::chrono::nanoseconds grace() const;
  bool is_troubled();
  bool is_open(const engine::EventKind& kind, const std::string& subject) const;
  bool has_open_failure(const std::string& domain) const;

  void heard_failure(const std::string& domain, const engine::Event& event);
  void look_at_tables();
  void check_table(const std::string& domain, const store::KeyTable& table);
  void check_hardware(const std::string& id, SimHardware& hardware);
  void check_entries(const std::string& domain, bool thorough);
  void check_entry(const std::string& domain, const std::string& name,
                   std::set<std::string>& values);
  void check_retry(const std::string& domain);
  void check_odd_tries();
  void check_schedule(engine::ScheduleName name);
  void count_dues();
  void check_runs(engine::ScheduleName name, Schedule1& schedule, const engine::Schedule& now);
  void check_history(const std::string& domain);
  void check_overdue_event(const std::string& domain);
  void check_unhealthy_events();
  void check_calm();
  void check_at_rest(const std::string& domain);
  void check_served(const std::string& domain);
  void check_objects(const std::string& id, SimHardware& hardware);

  SimClock& clock_;
  SimTrace& trace_;
  SimNode* node_ = nullptr;
  std::mt19937_64 random_;
  std::map<std::string, Domain1> domains_;
  std::map<std::string, store::KeyTable> tables_;  // Of this check; without those that are locked.
  std::map<engine::ScheduleName, Schedule1> schedules_;
  std::set<std::pair<std::string, std::string>> open_;  // Events of this process.
  std::vector<OddTry> odd_tries_;
  std::vector<std::string> broken_;
  MonotonicTime calm_since_{};
  MonotonicTime begun_{};          // The last work that was asked for, by people or by a schedule.
  MonotonicTime live_since_{};     // The process runs, its store answers and its clock runs evenly.
  MonotonicTime shifted_{};        // The last change of the clock.
  bool was_believed_ = false;      // The clock, before it.
  UtcTime checked_utc_{};          // Since then the schedules were watched without a gap.
  bool may_have_lost_ = false;     // A crash or a failing store may have swallowed an event.
  bool has_store_failed_ = false;  // In this process, and
  bool has_forgotten_ = false;     // in the one before.
  bool may_have_forgotten_ = false;  // The store failed: a run may not have been written down.
};

}  // namespace keyward::sim
