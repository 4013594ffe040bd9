#include "base/secret_arena.h"

#include <fmt/format.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

#include "base/check.h"
#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address))
#endif

namespace keyward {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kRegionBytes = 128 * 1024;
constexpr std::size_t kRefillBytes = 8 * 1024;  // Divides a region, and holds two of 4 KiB.

std::size_t class_index(std::size_t size) {
  const std::size_t rounded =
      std::bit_ceil(size < SecretArena::kAlignment ? SecretArena::kAlignment : size);
  return static_cast<std::size_t>(std::countr_zero(rounded) -
                                  std::countr_zero(SecretArena::kAlignment));
}

// Up to a quarter more than was asked for, so that blocks of about one size can stand in for each
// other; whole pages.
std::size_t round_large(std::size_t size) {
  const std::size_t step = std::max(kPageBytes, std::bit_floor(size) / 4);
  return (size + step - 1) / step * step;
}

void unmap(std::byte* pages, std::size_t size) {
  ASAN_UNPOISON_MEMORY_REGION(pages, size);
  CHECK(::munmap(pages, size) == 0, "a secret's mapping cannot be given back");
}

std::string errno_text(int code) { return std::generic_category().message(code); }

}  // namespace

// Leaked: secrets in statics may be freed after any destructor.
SecretArena& SecretArena::instance() {
  static SecretArena& arena = *new SecretArena;
  return arena;
}

Result<std::byte*> SecretArena::take(std::size_t size) {
  if (size > kSmallMax) return take_large(size);
  const std::size_t index = class_index(size);
  const std::size_t block_size = kAlignment << index;
  SizeClass& size_class = classes_[index];

  const std::lock_guard lock(size_class.mutex);
  if (size_class.free == nullptr) TRY(refill(size_class, block_size));
  FreeBlock* block = size_class.free;
  ASAN_UNPOISON_MEMORY_REGION(block, block_size);
  size_class.free = block->next;
  block->next = nullptr;
  auto* bytes = reinterpret_cast<std::byte*>(block);
  ASAN_POISON_MEMORY_REGION(bytes + size, block_size - size);
  return bytes;
}

void SecretArena::give_back(std::byte* block, std::size_t size) noexcept {
  if (block == nullptr) return;
  ::explicit_bzero(block, size);
  if (size > kSmallMax) return give_back_large(block, round_large(size));
  const std::size_t index = class_index(size);
  SizeClass& size_class = classes_[index];
  auto* free_block = reinterpret_cast<FreeBlock*>(block);
  const std::lock_guard lock(size_class.mutex);
  ASAN_UNPOISON_MEMORY_REGION(block, sizeof(FreeBlock));
  free_block->next = size_class.free;
  size_class.free = free_block;
  ASAN_POISON_MEMORY_REGION(block, kAlignment << index);
}

Result<std::byte*> SecretArena::take_large(std::size_t size) {
  const std::size_t rounded = round_large(size);
  const std::lock_guard lock(spares_mutex_);
  const auto spare = std::ranges::find(spares_, rounded, &Mapping::size);
  if (spare != spares_.end()) {
    std::byte* pages = spare->pages;
    spares_.erase(spare);
    spare_bytes_ -= rounded;
    ASAN_UNPOISON_MEMORY_REGION(pages, size);
    return pages;
  }
  Result<std::byte*> pages = map_locked(rounded);
  while (!pages && !spares_.empty()) {
    unmap_oldest_spare();
    pages = map_locked(rounded);
  }
  if (pages) ASAN_POISON_MEMORY_REGION(*pages + size, rounded - size);
  return pages;
}

void SecretArena::give_back_large(std::byte* pages, std::size_t size) noexcept {
  const std::lock_guard lock(spares_mutex_);
  if (size > kSpareBytesMax) return unmap(pages, size);
  while (spares_.size() == kSpareCountMax || spare_bytes_ + size > kSpareBytesMax)
    unmap_oldest_spare();
  ASAN_POISON_MEMORY_REGION(pages, size);
  spares_.push_back({pages, size});
  spare_bytes_ += size;
}

void SecretArena::unmap_oldest_spare() noexcept {
  const Mapping oldest = spares_.front();
  spares_.erase(spares_.begin());
  spare_bytes_ -= oldest.size;
  unmap(oldest.pages, oldest.size);
}

// The caller holds the class's mutex, and its list is empty.
Result<void> SecretArena::refill(SizeClass& size_class, std::size_t block_size) {
  std::byte* memory = TRY(carve(kRefillBytes));
  for (std::size_t at = kRefillBytes; at > 0; at -= block_size) {
    auto* block = reinterpret_cast<FreeBlock*>(memory + at - block_size);
    block->next = size_class.free;
    size_class.free = block;
  }
  ASAN_POISON_MEMORY_REGION(memory, kRefillBytes);
  return {};
}

Result<std::byte*> SecretArena::carve(std::size_t size) {
  const std::lock_guard lock(region_mutex_);
  if (region_left_ < size) {
    region_ = TRY(take_large(kRegionBytes));
    ASAN_UNPOISON_MEMORY_REGION(region_, kRegionBytes);
    region_left_ = kRegionBytes;
  }
  std::byte* memory = region_;
  region_ += size;
  region_left_ -= size;
  return memory;
}

Result<std::byte*> SecretArena::map_locked(std::size_t size) {
  void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    return fail(
        ErrorCode::exhausted,
        fmt::format("mmap: no {} bytes of memory for a secret: {}", size, errno_text(errno)),
        "mmap", static_cast<std::uint64_t>(errno));
  auto* pages = static_cast<std::byte*>(mapped);
  Result<void> locked = lock_pages(pages, size);
  if (!locked) {
    ::munmap(pages, size);
    return std::unexpected(std::move(locked).error());
  }
  return pages;
}

Result<void> SecretArena::lock_pages(std::byte* pages, std::size_t size) {
  if (::madvise(pages, size, MADV_DONTDUMP) != 0 || ::madvise(pages, size, MADV_WIPEONFORK) != 0)
    return fail(ErrorCode::io,
                fmt::format("madvise: a secret's memory cannot be kept out of core dumps and "
                            "children: {}",
                            errno_text(errno)),
                "madvise", static_cast<std::uint64_t>(errno));
  // Not mlock(): the sanitizers make that one do nothing.
  if (::mlock2(pages, size, 0) == 0) return {};
  const int code = errno;
  const std::string message = fmt::format(
      "mlock2: {} more bytes for secrets cannot be locked in memory: {}. Raise RLIMIT_MEMLOCK "
      "(LimitMEMLOCK= in the unit, ulimit -l in a shell)",
      size, errno_text(code));
  if (lock_.load(std::memory_order_relaxed) == MemoryLock::required)
    return fail(ErrorCode::exhausted, message, "mlock2", static_cast<std::uint64_t>(code));
  if (!has_warned_.exchange(true))
    log(LogLevel::warning, "{}. Going on as configured: secrets may reach swap", message);
  return {};
}

}  // namespace keyward
