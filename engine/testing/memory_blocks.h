// MemoryBlocks is a drive's sectors for tests of the read probe: each holds its number and the
// media key's, so that a new key changes all. For test programs only.
#pragma once

#include <algorithm>
#include <optional>
#include <set>

#include "sed/transport/security_transport.h"

namespace keyward::engine {

class MemoryBlocks final : public sed::BlockAccess {
 public:
  explicit MemoryBlocks(std::uint64_t sectors) : sectors_(sectors) {}

  void new_media_key() { ++media_key_; }

  std::set<std::uint64_t> keep_old{};  // Forgotten by the erase.
  std::set<std::uint64_t> blank{};     // Never written: they read as zero.
  std::set<std::uint64_t> bad{};
  std::optional<ErrorCode> error{};  // Of every read.
  std::size_t reads = 0;

  std::uint32_t sector_bytes() const override { return 512; }
  std::uint64_t sector_count() const override { return sectors_; }
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override {
    ++reads;
    if (error) return fail(*error, "the drive says no\n");
    if (bad.contains(first_sector)) return fail(ErrorCode::io, "the drive says no");
    std::ranges::fill(sectors, std::byte{0});
    if (blank.contains(first_sector)) return {};
    for (std::size_t i = 0; i < 8; ++i)
      sectors[i] = static_cast<std::byte>(first_sector >> (8 * (7 - i)));
    sectors[8] = static_cast<std::byte>(keep_old.contains(first_sector) ? 1 : media_key_);
    return {};
  }
  Result<void> write(std::uint64_t, ByteView) override {
    return fail(ErrorCode::not_permitted, "a read probe does not write");
  }
  Result<void> reread_partitions() override { return {}; }

 private:
  std::uint64_t sectors_;
  unsigned media_key_ = 1;
};

}  // namespace keyward::engine
