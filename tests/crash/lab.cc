#include "tests/crash/lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>

#include "base/check.h"
#include "store/sqlite/power_cut.h"
#include "store/sqlite/vfs_fault.h"
#include "tests/crash/allocation_fault.h"
#include "tests/crash/child.h"

namespace keyward::crash {
namespace {

namespace fs = std::filesystem;
using engine::EngineRig;
using store::LossModel;
using store::PowerCut;
using store::VfsAnswer;
using store::VfsCall;
using store::VfsOperation;

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();
const std::vector<std::string> kCustodians = {"fake:a", "fake:b", "fake:c"};

FaultPlan never() { return {kNever, FaultMoment::before_effect, {ErrorCode::io, "never"}}; }

std::string text_of(const VfsCall& call) {
  constexpr std::array kNames = {"open", "read", "write", "sync", "truncate", "remove"};
  const std::string_view name = kNames[static_cast<std::size_t>(call.operation)];
  return fmt::format("{} {}", name, call.path.substr(call.path.find_last_of('/') + 1));
}

// Writes down the changes of files, and asks another hook what becomes of each.
class OperationLog final : public store::VfsHook {
 public:
  explicit OperationLog(store::VfsHook* next = nullptr) : next_(next) {}

  VfsAnswer before(const VfsCall& call) override {
    if (call.operation != VfsOperation::read) {
      const std::lock_guard lock(mutex_);
      operations_.push_back(text_of(call));
    }
    return next_ == nullptr ? VfsAnswer::proceed : next_->before(call);
  }
  std::vector<std::string> operations() const {
    const std::lock_guard lock(mutex_);
    return operations_;
  }

 private:
  store::VfsHook* next_;
  mutable std::mutex mutex_;
  std::vector<std::string> operations_;
};

// The Nth sync fails, and the disk never gets what it should have written.
class LostSync final : public store::VfsHook {
 public:
  LostSync(PowerCut& disk, std::size_t fail_at) : disk_(disk), fail_at_(fail_at) {}

  VfsAnswer before(const VfsCall& call) override {
    if (call.operation == VfsOperation::sync && ++syncs_ == fail_at_) {
      disk_.lose_unsynced(call.path);
      return VfsAnswer::fail;
    }
    return disk_.before(call);
  }
  bool has_fired() const { return syncs_ >= fail_at_; }

 private:
  PowerCut& disk_;
  std::size_t fail_at_;
  std::atomic<std::size_t> syncs_{0};
};

// Once the plan has ended the process, nothing is written any more.
class GoneWith final : public store::VfsHook {
 public:
  explicit GoneWith(const FaultPlan& plan) : plan_(plan) {}
  VfsAnswer before(const VfsCall& call) override {
    const bool changes = call.operation != VfsOperation::read;
    return changes && plan_.has_fired() ? VfsAnswer::fail : VfsAnswer::proceed;
  }

 private:
  const FaultPlan& plan_;
};

// From the Nth change on there is no room; what needs none goes on.
class DiskFull final : public store::VfsHook {
 public:
  explicit DiskFull(std::size_t from) : from_(from) {}
  VfsAnswer before(const VfsCall& call) override {
    if (call.operation == VfsOperation::read) return VfsAnswer::proceed;
    const bool full = ++count_ >= from_ && call.operation == VfsOperation::write;
    return full ? VfsAnswer::disk_full : VfsAnswer::proceed;
  }
  bool has_fired() const { return count_ >= from_; }

