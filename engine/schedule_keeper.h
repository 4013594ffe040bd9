// The ScheduleKeeper keeps the rekey schedules and says which are due, if the clock may be
// believed.
//
//   for (ScheduleName name : keeper.due()) { start(domains_of(name)); TRY(keeper.record_run(name));
//   } wait_until(keeper.next_look());
//
// It starts nothing itself. Safe from any thread.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/caller.h"
#include "engine/clock_sanity.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/schedule.h"
#include "store/control_store.h"

namespace keyward::engine {

inline constexpr ScheduleName kScheduleNames[] = {ScheduleName::cluster, ScheduleName::sed};

// SED has a schedule of its own, all other domains have the cluster's.
ScheduleName schedule_of(const Domain& domain);

class ScheduleKeeper final {
 public:
  struct Parts {
    Keyring& keyring;
    store::ControlStore& control;
    EventLog& events;
    Clock& clock;
  };
  ScheduleKeeper(Parts parts, ClockSanity::Limits clock_limits, bool allow_short)
      : parts_(parts), allow_short_(allow_short), sanity_(clock_limits) {}

  Result<Schedule> load(ScheduleName name) const;
  // As RekeyService::set_schedule.
  Result<void> set(ScheduleName name, Schedule schedule, const Caller& caller);
  // What is due now; nothing while the clock is not believed. Raises and clears ClockJumped.
  std::vector<ScheduleName> due();
  // Durable when it answers well; in this process it counts either way, so that a full disk does
  // not make a run repeat.
  Result<void> record_run(ScheduleName name);
  // When due() may answer something else than now; none when only a change makes it.
  std::optional<MonotonicTime> next_look();
  // Raises MasterKeyOverdue for each domain whose key is older than its schedule allows.
  void check_overdue();

  void confirm_clock();
  ClockSanity::Verdict clock_verdict();

 private:
  ClockSanity::Verdict observe();
  void remember_stored_times();
  bool is_tpm_wanted();

  Parts parts_;
  const bool allow_short_;
  mutable std::mutex mutex_;
  ClockSanity sanity_;
  std::map<ScheduleName, UtcTime> ran_;  // Runs of this process.
};

}  // namespace keyward::engine
