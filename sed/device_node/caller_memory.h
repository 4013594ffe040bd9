// CallerMemory is the memory of the program that made a system call: arguments point into it.
//
//   sg_io_hdr_t header{};
//   if (const int code = memory.read_object(address, header)) return -code;
//
// ProcessMemory is that of another process; tests have their own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace keyward::sed {

class CallerMemory {
 public:
  virtual ~CallerMemory() = default;
  // 0 or an errno: EFAULT where nothing is mapped, EIO where the process may not be looked into.
  virtual int read(std::uint64_t address, MutableByteView into) = 0;
  virtual int write(std::uint64_t address, ByteView from) = 0;

  template <typename T>
  int read_object(std::uint64_t address, T& object) {
    return read(address, std::as_writable_bytes(std::span(&object, 1)));
  }
  template <typename T>
  int write_object(std::uint64_t address, const T& object) {
    return write(address, std::as_bytes(std::span(&object, 1)));
  }
};

// A buffer of the caller's, in one or many pieces.
struct CallerPiece {
  std::uint64_t address;
  std::size_t size;
};
using CallerBuffer = std::vector<CallerPiece>;
std::size_t size_of(const CallerBuffer& buffer);
// The pieces from `skip` on, for as many bytes as there are in the span.
int read_pieces(CallerMemory& memory, const CallerBuffer& buffer, std::size_t skip,
                MutableByteView into);
int write_pieces(CallerMemory& memory, const CallerBuffer& buffer, std::size_t skip, ByteView from);

class ProcessMemory final : public CallerMemory {
 public:
  explicit ProcessMemory(pid_t process) : process_(process) {}
  int read(std::uint64_t address, MutableByteView into) override;
  int write(std::uint64_t address, ByteView from) override;

 private:
  pid_t process_;
};

}  // namespace keyward::sed
