#include "tests/sim/sim_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/text.h"
#include "engine/schedule_keeper.h"

namespace keyward::sim {
namespace {

using namespace std::chrono_literals;

UtcTime first_day() { return from_iso8601("2026-01-05T02:00:00Z").value(); }

}  // namespace

const std::array<SimScript::Act, 17> SimScript::kActs{{{30, &SimScript::write_entries},
                                                       {8, &SimScript::start_one},
                                                       {4, &SimScript::start_whole},
                                                       {3, &SimScript::start_without},
                                                       {6, &SimScript::pause},
                                                       {5, &SimScript::cancel},
                                                       {4, &SimScript::retry},
                                                       {5, &SimScript::reseal},
                                                       {2, &SimScript::modify_schedule},
                                                       {3, &SimScript::modify_limit},
                                                       {5, &SimScript::break_custodian},
                                                       {6, &SimScript::fail_custodian_once},
                                                       {2, &SimScript::break_store},
                                                       {5, &SimScript::fail_store_once},
                                                       {4, &SimScript::crash},
                                                       {2, &SimScript::restart},
                                                       {3, &SimScript::jump_clock}}};

SimScript::SimScript(std::uint64_t seed, int days, SimTrace& trace)
    : random_(seed),
      is_busy_(chance(4)),
      days_(days),
      trace_(trace),
      clock_(first_day(), random_()),
      model_(clock_, trace, random_()),
      node_(draw_settings(), clock_,
            {.event = [this](const engine::Event& event) { model_.heard(event); },
             .recovered = [this] { model_.recovered(); }}) {
  model_.watch(node_);
  clock_.set_interrupt([this] { return node_.has_crashed(); });
}

SimNode::Settings SimScript::draw_settings() {
  SimNode::Settings settings;
  settings.domains = {"KEYWARD", "S3"};
  if (chance(60)) settings.domains.push_back("SED");
  if (chance(50)) settings.domains.push_back("SIQ");
  settings.custodians = {"fake:a", "fake:b"};
  if (chance(40)) settings.custodians.push_back("fake:c");
  if (chance(20)) settings.custodians.pop_back();
  settings.workers = chance(50) ? 2 : 1;
  settings.limits.batch_entries = 1 + draw(8);
  settings.limits.look_every =
      is_busy_ ? one_of(std::vector<Duration>{30min, 2h}) : between(4h, 12h);
  return settings;
}

SimScript::Duration SimScript::between(Duration shortest, Duration longest) {
  constexpr std::uint64_t kGrain = 1'000'000;
  const double part = static_cast<double>(draw(kGrain)) / kGrain;
  const double ratio = static_cast<double>(longest.count()) / static_cast<double>(shortest.count());
  return Duration{std::llround(static_cast<double>(shortest.count()) * std::pow(ratio, part))};
}

void SimScript::say_result(std::string_view what, const Result<void>& result) {
  say(result ? fmt::format("{}: done", what)
             : fmt::format("{}: {} {}", what, error_code_name(result.error().code),
                           result.error().message));
}

void SimScript::later(Duration pause, std::function<void()> act) {
  agenda_.emplace(clock_.monotonic() + pause, std::move(act));
}

// ---- The course of time ----

bool SimScript::run() {
  start_process();
  modify_schedule();
  const MonotonicTime end = clock_.monotonic() + std::chrono::days{days_};
  MonotonicTime calm = clock_.monotonic() + between(48h, 240h);
  while (clock_.monotonic() < end && broken().empty()) {
    step(is_busy_ ? between(2min, 24h) : between(1h, 120h));
    if (clock_.monotonic() >= calm) {
      calm_down();
      calm = clock_.monotonic() + between(48h, 600h);
    }
    if (node_.is_up()) act_at_random();
  }
  if (broken().empty()) calm_down();
  counts_.rekeys = model_.rekeys();
  return broken().empty();
}

// To the end of the pause, and on the way what was put off until then.
void SimScript::step(Duration pause) {
  const MonotonicTime end = clock_.monotonic() + pause;
  do {
    MonotonicTime next = end;
    if (!agenda_.empty()) next = std::clamp(agenda_.begin()->first, clock_.monotonic(), end);
    clock_.advance(next - clock_.monotonic());
    if (node_.has_crashed()) end_process(true);
    do_what_is_due();
    model_.check(chance(5));
    ++counts_.steps;
  } while (clock_.monotonic() < end && broken().empty());
}

void SimScript::do_what_is_due() {
  while (!agenda_.empty() && agenda_.begin()->first <= clock_.monotonic()) {
    const auto act = std::move(agenda_.begin()->second);
    agenda_.erase(agenda_.begin());
    act();
    clock_.settle();
    if (node_.has_crashed()) end_process(true);
  }
}

void SimScript::act_at_random() {
  unsigned all = 0;
  for (const Act& act : kActs) all += act.weight;
  std::uint64_t drawn = draw(all);
  for (const Act& act : kActs) {
    if (drawn < act.weight) return (this->*act.run)();
    drawn -= act.weight;
  }
}

// While what was just begun is under way.
void SimScript::act_soon() {
  for (std::uint64_t i = draw(4); i > 0; --i)
    later(between(50ms, 30s), [this] {
      if (node_.is_up()) act_at_random();
    });
}

// Everything is repaired and nobody does anything, until all must be well.
void SimScript::calm_down() {
  say("all is repaired");
  while (!agenda_.empty() && broken().empty()) {
    const auto act = std::move(agenda_.begin()->second);
    agenda_.erase(agenda_.begin());
    act();
    clock_.settle();
    if (node_.has_crashed()) end_process(true);
  }
  if (broken().empty()) step(node_.settings().limits.look_every + 45min);
  if (broken().empty()) model_.check(true);
  for (int i = 0; i < 3 && broken().empty(); ++i) step(between(1h, 24h));
}

// ---- Faults and repairs ----

void SimScript::start_process() {
  say("the process starts");
  model_.process_started();
  node_.start();
  clock_.settle();
}

void SimScript::end_process(bool crashed) {
  say(crashed ? "the process has crashed" : "the process is stopped");
  ++counts_.crashes;
  node_.stop();
  model_.process_ended();
  later(chance(70) ? 0ms : between(1min, 240h), [this] {
    if (!node_.is_up()) start_process();
  });
}

void SimScript::crash() {
  const FaultMoment moment = chance(50) ? FaultMoment::crash_before : FaultMoment::crash_after;
  node_.crash_plan().arm(1 + draw(chance(50) ? 20 : 300), moment);
  model_.disturb();
  if (chance(50)) chance(50) ? start_one() : start_whole();
  later(between(1s, 6h), [this] {
    if (node_.is_up()) end_process(true);
  });
}

void SimScript::restart() { end_process(false); }

void SimScript::break_custodian() {
  const std::string id = one_of(node_.settings().custodians);
  SimHardware& hardware = node_.hardware().at(id);
  if (hardware.is_down) return;
  const bool refuses = chance(15);
  say(fmt::format("{} {}", id, refuses ? "refuses its credential" : "is pulled out"));
  ++counts_.faults;
  hardware.is_down = true;
  hardware.needs_person = refuses;
  hardware.hardware->set_down(refuses ? Error{ErrorCode::auth_failed, "the PIN is wrong"}
                                      : Error{ErrorCode::unavailable, "pulled out"});
  model_.disturb();
  later(between(1min, 12h), [this, id, refuses] { repair_custodian(id, refuses || chance(30)); });
  if (chance(50)) act_soon();
}

void SimScript::repair_custodian(const std::string& id, bool by_person) {
  SimHardware& hardware = node_.hardware().at(id);
  say(fmt::format("{} is repaired", id));
  hardware.is_down = false;
  hardware.hardware->set_up();
  model_.disturb();
  if (!by_person || !node_.is_up()) {
    // A process that starts asks it again by itself.
    hardware.needs_person = hardware.needs_person && node_.is_up();
    return;
  }
  model_.all_stimulated();
  say_result("test " + id, node_.custodians().test({id}));
  hardware.needs_person = false;
}

void SimScript::fail_custodian_once() {
  const std::string id = one_of(node_.settings().custodians);
  SimHardware& hardware = node_.hardware().at(id);
  if (hardware.plan.is_armed()) return;
  ++counts_.faults;
  hardware.plan.arm(1 + draw(8),
                    chance(50) ? FaultMoment::before_effect : FaultMoment::after_effect);
  say(fmt::format("{} will fail once", id));
  model_.disturb();
  if (chance(70)) start_one();
  later(between(1min, 6h), [this, id] {
    node_.hardware().at(id).plan.disarm();
    model_.disturb();  // It may have failed just now.
  });
}

void SimScript::break_store() {
  if (node_.store_plan().is_armed()) return;
  say("the disk fails");
  ++counts_.faults;
  node_.store_plan().arm(1 + draw(20), FaultMoment::crash_before);
  model_.store_failed();
  later(between(1s, 6h), [this] { repair_store(); });
  act_soon();
}

void SimScript::fail_store_once() {
  if (node_.store_plan().is_armed()) return;
  say("the disk will fail once");
  ++counts_.faults;
  node_.store_plan().arm(1 + draw(40),
                         chance(50) ? FaultMoment::before_effect : FaultMoment::after_effect);
  model_.store_failed();
  if (chance(70)) start_one();
  later(between(1s, 1h), [this] { repair_store(); });
}

void SimScript::repair_store() {
  say("the disk is well");
  node_.store_plan().disarm();
  model_.store_failed();
}

void SimScript::jump_clock() {
  const std::uint64_t kind = draw(10);
  Duration jump = between(1min, 12h);
  if (kind >= 5) jump = between(25h, 480h);
  if (kind == 9) jump = std::chrono::duration_cast<Duration>(std::chrono::years{60});
  if (chance(50)) jump = -jump;
  shift_clock(jump);
  if (kind >= 5 || chance(70)) later(between(5min, 48h), [this, jump] { shift_clock(-jump); });
}

void SimScript::shift_clock(Duration jump) {
  model_.clock_will_shift();
  clock_.shift_utc(jump);
  say(fmt::format("the clock was shifted by {} s",
                  std::chrono::duration_cast<std::chrono::seconds>(jump).count()));
  ++counts_.faults;
  model_.clock_shifted(jump);
}

}  // namespace keyward::sim
