// Runs one point in a process of its own, and brings back what it found.
//
//   run_in_child([&](Outcome& own) { … own.verdict.lost.push_back(…) … }, outcome);
//
// Where the work would end the process by std::terminate, as an exception does that nobody catches
// on a thread of the product, ExitInstead does its work first, on that very thread. For tests.
#pragma once

#include <functional>

namespace keyward::crash {

struct Outcome;

// A child that does not come back whole, or not within a minute, is a defect.
void run_in_child(const std::function<void(Outcome&)>& work, Outcome& outcome);

// In a child only, one at a time: what std::terminate does before the child reports and exits.
class ExitInstead final {
 public:
  explicit ExitInstead(std::function<void()> work);
  ExitInstead(const ExitInstead&) = delete;
  ExitInstead& operator=(const ExitInstead&) = delete;
  ~ExitInstead();
};

}  // namespace keyward::crash
