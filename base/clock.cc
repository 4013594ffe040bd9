#include "base/clock.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/check.h"

namespace keyward {
namespace {

// CLOCK_BOOTTIME goes on while the machine sleeps, the clock that condition variables know does
// not. So a wait is cut into slices: after a sleep it ends at most this late.
constexpr std::chrono::seconds kSliceMax{30};

class RealClock final : public Clock {
 public:
  UtcTime now() const override {
    return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  }

  MonotonicTime monotonic() const override {
    timespec time{};
    CHECK(::clock_gettime(CLOCK_BOOTTIME, &time) == 0, "the system has no CLOCK_BOOTTIME");
    return MonotonicTime{std::chrono::seconds{time.tv_sec} +
                         std::chrono::nanoseconds{time.tv_nsec}};
  }

  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                  std::stop_token stop, MonotonicTime deadline) override {
    const MonotonicTime start = monotonic();
    if (deadline <= start) return;
    const auto slice = std::min<MonotonicTime::duration>(deadline - start, kSliceMax);
    bool woken = false;
    wake.wait_until(lock, std::move(stop), std::chrono::steady_clock::now() + slice,
                    [&] { return std::exchange(woken, true); });
  }
};

}  // namespace

bool Clock::sleep_until(std::stop_token stop, MonotonicTime deadline) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested() && monotonic() < deadline) wait_until(lock, wake, stop, deadline);
  return !stop.stop_requested();
}

std::unique_ptr<Clock> real_clock() { return std::make_unique<RealClock>(); }

}  // namespace keyward
