// Targets turns what was measured into figures, each beside the target that it has to reach.
//
//   std::vector<Target> targets = judge(results);
//   print_report(results, targets);
//
// A figure is the median of the rounds; a ratio is one of two medians of the same run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/bench/measure.h"

namespace keyward::bench {

struct Target {
  std::string what;
  double value = 0;
  double limit = 0;
  bool at_least = false;  // Otherwise at most.
  std::string unit{};     // Empty for a ratio.

  bool is_met() const { return at_least ? value >= limit : value <= limit; }
  Json to_json() const;
};

// Of those parts that `results` has: "rewrites", "requests", "scale".
std::vector<Target> judge(const Json& results);
// To stdout. Says plainly which targets fall short.
void print_report(const Json& results, const std::vector<Target>& targets);

}  // namespace keyward::bench
