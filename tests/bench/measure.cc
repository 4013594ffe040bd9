#include "tests/bench/measure.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>

namespace keyward::bench {
namespace {

double process_cpu() {
  timespec time{};
  need(::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0, "no CPU clock");
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The number behind `name` in one of the files of /proc.
std::uint64_t proc_number(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string word;
  std::uint64_t number = 0;
  while (file >> word)
    if (word == name && file >> number) return number;
  give_up(fmt::format("{} has no {}", path, name));
}

std::string read_to_end(int descriptor) {
  std::string text;
  char chunk[4096];
  ssize_t got = 0;
  while ((got = ::read(descriptor, chunk, sizeof chunk)) > 0)
    text.append(chunk, static_cast<std::size_t>(got));
  return text;
}

// Starts `body` in a child with its answer on a pipe.
Json collect(const std::function<void(int)>& body, std::string_view name) {
  int ends[2];
  need(::pipe(ends) == 0, "pipe");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  need(child >= 0, "fork");
  if (child == 0) {
    ::close(ends[0]);
    body(ends[1]);
    ::_exit(127);
  }
  ::close(ends[1]);
  const std::string text = read_to_end(ends[0]);
  ::close(ends[0]);
  int status = 0;
  need(::waitpid(child, &status, 0) == child, "waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    give_up(fmt::format("{} ended with status {:#x}", name, status));
  return Json::parse(text);
}

}  // namespace

Json Usage::to_json() const {
  return {{"wall_s", wall_s}, {"cpu_s", cpu_s}, {"bytes_written", bytes_written}};
}

Meter::Meter()
    : begin_(std::chrono::steady_clock::now()),
      cpu_begin_(process_cpu()),
      written_begin_(proc_number("/proc/self/io", "wchar:")) {}

Usage Meter::read() const {
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin_;
  return {wall.count(), process_cpu() - cpu_begin_,
          proc_number("/proc/self/io", "wchar:") - written_begin_};
}

std::uint64_t peak_memory_kib(int pid) {
  const std::string process = pid == 0 ? "self" : std::to_string(pid);
  return proc_number(fmt::format("/proc/{}/status", process), "VmHWM:");
}

void reset_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  file << 5;
  need(file.flush().good(), "/proc/self/clear_refs");
}

double cpu_seconds_of(int pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  need(text.rfind(')') != std::string::npos, "a process of the benchmark has ended");
  std::vector<std::string> fields{""};
  for (const char c : text.substr(text.rfind(')') + 2)) {
    if (c == ' ')
      fields.emplace_back();
    else
      fields.back() += c;
  }
  constexpr std::size_t kUserTicks = 11;  // proc(5): field 14, the third one being fields[0].
  return (std::stod(fields[kUserTicks]) + std::stod(fields[kUserTicks + 1])) /
         static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Json in_child(const std::function<Json()>& work) {
  return collect(
      [&](int out) {
        const std::string text = work().dump();
        need(::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
        ::_exit(0);
      },
      "a benchmark's process");
}

Json run_program(const std::vector<std::string>& arguments) {
  return collect(
      [&](int out) {
        std::vector<char*> words;
        for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
        words.push_back(nullptr);
        ::dup2(out, STDOUT_FILENO);
        ::execv(words[0], words.data());
      },
      arguments.front());
}

void give_up(std::string_view what) {
  fmt::print(stderr, "keyward-bench: {}\n", what);
  ::_exit(1);
}

double median(std::vector<double> values) {
  need(!values.empty(), "a median of nothing");
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::filesystem::path build_directory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path().parent_path();
}

}  // namespace keyward::bench
