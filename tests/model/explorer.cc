#include "tests/model/explorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/model/promises.h"

namespace keyward::model {
namespace {

using store::RekeyPhase;

// Prepare, a batch for each entry, verify.
constexpr int kStepsToSwitch = kEntriesMax + 2;
// More than any rekey of three entries takes.
constexpr int kStepsMax = 40;

bool is_running(const World& world) {
  const auto& rekey = world.table().rekey;
  return !(rekey && rekey->paused) && !world.is_at_rest();
}

bool is_in(const World& world, RekeyPhase phase) {
  return world.table().rekey && world.table().rekey->phase == phase;
}

}  // namespace

Explorer::Explorer(const Scope& scope)
    : scope_(scope), first_(RekeyMachine::first_world(scope.entries)) {
  machine_ = std::make_unique<RekeyMachine>(first_, scope_.flaws);
}

Explorer::~Explorer() = default;

Explorer::Report Explorer::explore() {
  visit(first_, first_, [] { return std::string("a keystore"); });
  for (expanding_ = 0; expanding_ < nodes_.size() && report_.broken.empty(); ++expanding_)
    expand(expanding_);
  if (report_.broken.empty()) check_that_all_end();
  report_.states = nodes_.size();
  return report_;
}

void Explorer::expand(std::size_t at) {
  const World from = std::exchange(nodes_[at].world, {});
  nodes_[at].is_done = from.is_up && from.is_at_rest();
  if (!from.is_up) {
    start(from);
    return;
  }
  check_reads(from);
  requests(from);
  end_process(from, [] { return std::string("the process ends"); });
  if (!is_running(from)) return;
  step(from);
  stand_still(from);
}

// ---- Transitions ----

std::size_t Explorer::run(const World& from, const std::function<void()>& plan,
                          const std::function<void()>& act, const Naming& naming) {
  if (!report_.broken.empty()) return kNone;
  machine_->load(from);
  plan();
  act();
  World next = machine_->save();
  if (!machine_->gate().has_crashed()) return visit(from, std::move(next), naming);
  end_process(next, naming);
  return kNone;
}

// With the power on, what was written stays though it was not durable.
void Explorer::end_process(const World& from, const Naming& naming) {
  World next = from;
  next.is_up = false;
  next.held.clear();
  for (auto& hardware : next.hardware) hardware.doomed.reset();
  World powerless = next;
  visit(from, std::move(next), naming);
  powerless.disk.cut_power();
  visit(from, std::move(powerless), [&] { return naming() + ", and the power goes"; });
}

void Explorer::start(const World& from) {
  const Naming naming = [] { return std::string("the process starts"); };
  machine_->load(from);
  machine_->start();
  const World next = machine_->save();
  nodes_[expanding_].good = visit(from, next, naming);
  if (std::string broken = broken_by_start(next); !broken.empty())
    found(std::move(broken), expanding_, naming());
  for (const CustodianId& custodian : kCustodians) start_without(from, custodian);
}

// Each key in use opens by another custodian: else it would wait.
void Explorer::start_without(const World& from, const CustodianId& silent) {
  for (const store::KeyRow& row : from.table().keys) {
    const auto is_other = [&](const SealedKey& copy) { return copy.custodian != silent; };
    const bool is_live =
        row.state == store::KeyState::pending || row.state == store::KeyState::current;
    if (is_live && std::ranges::none_of(row.copies, is_other)) return;
  }
  run(
      from, [&] { machine_->gate().silence(silent); }, [&] { machine_->start(); },
      [&] { return "the process starts without " + silent.text; });
}

void Explorer::step(const World& from) {
  std::size_t calls = 0;
  const std::size_t next = run(
      from, [] {}, [&] { machine_->step(), calls = machine_->gate().calls(); },
      [] { return std::string("a step"); });
  nodes_[expanding_].good = next;
  step_with_faults(from, calls);
  step_with_others(from, calls);
}

void Explorer::step_with_faults(const World& from, std::size_t calls) {
  const auto faulty = [&](std::size_t call, StepGate::At what, std::string_view text) {
    run(
        from, [&] { machine_->gate().plan(call, what); }, [&] { machine_->step(); },
        [&] { return fmt::format("a step, call {} of {} {}", call, calls, text); });
  };
  for (std::size_t call = 1; call <= calls; ++call) {
    faulty(call, StepGate::At::fails_before, "fails");
    faulty(call, StepGate::At::fails_after, "has its effect and fails");
    faulty(call, StepGate::At::crashes, "is never made: the process ends");
  }
  for (const CustodianId& custodian : kCustodians) {
    run(
        from, [&] { machine_->gate().silence(custodian); }, [&] { machine_->step(); },
        [&] { return fmt::format("a step without an answer of {}", custodian.text); });
  }
}

void Explorer::step_with_others(const World& from, std::size_t calls) {
  const auto among = [&](const std::string& text, const std::function<bool()>& act,
                         const std::function<bool(const store::RekeyRow&)>& is_kept) {
    for (std::size_t call = 1; call <= calls; ++call) {
      bool is_granted = false;
      const auto work = [&] {
        machine_->step();
        const auto& rekey = machine_->table().rekey;
        if (is_granted && rekey && !is_kept(*rekey))
          machine_->report(fmt::format("{} was granted and undone", text));
      };
      run(
          from, [&] { machine_->gate().act_before(call, [&] { is_granted = act(); }); }, work,
          [&] { return fmt::format("a step, before its call {} of {} {}", call, calls, text); });
    }
  };
  if (!from.table().rekey) return;
  const store::RekeyRow& rekey = *from.table().rekey;
  const bool is_moving = !is_in(from, RekeyPhase::destroy);
  for (std::size_t i = 0; i < scope_.entries && is_moving; ++i) {
    if (from.store().entries.at(entry_name(i)).key == rekey.to) continue;
    among(
        fmt::format("a put of entry {}", i), [=, this] { return machine_->put_at_once(i); },
        [](const auto&) { return true; });
  }
  among(
      "a pause", [this] { return machine_->pause(); }, [](const auto& now) { return now.paused; });
  if (is_moving && !rekey.cancelled) {
    among(
        "a cancel", [this] { return machine_->cancel(); },
        [](const auto& now) { return now.cancelled; });
  }
  if (!is_in(from, RekeyPhase::prepare) || scope_.changes_custodians) return;
  const std::vector<CustodianId> other =
      rekey.without.empty() ? std::vector{kCustodians[1]} : std::vector<CustodianId>();
  among(
      "another choice of custodians", [&] { return machine_->leave_out(other); },
      [&](const auto& now) { return now.without == other; });
}

// A request that took its time between reading and writing.
void Explorer::stand_still(const World& from) {
  const auto steps = [this](int count) {
    for (int i = 0; i < count; ++i) machine_->step();
  };
  const auto slow_put = [&](std::string_view text, const std::function<void()>& work) {
    for (std::size_t i = 0; i < scope_.entries; ++i) {
      run(
          from, [&] { machine_->gate().act_before("keystore.write", work); },
          [&] { machine_->put(i); },
          [&] { return fmt::format("{} while a put of entry {} is slow", text, i); });
    }
  };
  slow_put("a step", [&] { steps(1); });
  slow_put("all steps to the switch", [&] { steps(kStepsToSwitch); });
  slow_put("a cancel, and all steps back,", [&] { machine_->cancel(), steps(kStepsToSwitch); });
  std::string error;
  run(
      from, [&] { machine_->gate().act_after("keystore.get", [&] { steps(kStepsMax); }); },
      [&] { error = machine_->get(0); },
      [] { return std::string("the whole rekey while an entry is read"); });
  if (!error.empty()) found("an entry is not read: " + error, expanding_, "a slow get");
}

void Explorer::requests(const World& from) {
  const auto ask = [&](std::string_view text, const std::function<void()>& act) {
    return run(
        from, [] {}, act, [&] { return std::string(text); });
  };
  for (std::size_t i = 0; i < scope_.entries; ++i) ask("a put", [this, i] { machine_->put(i); });
  if (scope_.changes_custodians) {
    ask("both custodians are wanted", [this] { machine_->want({kCustodians[0], kCustodians[1]}); });
    for (const CustodianId& only : kCustodians)
      ask("only " + only.text + " is wanted", [&] { machine_->want({only}); });
  }
  if (!from.table().rekey) {
    ask("a rekey begins", [this] { machine_->begin(); });
    return;
  }
  if (from.table().rekey->paused)
    nodes_[expanding_].good = ask("it is resumed", [this] { machine_->resume(); });
  else
    ask("it is paused", [this] { machine_->pause(); });
  ask("it is cancelled", [this] { machine_->cancel(); });
  if (scope_.changes_custodians) return;
  ask("one custodian is left out", [this] { machine_->leave_out({kCustodians[1]}); });
  ask("none is left out", [this] { machine_->leave_out({}); });
}

// ---- What must hold ----

std::size_t Explorer::visit(const World& from, World next, const Naming& naming) {
  ++report_.transitions;
  std::string broken = broken_promise(next);
  if (broken.empty()) broken = broken_by_change(from, next);
  if (!broken.empty()) {
    found(std::move(broken), expanding_, naming());
    return kNone;
  }
  const auto [place, is_new] = known_.try_emplace(name_of(next), nodes_.size());
  if (is_new) {
    const std::size_t parent = nodes_.empty() ? kNone : expanding_;
    nodes_.push_back({std::move(next), parent, naming()});
  }
  return place->second;
}

void Explorer::check_reads(const World& from) {
  machine_->load(from);
  for (std::size_t i = 0; i < scope_.entries; ++i) {
    const std::string error = machine_->get(i);
    if (!error.empty()) found("an entry is not read: " + error, expanding_, "a get");
  }
}

void Explorer::found(std::string broken, std::size_t parent, std::string label) {
  if (!report_.broken.empty()) return;
  report_.broken = std::move(broken);
  std::vector<std::string> lines{std::move(label)};
  for (; parent != kNone && parent < nodes_.size(); parent = nodes_[parent].parent)
    lines.push_back(nodes_[parent].label);
  std::ranges::reverse(lines);
  report_.path = fmt::format("{}", fmt::join(lines, "\n"));
}

// Each state's way without faults leads to one in which nothing is left to do.
void Explorer::check_that_all_end() {
  enum class Mark : std::uint8_t { unseen, on_way, ends };
  std::vector<Mark> marks(nodes_.size(), Mark::unseen);
  for (std::size_t first = 0; first < nodes_.size(); ++first) {
    std::vector<std::size_t> way;
    std::size_t at = first;
    while (at != kNone && marks[at] == Mark::unseen && !nodes_[at].is_done) {
      marks[at] = Mark::on_way;
      way.push_back(at);
      at = nodes_[at].good;
    }
    if (at == kNone || marks[at] == Mark::on_way) {
      found("a rekey that never ends", first, "whatever comes");
      return;
    }
    marks[at] = Mark::ends;
    for (const std::size_t passed : way) marks[passed] = Mark::ends;
  }
}

}  // namespace keyward::model
