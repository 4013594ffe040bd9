// Small files, read and written whole.
//
//   Bytes content = TRY(read_file(path, 4096));
//   TRY(write_file_durably(path, content));    // old or new after a crash, never half of it
//
// Not for secrets, which SecretBytes::read_from() reads. Any thread; one writer for a path.
#pragma once

#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward {

// Owns an open file descriptor.
class Descriptor final {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

// `not_found` when there is none, `exhausted` when it is longer than `size_max`, else `io`.
Result<Bytes> read_file(const std::string& path, std::size_t size_max);

// Writes `path`.new, syncs it, renames it, and syncs the directory. Mode 0600.
Result<void> write_file_durably(const std::string& path, ByteView content);

}  // namespace keyward
