// keyward_crash_matrix: a whole rekey, with the Nth operation of every kind failing or being the
// last, and the recovery from each. The default run takes a sample, KEYWARD_NIGHTLY=1 takes all.
//
//   keyward_crash_matrix
//   KEYWARD_SEED=7 keyward_crash_matrix                        the same sample again
//   keyward_crash_matrix --scenario plain --fault power-cut    all points of these
//   keyward_crash_matrix --scenario plain --fault power-cut --model torn-512 --point 17 --seed 7
//
// Exits with 1, and says how to repeat it, when a promise is broken at any point.
#include <execinfo.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "tests/crash/allocation_fault.h"
#include "tests/crash/lab.h"

namespace keyward::crash {
namespace {

constexpr int kFailuresShown = 20;
constexpr const char kLine[] =
    "{:<16} {:<14} {:>7} {:>7} {:>7} {:>6} {:>12} {:>14} {:>8} {:>6} {:>6} {:>6}\n";

// How many points of each scenario the default run takes.
std::size_t sample_size(FaultKind kind) {
  switch (kind) {
    case FaultKind::power_cut:
    case FaultKind::io_error:
      return 90;
    case FaultKind::lost_sync:
    case FaultKind::custodian:
    case FaultKind::process_end:
      return 20;
    case FaultKind::operator_new:
    case FaultKind::sqlite_malloc:
      return 50;
  }
  return 0;
}

struct Wishes {
  std::optional<std::string> scenario;
  std::optional<std::string> fault;
  std::optional<std::string> model;
  std::optional<std::uint64_t> point;
  std::uint64_t seed = 0;
  bool exhaustive = false;
};

struct Row {
  std::string_view scenario;
  std::string fault;
  std::size_t points = 0;
  std::size_t of = 0;
  std::size_t models = 0;
  std::size_t runs = 0;
  std::size_t lost = 0;
  std::size_t doubled = 0;
  std::size_t orphans = 0;
  std::size_t other = 0;
  std::size_t drifted = 0;  // The Nth operation was another one than in the reference run.
  double seconds = 0;
};

// What a signal handler prints: a bug that stops the process must name its point too.
std::string current_point;

extern "C" void on_fatal_signal(int number) {
  static_cast<void>(::write(STDERR_FILENO, current_point.data(), current_point.size()));
  static_cast<void>(::write(STDERR_FILENO, "\n", 1));
  std::array<void*, 40> frames{};
  ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), static_cast<int>(frames.size())),
                         STDERR_FILENO);
  ::signal(number, SIG_DFL);
  ::raise(number);
}

std::string replay(const Row& row, std::string_view model, std::size_t point, std::uint64_t seed) {
  return fmt::format(
      "keyward_crash_matrix --scenario {} --fault {} --model {} --point {} --seed {}", row.scenario,
      row.fault, model, point, seed);
}

class Matrix final {
 public:
  explicit Matrix(Wishes wishes) : wishes_(std::move(wishes)) {}

  int run() {
    const auto begin = std::chrono::steady_clock::now();
    for (const Scenario& scenario : kScenarios)
      if (!wishes_.scenario || *wishes_.scenario == scenario.name) run_scenario(scenario);
    print_table();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    fmt::print("{:.0f} s, seed {}{}\n", took.count(), wishes_.seed,
               wishes_.exhaustive ? ", exhaustive" : "");
    if (rows_.empty()) fmt::print(stderr, "nothing fits the scenario and the fault asked for\n");
    return failures_ == 0 && !rows_.empty() ? 0 : 1;
  }

 private:
  void run_scenario(const Scenario& scenario) {
    const Reference reference = lab_.measure(scenario);
    if (lab_.measure(scenario).operations != reference.operations)
      fmt::print("{}: two runs without faults differ in their file operations\n", scenario.name);
    for (const Fault& fault : Lab::faults(reference))
      if (!wishes_.fault || *wishes_.fault == fault.name) run_fault(scenario, reference, fault);
  }

  void run_fault(const Scenario& scenario, const Reference& reference, const Fault& fault) {
    std::vector<std::string> models = fault.models;
    if (wishes_.model)
      std::erase_if(models, [&](const std::string& model) { return model != *wishes_.model; });
    if (models.empty() || fault.points == 0) return;
    const std::vector<std::size_t> points = choose_points(scenario, fault);
    Row row{.scenario = scenario.name,
            .fault = fault.name,
            .points = points.size(),
            .of = fault.points,
            .models = models.size()};
    const auto begin = std::chrono::steady_clock::now();
    for (const std::size_t point : points)
      run_point(scenario, reference, fault, models, point, row);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    rows_.push_back(std::move(row));
  }

