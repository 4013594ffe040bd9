// A RekeyMeter says how many entries a second a rekey does, over the last ten seconds.
//
//   meter.add(report.entries, clock.monotonic());
//   double rate = meter.per_second(clock.monotonic());
//
// It has no clock of its own. One thread at a time.
#pragma once

#include <cstdint>
#include <deque>

#include "base/clock.h"

namespace keyward::engine {

class RekeyMeter final {
 public:
  void add(std::uint64_t entries, MonotonicTime now);
  // 0 at the very start, and when nothing was done for ten seconds.
  double per_second(MonotonicTime now) const;
  void reset() { samples_.clear(); }

 private:
  struct Sample {
    MonotonicTime begin;
    std::uint64_t entries;
  };
  std::deque<Sample> samples_;  // One for each second in which something was done.
};

}  // namespace keyward::engine
