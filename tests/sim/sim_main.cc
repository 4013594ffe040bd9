// The product's engine over virtual days, with faults drawn from a seed.
//
//   keyward-sim                              # the default run: 100 seeds of 100 days each
//   keyward-sim --seed 17 --days 100 --trace # one of them again, with all that happens
//
// Exits with 1 at the first promise that is broken, and says how to see it again.
#include <fmt/format.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "base/log.h"
#include "tests/sim/sim_script.h"

namespace keyward::sim {
namespace {

struct Options {
  std::uint64_t seed = 1;
  std::uint64_t seeds = 100;
  int days = 100;
  bool trace = false;
};

// One thread runs at a time: on one processor, handing over costs least.
void stay_on_one_processor() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
  static_cast<void>(::sched_setaffinity(0, sizeof one, &one));
}

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

void report_failure(std::uint64_t seed, const Options& options, const SimTrace& trace,
                    const std::vector<std::string>& broken) {
  if (!options.trace)
    for (const std::string& line : trace.last()) fmt::print("  {}\n", line);
  for (const std::string& text : broken) fmt::print("BROKEN: {}\n", text);
  fmt::print("again, with all that happens: keyward-sim --seed {} --days {} --trace\n", seed,
             options.days);
}

// A thread that never comes to rest is a broken promise too, and has its seed printed.
// And one more for each virtual day: a hundred times what they take.
constexpr unsigned kSecondsMax = 60;
std::array<char, 200> hang_report{};

void report_hang(int) {
  static_cast<void>(!::write(STDOUT_FILENO, hang_report.data(), std::strlen(hang_report.data())));
  ::_exit(1);
}

void watch_for_hang(std::uint64_t seed, int days) {
  const auto end = fmt::format_to_n(
      hang_report.data(), hang_report.size() - 1,
      "BROKEN: a thread does not come to rest: keyward-sim --seed {} --days {} --trace\n", seed,
      days);
  *end.out = '\0';
  ::signal(SIGALRM, report_hang);
  ::alarm(kSecondsMax + static_cast<unsigned>(days));
}

// The same seed twice must give the same trace, or a failing seed would not help anybody.
bool repeats(std::uint64_t seed, int days, std::uint64_t digest) {
  SimTrace trace(false);
  SimScript script(seed, days, trace);
  script.run();
  if (trace.digest() == digest) return true;
  fmt::print("seed {} does not repeat\n", seed);
  return false;
}

int run(const Options& options) {
  const std::uint64_t first = options.seed;
  fmt::print("seeds {} to {}\n", first, first + options.seeds - 1);
  SimCounts all;
  for (std::uint64_t seed = first; seed < first + options.seeds; ++seed) {
    watch_for_hang(seed, options.days);
    SimTrace trace(options.trace);
    SimScript script(seed, options.days, trace);
    if (!script.run()) {
      report_failure(seed, options, trace, script.broken());
      return 1;
    }
    all.steps += script.counts().steps;
    all.faults += script.counts().faults;
    all.crashes += script.counts().crashes;
    all.rekeys += script.counts().rekeys;
    if (options.trace) fmt::print("{} lines, digest {:016x}\n", trace.lines(), trace.digest());
    if (seed == first && !options.trace && !repeats(seed, options.days, trace.digest())) return 1;
  }
  fmt::print(
      "{} seeds from {}, {} virtual days: {} steps, {} rekeys, {} faults, {} restarts; "
      "0 promises broken; {:.1f} s of CPU\n",
      options.seeds, first, options.seeds * static_cast<std::uint64_t>(options.days), all.steps,
      all.rekeys, all.faults, all.crashes, cpu_seconds());
  return 0;
}

// The default run is the same each time; a nightly one looks further, at other seeds.
bool is_nightly() {
  const char* nightly = ::getenv("KEYWARD_NIGHTLY");
  return nightly != nullptr && std::string_view(nightly) == "1";
}

std::uint64_t default_seed() {
  if (const char* given = ::getenv("KEYWARD_SEED")) return std::strtoull(given, nullptr, 10);
  if (!is_nightly()) return 1;
  return static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) %
         1'000'000'000;
}

}  // namespace
}  // namespace keyward::sim

int main(int argc, char** argv) {
  keyward::sim::Options options;
  std::uint64_t seed = 0;
  CLI::App app("Keyward's engine in virtual time, with faults drawn from a seed");
  auto* given = app.add_option("--seed", seed, "This one alone, unless --seeds says more");
  auto* count = app.add_option("--seeds", options.seeds, "How many, from --seed on");
  app.add_option("--days", options.days, "Virtual days of each")->check(CLI::Range(1, 10'000));
  app.add_flag("--trace", options.trace, "Print all that happens");
  CLI11_PARSE(app, argc, argv);
  if (keyward::sim::is_nightly() && count->count() == 0) options.seeds *= 10;
  if (given->count() > 0 && count->count() == 0) options.seeds = 1;
  options.seed = given->count() > 0 ? seed : keyward::sim::default_seed();
  keyward::set_log_sink([](keyward::LogLevel, std::string_view) {});
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // Of a run that hangs, all is seen.
  keyward::sim::stay_on_one_processor();
  return keyward::sim::run(options);
}
