// What a piece of work costs: time, CPU, bytes written, memory.
//
//   Meter meter;
//   rewrite();
//   Usage usage = meter.read();
//
//   Json answer = in_child([&] { return run_contender(path); });   // alone in a process
//
// Everything is of the whole process, so each contender runs in one of its own. For benchmarks
// only: what goes wrong is said on stderr and ends the process.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyward::bench {

using Json = nlohmann::json;

struct Usage {
  double wall_s = 0;
  double cpu_s = 0;  // User and system, of all threads.
  // Handed to write(2) and its kin. What the kernel merges before it reaches the disk counts twice.
  std::uint64_t bytes_written = 0;

  Json to_json() const;
};

class Meter final {
 public:
  Meter();
  Usage read() const;

 private:
  std::chrono::steady_clock::time_point begin_;
  double cpu_begin_;
  std::uint64_t written_begin_;
};

// Highest resident memory of a process (0: this one) so far, or since reset_peak_memory().
std::uint64_t peak_memory_kib(int pid = 0);
void reset_peak_memory();
// CPU time that a process has used; its threads, not its children.
double cpu_seconds_of(int pid);

// Runs `work` in a forked process and answers its JSON. Nothing may run beside the calling thread.
Json in_child(const std::function<Json()>& work);
// Runs a program that prints one line of JSON.
Json run_program(const std::vector<std::string>& arguments);

[[noreturn]] void give_up(std::string_view what);
template <typename T>
T need(Result<T> result) {
  if (!result) give_up(result.error().message);
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}
inline void need(bool holds, std::string_view what) {
  if (!holds) give_up(what);
}

double median(std::vector<double> values);

// Where the programs that were built with this one lie: build/dev.
std::filesystem::path build_directory();

}  // namespace keyward::bench
