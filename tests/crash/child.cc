#include "tests/crash/child.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <utility>

#include "base/check.h"
#include "tests/crash/lab.h"

namespace keyward::crash {
namespace {

constexpr unsigned kSecondsMax = 60;

// The child's own.
int report_to = -1;
Outcome* reported = nullptr;
std::function<void()> last_work;
std::atomic<bool> is_ending{false};

std::array<std::pair<char, std::vector<std::string>*>, 4> lists_of(Verdict& verdict) {
  return {{{'l', &verdict.lost},
           {'d', &verdict.doubled},
           {'o', &verdict.orphans},
           {'x', &verdict.other}}};
}

// One line for each defect, and one last line that says that all are there.
[[noreturn]] void report_and_exit() {
  std::string text;
  for (const auto& [letter, defects] : lists_of(reported->verdict)) {
    for (std::string defect : *defects) {
      std::ranges::replace(defect, '\n', ' ');
      text += fmt::format("{} {}\n", letter, defect);
    }
  }
  text += reported->reached ? "end reached\n" : "end unreached\n";
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t written = ::write(report_to, text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) break;
    if (written > 0) at += static_cast<std::size_t>(written);
  }
  ::_exit(0);
}

[[noreturn]] void on_terminate() {
  // Another thread may come to its end too while this one works.
  while (is_ending.exchange(true)) ::pause();
  if (last_work) last_work();
  report_and_exit();
}

std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> piece{};
  for (;;) {
    const ssize_t count = ::read(descriptor, piece.data(), piece.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(count));
  }
}

// False when the last line is missing.
bool take_report(const std::string& text, Outcome& outcome) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("end ")) {
      outcome.reached = line == "end reached";
      return true;
    }
    for (const auto& [letter, defects] : lists_of(outcome.verdict))
      if (line.size() > 2 && line[0] == letter) defects->push_back(line.substr(2));
  }
  return false;
}

}  // namespace

ExitInstead::ExitInstead(std::function<void()> work) {
  last_work = std::move(work);
  std::set_terminate(on_terminate);
}

ExitInstead::~ExitInstead() {
  std::set_terminate(nullptr);
  last_work = nullptr;
}

void run_in_child(const std::function<void(Outcome&)>& work, Outcome& outcome) {
  std::array<int, 2> ends{};
  CHECK(::pipe(ends.data()) == 0, "no pipe for a child");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  CHECK(child >= 0, "no child process");
  if (child == 0) {
    ::close(ends[0]);
    ::alarm(kSecondsMax);
    report_to = ends[1];
    reported = &outcome;
    try {
      work(outcome);
    } catch (const std::exception& error) {
      outcome.verdict.other.push_back(fmt::format("an exception: {}", error.what()));
    }
    report_and_exit();
  }
  ::close(ends[1]);
  const std::string text = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (take_report(text, outcome) && status == 0) return;
  outcome.verdict.other.push_back(
      WIFSIGNALED(status) ? fmt::format("the process was ended by signal {}", WTERMSIG(status))
                          : fmt::format("the process ended with status {}", status));
}

}  // namespace keyward::crash
