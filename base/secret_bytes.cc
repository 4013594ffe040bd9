#include "base/secret_bytes.h"

#include <fmt/format.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

#include "base/check.h"
#include "base/os_random.h"
#include "base/secret_arena.h"

namespace keyward {
namespace {

// Reads until `buffer` is full or the file ends; gives the number of bytes.
Result<std::size_t> read_all(int descriptor, MutableByteView buffer) {
  std::size_t total = 0;
  while (total < buffer.size()) {
    const ssize_t got = ::read(descriptor, buffer.data() + total, buffer.size() - total);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return fail(
          ErrorCode::io,
          fmt::format("read: a secret cannot be read: {}", std::generic_category().message(errno)),
          "read", static_cast<std::uint64_t>(errno));
    if (got == 0) break;
    total += static_cast<std::size_t>(got);
  }
  return total;
}

}  // namespace

Result<SecretBytes> SecretBytes::allocate(std::size_t size) {
  return SecretBytes(TRY(SecretArena::instance().take(size)), size);
}

Result<SecretBytes> SecretBytes::random(std::size_t size) {
  SecretBytes secret = TRY(allocate(size));
  os_random_fill(secret.reveal_mutable());
  return secret;
}

Result<SecretBytes> SecretBytes::take_from(MutableByteView plaintext) {
  Result<SecretBytes> secret = allocate(plaintext.size());
  if (!plaintext.empty()) {
    if (secret) std::memcpy(secret->data_, plaintext.data(), plaintext.size());
    ::explicit_bzero(plaintext.data(), plaintext.size());
  }
  return secret;
}

Result<SecretBytes> SecretBytes::read_from(int descriptor, std::size_t size_max) {
  // One byte more for the newline, and one to see that there is too much.
  SecretBytes buffer = TRY(allocate(size_max + 2));
  std::size_t size = TRY(read_all(descriptor, buffer.reveal_mutable()));
  if (size > 0 && buffer.data_[size - 1] == std::byte{'\n'}) --size;
  if (size > size_max)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the secret is longer than {} bytes", size_max));
  if (size == 0) return fail(ErrorCode::invalid_argument, "the secret is empty");
  return take_from(buffer.reveal_mutable().first(size));
}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  if (this == &other) return *this;
  SecretArena::instance().give_back(data_, capacity_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  capacity_ = std::exchange(other.capacity_, 0);
  return *this;
}

SecretBytes::~SecretBytes() {
  if (data_ != nullptr) SecretArena::instance().give_back(data_, capacity_);
}

Result<SecretBytes> SecretBytes::duplicate() const {
  SecretBytes copy = TRY(allocate(size_));
  if (size_ > 0) std::memcpy(copy.data_, data_, size_);
  return copy;
}

void SecretBytes::truncate(std::size_t size) {
  CHECK(size <= size_, "a secret is only ever made shorter");
  if (size < size_) ::explicit_bzero(data_ + size, size_ - size);
  size_ = size;
}

// The barrier hides from the compiler what has been found so far, so that it cannot end the loop at
// the first difference.
bool constant_time_equal(ByteView a, ByteView b) {
  if (a.size() != b.size()) return false;
  std::uint64_t difference = 0;
  for (std::size_t at = 0; at < a.size(); at += sizeof difference) {
    const std::size_t count = std::min(sizeof difference, a.size() - at);
    std::uint64_t from_a = 0;
    std::uint64_t from_b = 0;
    std::memcpy(&from_a, a.data() + at, count);
    std::memcpy(&from_b, b.data() + at, count);
    difference |= from_a ^ from_b;
    __asm__ volatile("" : "+r"(difference));
  }
  return difference == 0;
}

}  // namespace keyward
