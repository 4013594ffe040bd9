// The ByteBudget caps the bytes of secrets that are in flight at a time, over all connections.
//
//   budget.acquire(size, [=](ByteBudget::Share share) { receive(std::move(share)); });
//
// Whoever finds too little left waits in line; a share gives its bytes back when it is destroyed.
// Safe from any thread. The callback runs on the thread that acquires or that gives back, so it
// only posts. The budget outlives its shares.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace keyward::daemon {

class ByteBudget final {
 public:
  class Share final {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->give_back(bytes_);
    }
    std::size_t bytes() const { return bytes_; }

   private:
    friend class ByteBudget;
    Share(ByteBudget* budget, std::size_t bytes) : budget_(budget), bytes_(bytes) {}
    ByteBudget* budget_ = nullptr;
    std::size_t bytes_ = 0;
  };
  using Granted = std::move_only_function<void(Share)>;

  explicit ByteBudget(std::size_t bytes_max) : free_(bytes_max), bytes_max_(bytes_max) {}

  // `bytes` is at most the whole budget. In line: a large one is not overtaken for ever.
  void acquire(std::size_t bytes, Granted granted);
  std::size_t in_use() const;
  // Forgets whoever waits in line, without a call.
  void abandon_waiters();

 private:
  struct Waiter {
    std::size_t bytes;
    Granted granted;
  };
  void give_back(std::size_t bytes);

  mutable std::mutex mutex_;
  std::size_t free_;
  const std::size_t bytes_max_;
  std::deque<Waiter> waiters_;
};

}  // namespace keyward::daemon
