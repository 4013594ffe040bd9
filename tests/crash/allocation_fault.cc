#include "tests/crash/allocation_fault.h"

#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>

#include "base/check.h"

namespace keyward::crash {
namespace {

struct Counter {
  std::atomic<bool> on{false};
  std::atomic<int> depth{0};
  std::atomic<std::size_t> count{0};
  std::atomic<std::size_t> fail_at{0};

  bool fails() {
    if (!on.load(std::memory_order_relaxed) || depth.load() == 0) return false;
    return count.fetch_add(1) + 1 == fail_at.load();
  }
};

std::atomic<bool> others_stop{false};

Counter operator_new_calls;
Counter sqlite_calls;
sqlite3_mem_methods real_malloc;

void* allocate(std::size_t size, std::size_t alignment) {
  if (operator_new_calls.fails()) throw std::bad_alloc();
  const std::size_t rounded = (size + alignment - 1) / alignment * alignment;
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                        : std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void* sqlite_malloc(int size) { return sqlite_calls.fails() ? nullptr : real_malloc.xMalloc(size); }
void* sqlite_realloc(void* memory, int size) {
  return sqlite_calls.fails() ? nullptr : real_malloc.xRealloc(memory, size);
}

}  // namespace

void AllocationFault::install() {
  CHECK(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_malloc) == SQLITE_OK, "sqlite3_config");
  sqlite3_mem_methods methods = real_malloc;
  methods.xMalloc = sqlite_malloc;
  methods.xRealloc = sqlite_realloc;
  CHECK(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) == SQLITE_OK, "sqlite3_config");
}

AllocationFault::AllocationFault(Of of, std::size_t fail_at) {
  Counter& counter = of == Of::operator_new ? operator_new_calls : sqlite_calls;
  counter.depth = 0;
  counter.count = 0;
  counter.fail_at = fail_at;
  counter.on = true;
}

AllocationFault::~AllocationFault() { disarm(); }

void AllocationFault::disarm() noexcept {
  operator_new_calls.on = false;
  sqlite_calls.on = false;
}

void AllocationFault::stop_here_if_told() {
  while (others_stop) ::pause();
}

void AllocationFault::stop_the_others() {
  others_stop = true;
  // Who is inside a call waits for the thread that has ended, or is out of it much sooner than
  // this.
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
}

void AllocationFault::entered() noexcept {
  stop_here_if_told();
  ++operator_new_calls.depth;
  ++sqlite_calls.depth;
}

void AllocationFault::left() noexcept {
  stop_here_if_told();
  --operator_new_calls.depth;
  --sqlite_calls.depth;
}

std::size_t AllocationFault::calls() const {
  return operator_new_calls.on ? operator_new_calls.count : sqlite_calls.count;
}

}  // namespace keyward::crash

// Under a sanitizer its own allocator stays, and the matrix leaves these points out.
#ifndef KEYWARD_SANITIZED
void* operator new(std::size_t size) { return keyward::crash::allocate(size, 1); }
void* operator new[](std::size_t size) { return keyward::crash::allocate(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return keyward::crash::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return keyward::crash::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
#endif
