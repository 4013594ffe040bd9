// SecretArena is the memory behind SecretBytes: locked, left out of core dumps, not inherited by
// fork, wiped when it is given back.
//
//   std::byte* block = TRY(SecretArena::instance().take(48));   // 48 zeroed bytes
//   SecretArena::instance().give_back(block, 48);
//
// Blocks to 4 KiB come from free lists, one for each power of two from 64; they lie in regions that
// are mapped once and kept. Larger ones have a mapping of their own; the last few that were given
// back are kept for the next of that size, since mlock waits for every CPU (0.1 ms, and ms under
// load). There is one arena for the process, because the limit that it lives under is the
// process's. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "base/process.h"
#include "base/result.h"

namespace keyward {

class SecretArena final {
 public:
  static constexpr std::size_t kAlignment = 64;
  static constexpr std::size_t kSmallMax = 4096;

  static SecretArena& instance();

  // `exhausted` when no more memory may be locked. `size` 0 is a block too.
  Result<std::byte*> take(std::size_t size);
  // Wipes. `size` is what was asked for.
  void give_back(std::byte* block, std::size_t size) noexcept;

  // What take() does when memory cannot be locked. Starts as `required`.
  void set_memory_lock(MemoryLock lock) { lock_.store(lock, std::memory_order_relaxed); }

 private:
  // A free block holds the address of the next one in its first bytes, and is zero otherwise.
  struct FreeBlock {
    FreeBlock* next;
  };
  struct alignas(64) SizeClass {
    std::mutex mutex;
    FreeBlock* free = nullptr;
  };
  static constexpr std::size_t kClassCount = 7;  // 64 B to 4 KiB.

  // A larger block that is free and zero.
  struct Mapping {
    std::byte* pages;
    std::size_t size;
  };
  static constexpr std::size_t kSpareBytesMax = 4 * 1024 * 1024;
  static constexpr std::size_t kSpareCountMax = 128;

  SecretArena() { spares_.reserve(kSpareCountMax); }
  Result<std::byte*> take_large(std::size_t size);
  void give_back_large(std::byte* pages, std::size_t size) noexcept;
  void unmap_oldest_spare() noexcept;
  Result<void> refill(SizeClass& size_class, std::size_t block_size);
  Result<std::byte*> carve(std::size_t size);
  Result<std::byte*> map_locked(std::size_t size);
  Result<void> lock_pages(std::byte* pages, std::size_t size);

  std::array<SizeClass, kClassCount> classes_;
  std::mutex region_mutex_;
  std::byte* region_ = nullptr;  // What is left of the newest region.
  std::size_t region_left_ = 0;
  std::mutex spares_mutex_;
  std::vector<Mapping> spares_;  // The oldest first.
  std::size_t spare_bytes_ = 0;
  std::atomic<MemoryLock> lock_{MemoryLock::required};
  std::atomic<bool> has_warned_{false};
};

}  // namespace keyward