 private:
  std::size_t from_;
  std::atomic<std::size_t> count_{0};
};

struct LossChoice {
  std::string_view model;
  LossModel loss;
  std::size_t sector_bytes;
};
constexpr std::array kLosses = {LossChoice{"kept", LossModel::all_kept, 512},
                                LossChoice{"lost", LossModel::unsynced_lost, 512},
                                LossChoice{"torn-512", LossModel::unsynced_torn, 512},
                                LossChoice{"torn-4096", LossModel::unsynced_torn, 4096}};

struct ErrorChoice {
  std::string_view model;
  VfsAnswer answer;
  store::VfsFault::Lasts lasts = store::VfsFault::Lasts::once;
};
constexpr std::array kErrors = {
    ErrorChoice{"eio", VfsAnswer::fail}, ErrorChoice{"eio-after", VfsAnswer::fail_after},
    ErrorChoice{"short-write", VfsAnswer::tear}, ErrorChoice{"enospc", VfsAnswer::disk_full},
    ErrorChoice{"disk-gone", VfsAnswer::fail, store::VfsFault::Lasts::from_then_on}};
constexpr std::string_view kDiskFull = "disk-full";

template <typename Choices>
std::vector<std::string> models_of(const Choices& choices) {
  std::vector<std::string> models;
  for (const auto& choice : choices) models.emplace_back(choice.model);
  return models;
}

template <typename Choices>
const auto& choice_of(const Choices& choices, std::string_view model) {
  for (const auto& choice : choices)
    if (choice.model == model) return choice;
  CHECK(false, "no such model");
  std::terminate();
}

std::vector<std::string> error_models() {
  std::vector<std::string> models = models_of(kErrors);
  models.emplace_back(kDiskFull);
  return models;
}

FaultMoment moment_of(std::string_view model, bool ends_the_process) {
  if (model == "before")
    return ends_the_process ? FaultMoment::crash_before : FaultMoment::before_effect;
  return ends_the_process ? FaultMoment::crash_after : FaultMoment::after_effect;
}

}  // namespace

struct Lab::Point {
  const Scenario& scenario;
  const Reference& reference;
  const Fault& fault;
  std::size_t n;
  std::uint64_t seed;
  std::vector<Outcome> outcomes{};

