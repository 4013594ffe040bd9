// A SimScript draws from a seed what happens to a node: what people ask for, what fails, and when
// it is repaired.
//
//   SimScript script(seed, days, trace);
//   if (!script.run()) print(script.broken());
//
// One seed is one appliance: its keystores, custodians, schedules and limits are drawn too.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/sim_clock.h"
#include "tests/sim/sim_model.h"
#include "tests/sim/sim_node.h"
#include "tests/sim/sim_trace.h"

namespace keyward::sim {

struct SimCounts {
  std::size_t steps = 0;
  std::size_t rekeys = 0;
  std::size_t crashes = 0;
  std::size_t faults = 0;
};

class SimScript final {
 public:
  SimScript(std::uint64_t seed, int days, SimTrace& trace);

  // False as soon as a promise is broken.
  bool run();
  const std::vector<std::string>& broken() const { return model_.broken(); }
  const SimCounts& counts() const { return counts_; }

 private:
  using Duration = std::chrono::milliseconds;
  struct Act {
    unsigned weight;
    void (SimScript::*run)();
  };
  static const std::array<Act, 17> kActs;

  std::uint64_t draw(std::uint64_t below) { return random_() % below; }
  bool chance(unsigned percent) { return draw(100) < percent; }
  // Evenly in the logarithm, so that seconds and days are as likely.
  Duration between(Duration shortest, Duration longest);
  template <typename T>
  const T& one_of(const std::vector<T>& all) {
    return all[draw(all.size())];
  }
  SimNode::Settings draw_settings();
  void say(std::string_view text) { trace_.add(clock_.now(), text); }
  void say_result(std::string_view what, const Result<void>& result);
  void later(Duration pause, std::function<void()> act);

  void step(Duration pause);
  void do_what_is_due();
  void act_at_random();
  void act_soon();
  void calm_down();

  void start_process();
  void end_process(bool crashed);
  void repair_store();
  void repair_custodian(const std::string& id, bool by_person);
  void shift_clock(Duration step);
  Result<void> act_on(const std::string& domain, std::string_view what,
                      std::vector<Result<void>> (engine::RekeyService::*act)(
                          std::span<const Domain>, const engine::Caller&));

  // Acts.
  void write_entries();
  void write_entry(const std::string& domain);
  void start_one();
  void start_whole();
  void start_without();
  void pause();
  void cancel();
  void retry();
  void reseal();
  void modify_schedule();
  void modify_limit();
  void break_custodian();
  void fail_custodian_once();
  void break_store();
  void fail_store_once();
  void crash();
  void restart();
  void jump_clock();

  std::mt19937_64 random_;
  const bool is_busy_;  // Many acts a day; most appliances see one.
  const int days_;
  SimTrace& trace_;
  SimClock clock_;
  SimModel model_;
  SimNode node_;
  std::multimap<MonotonicTime, std::function<void()>> agenda_;
  SimCounts counts_;
  std::uint64_t values_ = 0;
};

}  // namespace keyward::sim
