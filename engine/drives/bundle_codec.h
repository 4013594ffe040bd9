// Big-endian numbers and fields after their length, written into and read from memory that somebody
// else owns: so that no secret is ever in memory that grows and moves.
//
//   BundleWriter measure{{}};  write(measure);              // Counts alone.
//   SecretBytes bytes = TRY(SecretBytes::allocate(measure.size()));
//   BundleWriter writer{bytes.reveal_mutable()};  write(writer);
//
// One owner each.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/check.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::engine {

class BundleWriter final {
 public:
  explicit BundleWriter(MutableByteView out) : out_(out) {}

  void bytes(ByteView bytes) {
    if (!out_.empty()) {
      CHECK(bytes.size() <= out_.size() - size_, "it was measured before");
      std::ranges::copy(bytes, out_.begin() + static_cast<std::ptrdiff_t>(size_));
    }
    size_ += bytes.size();
  }
  template <std::size_t Width>
  void number(std::uint64_t value) {
    std::array<std::byte, Width> text{};
    for (std::size_t i = 0; i < Width; ++i)
      text[i] = static_cast<std::byte>(value >> (8 * (Width - 1 - i)));
    bytes(text);
  }
  // At most 255 bytes.
  void field(ByteView value) {
    CHECK(value.size() <= 255, "a field's length is one byte");
    number<1>(value.size());
    bytes(value);
  }
  std::size_t size() const { return size_; }

 private:
  MutableByteView out_;
  std::size_t size_ = 0;
};

// After the end everything reads as empty or zero, and failed() says so.
class BundleReader final {
 public:
  explicit BundleReader(ByteView in) : rest_(in) {}

  ByteView bytes(std::size_t size) {
    failed_ = failed_ || size > rest_.size();
    if (failed_) return {};
    const ByteView front = rest_.first(size);
    rest_ = rest_.subspan(size);
    return front;
  }
  template <typename Array>
  void fill(Array& out) {
    std::ranges::copy(bytes(out.size()), out.begin());
  }
  template <std::size_t Width>
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (const std::byte byte : bytes(Width))
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    return value;
  }
  ByteView field() { return bytes(static_cast<std::size_t>(number<1>())); }
  std::string text() {
    const ByteView value = field();
    return {reinterpret_cast<const char*>(value.data()), value.size()};
  }
  Result<SecretBytes> secret() {
    const ByteView value = field();
    SecretBytes copy = TRY(SecretBytes::allocate(value.size()));
    std::ranges::copy(value, copy.reveal_mutable().begin());
    return copy;
  }
  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }

 private:
  ByteView rest_;
  bool failed_ = false;
};

}  // namespace keyward::engine
