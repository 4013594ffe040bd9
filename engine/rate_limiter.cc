#include "engine/rate_limiter.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace keyward::engine {

double RateLimiter::capacity() const {
  return std::max(1.0, static_cast<double>(*per_second_) / 10);
}

void RateLimiter::refill() {
  const MonotonicTime now = clock_.monotonic();
  const std::chrono::duration<double> passed = now - filled_at_;
  filled_at_ = now;
  tokens_ = std::min(capacity(), tokens_ + passed.count() * static_cast<double>(*per_second_));
}

void RateLimiter::set(std::optional<std::uint64_t> per_second) {
  const std::lock_guard lock(mutex_);
  per_second_ = per_second;
  tokens_ = 0;
  filled_at_ = clock_.monotonic();
  changed_.notify_all();
}

std::optional<std::uint64_t> RateLimiter::get() const {
  const std::lock_guard lock(mutex_);
  return per_second_;
}

std::size_t RateLimiter::take(std::size_t wanted, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    if (!per_second_) return wanted;
    refill();
    const double enough = std::min(static_cast<double>(wanted), capacity());
    // A little less is enough too: the time waited for is rounded.
    if (tokens_ >= enough - 1e-6) {
      tokens_ -= enough;
      return std::max<std::size_t>(1, static_cast<std::size_t>(enough));
    }
    const std::chrono::duration<double> missing{(enough - tokens_) /
                                                static_cast<double>(*per_second_)};
    clock_.wait_until(lock, changed_, stop,
                      filled_at_ + std::chrono::ceil<MonotonicTime::duration>(missing));
  }
  return 0;
}

void RateLimiter::give_back(std::size_t unused) {
  const std::lock_guard lock(mutex_);
  if (per_second_) tokens_ = std::min(capacity(), tokens_ + static_cast<double>(unused));
}

}  // namespace keyward::engine
