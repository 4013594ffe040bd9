#include "sed/device_node/caller_memory.h"

#include <sys/uio.h>

#include <algorithm>
#include <bit>
#include <cerrno>

namespace keyward::sed {
namespace {

// Of the other process: it is never followed here.
void* pointer(std::uint64_t address) {
  return std::bit_cast<void*>(static_cast<std::uintptr_t>(address));
}

// A part is no success: the caller's buffer ends where nothing is mapped.
int outcome(ssize_t moved, std::size_t wanted) {
  if (moved < 0) return errno == EFAULT ? EFAULT : EIO;
  return static_cast<std::size_t>(moved) == wanted ? 0 : EFAULT;
}

template <typename Span, typename Move>
int for_pieces(const CallerBuffer& buffer, std::size_t skip, Span bytes, Move move) {
  for (const CallerPiece& piece : buffer) {
    if (bytes.empty()) return 0;
    if (skip >= piece.size) {
      skip -= piece.size;
      continue;
    }
    const std::size_t size = std::min(piece.size - skip, bytes.size());
    if (const int code = move(piece.address + skip, bytes.first(size))) return code;
    bytes = bytes.subspan(size);
    skip = 0;
  }
  return bytes.empty() ? 0 : EFAULT;
}

}  // namespace

std::size_t size_of(const CallerBuffer& buffer) {
  std::size_t size = 0;
  for (const CallerPiece& piece : buffer) size += piece.size;
  return size;
}

int read_pieces(CallerMemory& memory, const CallerBuffer& buffer, std::size_t skip,
                MutableByteView into) {
  return for_pieces(buffer, skip, into, [&](std::uint64_t address, MutableByteView part) {
    return memory.read(address, part);
  });
}

int write_pieces(CallerMemory& memory, const CallerBuffer& buffer, std::size_t skip,
                 ByteView from) {
  return for_pieces(buffer, skip, from, [&](std::uint64_t address, ByteView part) {
    return memory.write(address, part);
  });
}

int ProcessMemory::read(std::uint64_t address, MutableByteView into) {
  if (into.empty()) return 0;
  const iovec local{into.data(), into.size()}, remote{pointer(address), into.size()};
  return outcome(::process_vm_readv(process_, &local, 1, &remote, 1, 0), into.size());
}

int ProcessMemory::write(std::uint64_t address, ByteView from) {
  if (from.empty()) return 0;
  // The kernel reads from `local` alone.
  const iovec local{const_cast<std::byte*>(from.data()), from.size()},
      remote{pointer(address), from.size()};
  return outcome(::process_vm_writev(process_, &local, 1, &remote, 1, 0), from.size());
}

}  // namespace keyward::sed
