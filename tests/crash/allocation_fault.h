// AllocationFault makes the Nth allocation fail that is made while the engine is inside a call to a
// store or a custodian, on whatever thread: the store's writer works for whoever waits for it.
// Global operator new throws std::bad_alloc, or SQLite's malloc returns nothing.
//
//   AllocationFault::install();                    // In main, before SQLite is used.
//   AllocationFault fault(AllocationFault::Of::operator_new, n);
//   plan.observe(fault);                           // A plan that never fires, through all seams.
//
// One at a time. It is armed by entered() and disarmed by left(), and fails once. For tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/fault_plan.h"

namespace keyward::crash {

class AllocationFault final : public SeamObserver {
 public:
  enum class Of : std::uint8_t { operator_new, sqlite_malloc };

  // Replaces SQLite's allocator by one that can fail.
  static void install();

  // 0 only counts.
  AllocationFault(Of of, std::size_t fail_at);
  ~AllocationFault() override;
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;

  void entered() noexcept override;
  void left() noexcept override;
  std::size_t calls() const;
  // From now on nothing is counted and nothing fails.
  static void disarm() noexcept;
  // The process ends, said by the thread on which it does: whoever comes to a seam now goes no
  // further. Returns when that is all that others can be doing.
  static void stop_the_others();
  // For them to come to also outside of seams.
  static void stop_here_if_told();
};

}  // namespace keyward::crash