  Outcome& add(const std::string& model) { return outcomes.emplace_back(Outcome{.model = model}); }
  bool is_as_measured(const OperationLog& log) const {
    const std::vector<std::string> made = log.operations();
    return n <= made.size() && n <= reference.operations.size() &&
           made[n - 1] == reference.operations[n - 1];
  }
};

Lab::Lab() : rig_({"fake:a", "fake:b"}), root_(rig_.state().parent_path()) {
  rig_.set_read_audit(engine::ReadAudit::off);
  rig_.freeze_store_clock();
  rig_.configure(kCustodians);
  rig_.restart();
  fill(rig_);
  const std::shared_ptr<store::Keystore> keystore = rig_.keystore();
  CHECK(keystore->reencryption().purge().has_value(), "the base does not purge");
  base_.key = rig_.table().context(rig_.table().current().id);
  const std::vector<store::EntryInfo> entries = keystore->list({}, 1000).value();
  for (const store::EntryInfo& info : entries)
    base_.old_blobs.push_back(keystore->get(info.name).value().blob);
  rig_.stop();
  base_.state = root_ / "base";
  base_.memory = rig_.memory();
  fs::copy(rig_.state(), base_.state, fs::copy_options::recursive);
}

fs::path Lab::fresh(const std::string& name) {
  const fs::path path = root_ / name;
  fs::remove_all(path);
  fs::create_directory(path);
  return path;
}

void Lab::begin_anew() {
  const fs::path run = fresh("run");
  fs::copy(base_.state, run, fs::copy_options::recursive);
  rig_.use_state(run);
  rig_.recall(base_.memory);
}

Reference Lab::measure(const Scenario& scenario) {
  Reference reference;
  OperationLog log;
  std::map<std::string, FaultPlan> plans;
  EngineRig::Faults faults{.hook = &log};
  for (const std::string& id : kCustodians)
    faults.of_custodian[id] =
        &plans.try_emplace(id, kNever, FaultMoment::before_effect, Error{ErrorCode::io, "never"})
             .first->second;
  begin_anew();
  CHECK(rig_.try_start(faults).has_value(), "the base does not open");
  CHECK(Script(rig_, scenario).play([] { return false; }),
        "a scenario without faults does not end");
  rig_.stop();
  reference.operations = log.operations();
  for (const auto& [id, plan] : plans) reference.calls[id] = plan.calls();
  for (const auto of : {AllocationFault::Of::operator_new, AllocationFault::Of::sqlite_malloc}) {
    begin_anew();
    FaultPlan plan = never();
    AllocationFault fault(of, 0);
    plan.observe(fault);
    CHECK(rig_.try_start({.plan = &plan}).has_value(), "the base does not open");
    Script(rig_, scenario).play([] { return false; });
    (of == AllocationFault::Of::operator_new ? reference.news : reference.mallocs) = fault.calls();
    rig_.stop();
  }
  return reference;
}

std::vector<Fault> Lab::faults(const Reference& reference) {
  const std::vector<std::string> moments = {"before", "after"};
  const auto syncs = static_cast<std::size_t>(std::ranges::count_if(
      reference.operations, [](const std::string& text) { return text.starts_with("sync"); }));
  std::vector<Fault> faults{
      {FaultKind::power_cut, "power-cut", models_of(kLosses), reference.operations.size()},
      {FaultKind::io_error, "io-error", error_models(), reference.operations.size()},
      {FaultKind::lost_sync, "lost-sync", {"reboot", "restart"}, syncs}};
  std::size_t calls = 0;
  for (const auto& [id, count] : reference.calls) {
    calls += count;
    if (count != 0) faults.push_back({FaultKind::custodian, id, moments, count, id});
  }
  faults.push_back({FaultKind::process_end, "process-end", moments, calls});
#ifndef KEYWARD_SANITIZED
  faults.push_back({FaultKind::operator_new, "operator-new", {"throws"}, reference.news});
  faults.push_back({FaultKind::sqlite_malloc, "sqlite-malloc", {"fails"}, reference.mallocs});
#endif
  return faults;
}

std::vector<Outcome> Lab::run(const Scenario& scenario, const Reference& reference,
                              const Fault& fault, std::span<const std::string> models,
                              std::size_t n, std::uint64_t seed) {
  Point point{scenario, reference, fault, n, seed};
  if (fault.kind == FaultKind::power_cut) cut_power(point, models);
  for (const std::string& model : models) {
    switch (fault.kind) {
      case FaultKind::power_cut:
        break;
      case FaultKind::io_error:
        fail_io(point, model);
        break;
      case FaultKind::lost_sync:
        lose_sync(point, model);
        break;
      case FaultKind::custodian:
        fail_custodian(point, model);
        break;
      case FaultKind::process_end:
        end_process(point, model);
        break;
      case FaultKind::operator_new:
      case FaultKind::sqlite_malloc:
        fail_allocation(point, model);
        break;
    }
  }
  return std::move(point.outcomes);
}

// One run, and from where it was cut one recovery for each thing that the disk may then hold.
void Lab::cut_power(Point& point, std::span<const std::string> models) {
  begin_anew();
  PowerCut power(rig_.state().string(), point.n);
  OperationLog log(&power);
  Script script(rig_, point.scenario);
  if (rig_.try_start({.hook = &log})) {
    script.play([&] { return power.has_cut(); });
    rig_.stop();
  }
  const EngineRig::Memory memory = rig_.memory();
  for (const std::string& model : models) {
    const LossChoice& choice = choice_of(kLosses, model);
    Outcome& outcome = point.add(model);
    outcome.reached = power.has_cut();
    outcome.as_measured = point.is_as_measured(log);
    const fs::path after = fresh("after");
    CHECK(power
              .materialise(choice.loss, point.seed * 1'000'003 + point.n, after.string(),
                           choice.sector_bytes)
              .has_value(),
          "the files after the cut cannot be written");
    rig_.use_state(after);
    rig_.recall(memory);
    check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
  }
}

void Lab::play_and_recover(Point& point, const EngineRig::Faults& faults, Outcome& outcome) {
  Script script(rig_, point.scenario);
  if (rig_.try_start(faults)) {
    script.play([] { return false; });
    if (outcome.model != "disk-gone" && rig_.keyring().keystore(rig_.domain()))
      check_live(rig_, outcome.verdict);
    rig_.stop();
  }
  check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
}

void Lab::fail_io(Point& point, const std::string& model) {
  Outcome& outcome = point.add(model);
  const auto run = [&](auto& fault) {
    begin_anew();
    OperationLog log(&fault);
    play_and_recover(point, {.hook = &log}, outcome);
    outcome.reached = fault.has_fired();
    outcome.as_measured = point.is_as_measured(log);
  };
  if (model == kDiskFull) {
    DiskFull fault(point.n);
    return run(fault);
  }
  const ErrorChoice& choice = choice_of(kErrors, model);
  store::VfsFault fault(point.n, choice.answer, choice.lasts);
  run(fault);
}

// "restart": the process is started anew and reads what the kernel still has; when all is done the
// power goes. "reboot": the power goes at once.
void Lab::lose_sync(Point& point, const std::string& model) {
  begin_anew();
  PowerCut disk(rig_.state().string(), 0);
  LostSync fault(disk, point.n);
  Outcome& outcome = point.add(model);
  Script script(rig_, point.scenario);
  if (rig_.try_start({.hook = &fault})) {
    script.play([] { return false; });
    if (rig_.keyring().keystore(rig_.domain())) check_live(rig_, outcome.verdict);
    rig_.stop();
  }
  if (model == "restart") check_recovery(rig_, base_, script.told(), &fault, outcome.verdict);
  const fs::path after = fresh("after");
  CHECK(disk.materialise(LossModel::unsynced_lost, point.seed, after.string()).has_value(),
        "the files after the reboot cannot be written");
  rig_.use_state(after);
  check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
  outcome.reached = fault.has_fired();
}

void Lab::fail_custodian(Point& point, const std::string& model) {
  begin_anew();
  FaultPlan plan(point.n, moment_of(model, false), {ErrorCode::io, "planned"});
  Outcome& outcome = point.add(model);
  play_and_recover(point, {.of_custodian = {{point.fault.custodian, &plan}}}, outcome);
  outcome.reached = plan.has_fired();
}

void Lab::end_process(Point& point, const std::string& model) {
  begin_anew();
  FaultPlan plan(point.n, moment_of(model, true), {ErrorCode::io, "planned"});
  GoneWith gone(plan);
  Outcome& outcome = point.add(model);
  EngineRig::Faults faults{.hook = &gone};
  for (const std::string& id : kCustodians) faults.of_custodian[id] = &plan;
  Script script(rig_, point.scenario);
  if (rig_.try_start(faults)) {
    script.play([&] { return plan.has_fired(); });
    rig_.stop();
  }
  outcome.reached = plan.has_fired();
  check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
}

// ---- Allocations ----

// In a process of its own: where nobody catches the exception, that process ends.
void Lab::fail_allocation(Point& point, const std::string& model) {
  begin_anew();
  Outcome& outcome = point.add(model);
  run_in_child([&](Outcome& own) { fail_allocation_in_child(point, own); }, outcome);
}

void Lab::fail_allocation_in_child(Point& point, Outcome& outcome) {
  FaultPlan plan = never();
  const bool in_sqlite = point.fault.kind == FaultKind::sqlite_malloc;
  AllocationFault fault(
      in_sqlite ? AllocationFault::Of::sqlite_malloc : AllocationFault::Of::operator_new, point.n);
  plan.observe(fault);
  Script script(rig_, point.scenario);
  const auto after_the_end = [&] {
    outcome.reached = fault.calls() >= point.n;
    AllocationFault::disarm();
    AllocationFault::stop_the_others();
    // The files as the kernel has them; the process that wrote them is left as it stands.
    const fs::path after = fresh("after");
    fs::copy(rig_.state(), after, fs::copy_options::recursive);
    rig_.abandon();
    rig_.use_state(after);
    check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
  };
  const ExitInstead instead(after_the_end);
  try {
    if (rig_.try_start({.plan = &plan})) {
      script.play([] {
        AllocationFault::stop_here_if_told();
        return false;
      });
      outcome.reached = fault.calls() >= point.n;
      AllocationFault::disarm();
      if (rig_.keyring().keystore(rig_.domain())) check_live(rig_, outcome.verdict);
      rig_.stop();
    }
  } catch (const std::bad_alloc&) {
    return after_the_end();
  }
  check_recovery(rig_, base_, script.told(), nullptr, outcome.verdict);
}

}  // namespace keyward::crash
