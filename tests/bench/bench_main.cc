// keyward-bench measures whole runs against their floor and against others, in one run on the same
// data, and says which targets are met.
//
//   keyward-bench                         1,000,000 entries of 256 bytes, five rounds
//   keyward-bench --quick                 100,000 entries, three rounds, under a minute
//   keyward-bench --scale --json F        also 100,000 to 5,000,000 entries; all figures into F
//   keyward-bench --smoke                 whether it works at all, ten seconds
//
//   --only rewrites|requests|scale   one part      --directory D   where the files are made
//   --entries N   --size B   --rounds R   --seconds T
//
// The directory must be on the disk that is meant; /tmp when not given.
#include <fmt/format.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/version.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "store/entry_cipher.h"
#include "tests/bench/node.h"
#include "tests/bench/runs.h"
#include "tests/bench/targets.h"

namespace keyward::bench {
namespace {

struct Options {
  RunOptions run;
  std::string json;
  std::string only;
  bool scale = false;
  std::vector<std::uint32_t> sizes{100'000, 1'000'000, 5'000'000};
  std::string command;
};

std::string first_line_with(const char* path, std::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with(name)) return line.substr(line.find(':') + 2);
  return "unknown";
}

double load_average() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

Json machine(const std::filesystem::path& directory) {
  utsname system{};
  ::uname(&system);
  struct statfs disk {};
  ::statfs(directory.c_str(), &disk);
  return {{"processor", first_line_with("/proc/cpuinfo", "model name")},
          {"cores", std::thread::hardware_concurrency()},
          {"kernel", fmt::format("{} {}", system.sysname, system.release)},
          {"memory", first_line_with("/proc/meminfo", "MemTotal")},
          // ext2, ext3 and ext4 have one number.
          {"disk", disk.f_type == 0xEF53 ? "ext4" : fmt::format("type {:#x}", disk.f_type)},
          {"time", to_iso8601(real_clock()->now())}};
}

Json versions() {
  return {{"keyward", std::string(api::kProductVersion)},
          {"engine", Node::engine_name("auto")},
          {"sqlite", sqlite3_libversion()},
          {"compiler", __VERSION__}};
}

// What was asked for, without where the answer goes.
std::string command_of(const std::vector<std::string>& words) {
  std::string command = std::filesystem::path(words.front()).filename();
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "--json" || words[i] == "--directory")
      ++i;
    else
      command += " " + words[i];
  }
  return command;
}

std::optional<Options> parse(const std::vector<std::string>& words) {
  Options options;
  options.command = command_of(words);
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--quick") {
      options.run.entries = 100'000;
      options.run.rounds = 3;
      options.run.seconds = 0.4;
      options.sizes = {10'000, 100'000, 500'000};
    } else if (word == "--smoke") {
      options.run.entries = 5'000;
      options.run.rounds = 1;
      options.run.seconds = 0.2;
      options.sizes = {1'000, 5'000};
      options.scale = true;
    } else if (word == "--scale") {
      options.scale = true;
    } else if (i + 1 == words.size()) {
      return std::nullopt;
    } else if (word == "--json") {
      options.json = words[++i];
    } else if (word == "--only") {
      options.only = words[++i];
      options.scale = options.only == "scale";
    } else if (word == "--directory") {
      options.run.directory = words[++i];
    } else if (word == "--entries") {
      options.run.entries = static_cast<std::uint32_t>(std::stoul(words[++i]));
    } else if (word == "--size") {
      options.run.size = std::stoul(words[++i]);
    } else if (word == "--rounds") {
      options.run.rounds = static_cast<unsigned>(std::stoul(words[++i]));
    } else if (word == "--seconds") {
      options.run.seconds = std::stod(words[++i]);
    } else {
      return std::nullopt;
    }
  }
  return options;
}

Json measure(const Options& options) {
  const auto wanted = [&](const char* part) {
    return options.only.empty() || options.only == part;
  };
  Json results{{"command", options.command},
               {"machine", machine(options.run.directory)},
               {"versions", versions()},
               {"rounds", options.run.rounds},
               {"load_before", load_average()}};
  if (wanted("rewrites")) {
    results["rewrites"] = run_rewrites(options.run);
    results["rewrites"]["blob_bytes"] = options.run.size + store::kBlobOverhead;
  }
  if (wanted("requests")) results["requests"] = run_requests(options.run);
  if (options.scale) {
    RunOptions scale = options.run;
    scale.rounds = std::min(scale.rounds, 3u);
    results["scale"] = run_scale(scale, options.sizes);
  }
  results["load_after"] = load_average();
  return results;
}

int run(Options options) {
  std::string made;
  if (options.run.directory.empty()) {
    made = (std::filesystem::temp_directory_path() / "keyward-bench-XXXXXX").string();
    need(::mkdtemp(made.data()) != nullptr, "mkdtemp");
    options.run.directory = made;
  }
  Json results = measure(options);
  if (!made.empty()) std::filesystem::remove_all(made);
  const std::vector<Target> targets = judge(results);
  for (const Target& target : targets) results["targets"].push_back(target.to_json());
  print_report(results, targets);
  if (options.json.empty()) return 0;
  std::ofstream file(options.json);
  file << results.dump(1) << '\n';
  need(file.flush().good(), "the JSON file cannot be written");
  return 0;
}

}  // namespace
}  // namespace keyward::bench

int main(int count, char** arguments) {
  using namespace keyward;
  const auto options = bench::parse({arguments, arguments + count});
  if (!options) {
    fmt::print(stderr,
               "usage: keyward-bench [--quick|--smoke] [--scale] [--json F] [--only "
               "rewrites|requests|scale] [--directory D] [--entries N] [--size B] [--rounds R] "
               "[--seconds T]\n");
    return 2;
  }
  set_log_level(LogLevel::error);
  return bench::run(*options);
}
