// A RateLimiter lets so many entries a second through, over all threads that ask it.
//
//   std::size_t allowed = limiter.take(10'000, stop);   // waits its turn; 0 when stopped
//   limiter.give_back(allowed - used);
//
// A token bucket that holds a tenth of a second's worth, so that a rekey under a limit runs evenly.
// Safe from any thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <stop_token>

#include "base/clock.h"

namespace keyward::engine {

class RateLimiter final {
 public:
  explicit RateLimiter(Clock& clock) : clock_(clock) {}

  // None: no limit. In force at once, also for those that wait.
  void set(std::optional<std::uint64_t> per_second);
  std::optional<std::uint64_t> get() const;

  // Between 1 and `wanted`, or 0 when `stop` was requested.
  std::size_t take(std::size_t wanted, std::stop_token stop);
  void give_back(std::size_t unused);

 private:
  double capacity() const;
  void refill();

  Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::optional<std::uint64_t> per_second_;
  double tokens_ = 0;
  MonotonicTime filled_at_{};
};

}  // namespace keyward::engine
