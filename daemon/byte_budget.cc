#include "daemon/byte_budget.h"

#include <vector>

#include "base/check.h"

namespace keyward::daemon {

void ByteBudget::acquire(std::size_t bytes, Granted granted) {
  CHECK(bytes <= bytes_max_, "more bytes asked for than the whole budget");
  {
    const std::lock_guard lock(mutex_);
    if (!waiters_.empty() || bytes > free_) {
      waiters_.push_back({bytes, std::move(granted)});
      return;
    }
    free_ -= bytes;
  }
  granted(Share(this, bytes));
}

std::size_t ByteBudget::in_use() const {
  const std::lock_guard lock(mutex_);
  return bytes_max_ - free_;
}

void ByteBudget::abandon_waiters() {
  std::deque<Waiter> abandoned;
  const std::lock_guard lock(mutex_);
  abandoned.swap(waiters_);
}

void ByteBudget::give_back(std::size_t bytes) {
  std::vector<Waiter> ready;
  {
    const std::lock_guard lock(mutex_);
    free_ += bytes;
    while (!waiters_.empty() && waiters_.front().bytes <= free_) {
      free_ -= waiters_.front().bytes;
      ready.push_back(std::move(waiters_.front()));
      waiters_.pop_front();
    }
  }
  for (Waiter& waiter : ready) waiter.granted(Share(this, waiter.bytes));
}

}  // namespace keyward::daemon
