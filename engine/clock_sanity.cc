#include "engine/clock_sanity.h"

#include <utility>

namespace keyward::engine {
namespace {

// How far UTC may be slewed while it settles and still count as even.
constexpr std::chrono::minutes kEven{1};

}  // namespace

ClockSanity::Verdict ClockSanity::observe(UtcTime utc, MonotonicTime monotonic) {
  const Offset offset = utc.time_since_epoch() -
                        std::chrono::floor<std::chrono::milliseconds>(monotonic.time_since_epoch());
  if (utc < limits_.earliest || utc > limits_.latest) {
    candidate_.reset();
    last_.reset();
    return Verdict::impossible;
  }
  last_ = offset;
  const bool was_set_back = stored_ && utc < *stored_ - limits_.jump_min;
  const bool is_near =
      trusted_ ? std::chrono::abs(offset - *trusted_) <= limits_.jump_min : !was_set_back;
  if (!is_near && !has_settled(offset, monotonic)) return Verdict::jumped;
  trusted_ = offset;  // Follows what a time server does in small steps.
  candidate_.reset();
  return Verdict::believable;
}

bool ClockSanity::has_settled(Offset offset, MonotonicTime monotonic) {
  if (!candidate_ || std::chrono::abs(offset - *candidate_) > kEven) {
    candidate_ = offset;
    candidate_since_ = monotonic;
  }
  return monotonic - candidate_since_ >= limits_.settle;
}

void ClockSanity::remember(UtcTime stored) {
  if (!stored_ || *stored_ < stored) stored_ = stored;
}

void ClockSanity::confirm() {
  stored_.reset();
  candidate_.reset();
  trusted_ = last_;
}

std::optional<MonotonicTime> ClockSanity::settles_at() const {
  if (!candidate_) return std::nullopt;
  return candidate_since_ + limits_.settle;
}

}  // namespace keyward::engine
