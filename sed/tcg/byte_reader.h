// Big-endian numbers in what drives say. Reading past the end gives zeros and is remembered, so a
// parser looks once, at its end.
//
//   ByteReader reader(bytes);
//   const std::uint32_t length = reader.u32();
//   if (reader.ran_out()) return fail(ErrorCode::protocol, "…");
//
// Borrows the bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace keyward::sed::tcg {

class ByteReader final {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  // Empty when there are not so many.
  ByteView take(std::size_t size) {
    if (size > rest_.size()) {
      ran_out_ = true;
      rest_ = {};
      return {};
    }
    const ByteView taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  void skip(std::size_t size) { static_cast<void>(take(size)); }
  std::size_t left() const { return rest_.size(); }
  bool ran_out() const { return ran_out_; }

 private:
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (const std::byte byte : take(size))
      value = value << 8 | std::to_integer<std::uint8_t>(byte);
    return value;
  }

  ByteView rest_;
  bool ran_out_ = false;
};

inline void append_big_endian(std::uint64_t value, std::size_t size, Bytes& out) {
  for (std::size_t i = size; i-- > 0;) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

}  // namespace keyward::sed::tcg
