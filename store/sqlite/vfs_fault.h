// VfsFault makes the Nth change of a file fail, for loops that try every one of them.
//
//   for (std::size_t n = 1;; ++n) {
//     VfsFault fault(n, VfsAnswer::disk_full, VfsFault::Lasts::from_then_on);
//     auto vfs = Vfs::create({.hook = &fault});
//     run_the_whole_operation(*vfs);
//     recover_and_check();
//     if (!fault.has_fired()) break;
//   }
//
// Reads are neither counted nor failed. Shipped, documented code; not used by the product itself.
// Safe from any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "store/sqlite/vfs.h"

namespace keyward::store {

class VfsFault final : public VfsHook {
 public:
  enum class Lasts : std::uint8_t { once, from_then_on };

  // `only` restricts counting and failing to one kind of operation.
  VfsFault(std::size_t fail_at, VfsAnswer answer, Lasts lasts = Lasts::once,
           std::optional<VfsOperation> only = {})
      : fail_at_(fail_at), answer_(answer), lasts_(lasts), only_(only) {}

  VfsAnswer before(const VfsCall& call) override {
    if (call.operation == VfsOperation::read || (only_ && call.operation != *only_))
      return VfsAnswer::proceed;
    const std::size_t n = ++count_;
    const bool fails = lasts_ == Lasts::once ? n == fail_at_.load() : n >= fail_at_.load();
    return fails && !repaired_ ? answer_ : VfsAnswer::proceed;
  }

  bool has_fired() const { return count_ >= fail_at_; }
  std::size_t calls() const { return count_; }
  // Moves the failure to the next change.
  void fail_next() { fail_at_ = count_ + 1; }
  // From now on all goes well.
  void repair() { repaired_ = true; }

 private:
  std::atomic<std::size_t> count_{0};
  std::atomic<bool> repaired_{false};
  std::atomic<std::size_t> fail_at_;
  VfsAnswer answer_;
  Lasts lasts_;
  std::optional<VfsOperation> only_;
};

}  // namespace keyward::store
