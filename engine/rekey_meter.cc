#include "engine/rekey_meter.h"

#include <algorithm>
#include <chrono>

namespace keyward::engine {
namespace {

constexpr std::chrono::seconds kWindow{10};
constexpr std::chrono::seconds kSlot{1};
// Less than this says little.
constexpr std::chrono::milliseconds kShortest{200};

}  // namespace

void RekeyMeter::add(std::uint64_t entries, MonotonicTime now) {
  if (samples_.empty() || now - samples_.back().begin >= kSlot)
    samples_.push_back({now, entries});
  else
    samples_.back().entries += entries;
  while (now - samples_.front().begin > kWindow) samples_.pop_front();
}

double RekeyMeter::per_second(MonotonicTime now) const {
  std::uint64_t entries = 0;
  MonotonicTime first = now;
  for (const Sample& sample : samples_) {
    if (now - sample.begin > kWindow) continue;
    entries += sample.entries;
    first = std::min(first, sample.begin);
  }
  const std::chrono::duration<double> passed = now - first;
  return passed < kShortest ? 0 : static_cast<double>(entries) / passed.count();
}

}  // namespace keyward::engine
