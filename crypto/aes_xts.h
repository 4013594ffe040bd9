// AesXts is XTS-AES-256 (IEEE 1619) under one key, for data that lies in sectors.
//
//   AesXts xts = TRY(AesXts::open(key));              // 64 bytes: two AES-256 keys, not the same
//   TRY(xts.encrypt(lba, 512, plaintext, sectors));   // tweak: the sector's number, little-endian
//
// It has no tag: whoever changes a sector changes what it decrypts to. Keyward's own data are never
// kept under it; the emulated drives' sectors are, as on a real drive. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::crypto {

inline constexpr std::size_t kXtsKeyBytes = 64;

class AesXts final {
 public:
  // `invalid_argument` for another size, or when both halves are equal (FIPS 140 IG C.I).
  static Result<AesXts> open(ByteView key);

  AesXts(AesXts&&) noexcept;
  AesXts& operator=(AesXts&&) noexcept;
  ~AesXts();

  // Whole sectors of `sector_bytes` (at least 16), numbered from `first_sector`. `out` has the size
  // of `in`, and may be the same memory.
  Result<void> encrypt(std::uint64_t first_sector, std::size_t sector_bytes, ByteView in,
                       MutableByteView out);
  Result<void> decrypt(std::uint64_t first_sector, std::size_t sector_bytes, ByteView in,
                       MutableByteView out);

 private:
  struct Contexts;
  explicit AesXts(std::unique_ptr<Contexts> contexts);
  std::unique_ptr<Contexts> contexts_;
};

}  // namespace keyward::crypto