  // One of each of as many stretches, so that no part of the rekey is left out.
  std::vector<std::size_t> choose_points(const Scenario& scenario, const Fault& fault) {
    if (wishes_.point) return {static_cast<std::size_t>(*wishes_.point)};
    const bool all = wishes_.exhaustive || wishes_.fault.has_value();
    const std::size_t count = all ? fault.points : std::min(sample_size(fault.kind), fault.points);
    std::seed_seq mixed(scenario.name.begin(), scenario.name.end());
    std::vector<std::uint32_t> salt(1);
    mixed.generate(salt.begin(), salt.end());
    std::mt19937_64 random(wishes_.seed ^ (std::uint64_t{salt[0]} << 8) ^
                           static_cast<std::uint64_t>(fault.kind));
    std::vector<std::size_t> points;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t from = i * fault.points / count;
      const std::size_t to = (i + 1) * fault.points / count;
      points.push_back(1 + from + random() % (to - from));
    }
    return points;
  }

  void run_point(const Scenario& scenario, const Reference& reference, const Fault& fault,
                 const std::vector<std::string>& models, std::size_t point, Row& row) {
    current_point = "at: " + replay(row, models.front(), point, wishes_.seed);
    std::vector<Outcome> outcomes;
    try {
      outcomes = lab_.run(scenario, reference, fault, models, point, wishes_.seed);
    } catch (const std::exception& error) {
      outcomes.push_back({.model = models.front(), .verdict = {}});
      outcomes.back().verdict.other.push_back(fmt::format("an exception: {}", error.what()));
    }
    for (const Outcome& outcome : outcomes) take(outcome, point, row);
  }

  void take(const Outcome& outcome, std::size_t point, Row& row) {
    ++row.runs;
    row.lost += outcome.verdict.lost.size();
    row.doubled += outcome.verdict.doubled.size();
    row.orphans += outcome.verdict.orphans.size();
    row.other += outcome.verdict.other.size();
    if (!outcome.reached || !outcome.as_measured) ++row.drifted;
    if (outcome.verdict.is_clean() || ++failures_ > kFailuresShown) return;
    fmt::print("\n{}\n", replay(row, outcome.model, point, wishes_.seed));
    for (const auto& [kind, defects] : {std::pair{"lost", &outcome.verdict.lost},
                                        std::pair{"double current", &outcome.verdict.doubled},
                                        std::pair{"orphan", &outcome.verdict.orphans},
                                        std::pair{"other", &outcome.verdict.other}})
      for (const std::string& defect : *defects) fmt::print("  {}: {}\n", kind, defect);
    std::fflush(stdout);
  }

  void print_table() const {
    fmt::print("\n");
    fmt::print(kLine, "scenario", "fault", "points", "of", "models", "runs", "entries lost",
               "double-current", "orphans", "other", "drift", "s");
    Row sum{.scenario = "total", .fault = ""};
    for (const Row& row : rows_) {
      print_row(row);
      sum.points += row.points;
      sum.of += row.of;
      sum.runs += row.runs;
      sum.lost += row.lost;
      sum.doubled += row.doubled;
      sum.orphans += row.orphans;
      sum.other += row.other;
      sum.drifted += row.drifted;
      sum.seconds += row.seconds;
    }
    print_row(sum);
  }

  static void print_row(const Row& row) {
    fmt::print(kLine, row.scenario, row.fault, row.points, row.of,
               row.models == 0 ? std::string() : std::to_string(row.models), row.runs, row.lost,
               row.doubled, row.orphans, row.other, row.drifted,
               fmt::format("{:.1f}", row.seconds));
  }

  const Wishes wishes_;
  Lab lab_;
  std::vector<Row> rows_;
  int failures_ = 0;
};

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Nothing when an argument makes no sense.
std::optional<Wishes> parse(const std::vector<std::string>& arguments) {
  Wishes wishes;
  const char* seed = std::getenv("KEYWARD_SEED");
  const char* nightly = std::getenv("KEYWARD_NIGHTLY");
  std::optional<std::uint64_t> chosen =
      seed == nullptr ? std::random_device{}() : parse_number(seed);
  wishes.exhaustive = nightly != nullptr && std::string_view(nightly) == "1";
  for (std::size_t i = 0; i + 1 < arguments.size(); i += 2) {
    const std::string& name = arguments[i];
    const std::string& value = arguments[i + 1];
    if (name == "--scenario")
      wishes.scenario = value;
    else if (name == "--fault")
      wishes.fault = value;
    else if (name == "--model")
      wishes.model = value;
    else if (name == "--point" && parse_number(value))
      wishes.point = parse_number(value);
    else if (name == "--seed")
      chosen = parse_number(value);
    else
      return std::nullopt;
  }
  if (arguments.size() % 2 != 0 || !chosen) return std::nullopt;
  wishes.seed = *chosen;
  return wishes;
}

int run(const std::vector<std::string>& arguments) {
  const std::optional<Wishes> wishes = parse(arguments);
  if (!wishes) {
    fmt::print(stderr,
               "usage: keyward_crash_matrix [--scenario S] [--fault F] [--model M] [--point N] "
               "[--seed N]\n");
    return 2;
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS}) ::signal(number, on_fatal_signal);
  AllocationFault::install();
  set_log_sink([](LogLevel, std::string_view) {});
  fmt::print("KEYWARD_SEED={}\n", wishes->seed);
  return Matrix(*wishes).run();
}

}  // namespace
}  // namespace keyward::crash

int main(int count, char** arguments) {
  return keyward::crash::run({arguments + 1, arguments + count});
}
