// The unused bytes of a b-tree page, after https://www.sqlite.org/fileformat2.html#b_tree_pages.
#include <algorithm>
#include <cstring>

#include "store/sqlite/vfs.h"

namespace keyward::store {
namespace {

constexpr std::size_t kFileHeaderBytes = 100;

std::size_t read_u16(ByteView page, std::size_t at) {
  return (std::to_integer<std::size_t>(page[at]) << 8) | std::to_integer<std::size_t>(page[at + 1]);
}

// 8 for leaves, 12 for interior pages, 0 for what is no b-tree page. Overflow and freelist pages
// begin with a page number below 2^25 (Database sets max_page_count), so with a byte of 0 or 1.
std::size_t header_bytes(std::byte type) {
  switch (std::to_integer<int>(type)) {
    case 2:
    case 5:
      return 12;
    case 10:
    case 13:
      return 8;
    default:
      return 0;
  }
}

bool is_zero(ByteView bytes) {
  // Compared with itself, one byte on.
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// Calls `visit(from, to)` for each range of unused bytes, as long as it answers true. False when it
// did not.
template <typename Visit>
bool each_free_block(ByteView page, std::size_t first, std::size_t content, Visit visit) {
  // Each block begins with the offset of the next one and its own size. They ascend.
  std::size_t block = first;
  std::size_t allowed_from = content;
  while (block >= allowed_from && block != 0 && block + 4 <= page.size()) {
    const std::size_t size = read_u16(page, block + 2);
    if (size < 4 || block + size > page.size()) return true;
    if (!visit(block + 4, block + size)) return false;
    allowed_from = block + size;
    block = read_u16(page, block);
  }
  return true;
}

template <typename Visit>
bool each_unused_range(ByteView page, std::uint64_t number, Visit visit) {
  const std::size_t header = number == 1 ? kFileHeaderBytes : 0;
  if (page.size() < header + 12) return true;
  const std::size_t header_size = header_bytes(page[header]);
  if (header_size == 0) return true;
  const std::size_t stored = read_u16(page, header + 5);
  const std::size_t content = stored == 0 ? 65536 : stored;
  const std::size_t gap = header + header_size + 2 * read_u16(page, header + 3);
  if (content > page.size() || gap > content) return true;
  return visit(gap, content) && each_free_block(page, read_u16(page, header + 1), content, visit);
}

}  // namespace

void zero_unused_bytes(MutableByteView page, std::uint64_t number) {
  each_unused_range(page, number, [&](std::size_t from, std::size_t to) {
    std::ranges::fill(page.subspan(from, to - from), std::byte{0});
    return true;
  });
}

bool has_clean_unused_bytes(ByteView page, std::uint64_t number) {
  return each_unused_range(page, number, [&](std::size_t from, std::size_t to) {
    return is_zero(page.subspan(from, to - from));
  });
}

}  // namespace keyward::store
