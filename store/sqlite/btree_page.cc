// The unused bytes of a b-tree page, after https://www.sqlite.org/fileformat2.html#b_tree_pages.
#include <algorithm>

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

void zero(MutableByteView page, std::size_t from, std::size_t to) {
  std::fill(page.begin() + static_cast<std::ptrdiff_t>(from),
            page.begin() + static_cast<std::ptrdiff_t>(to), std::byte{0});
}

// Each block begins with the offset of the next one and its own size. They ascend.
void zero_free_blocks(MutableByteView page, std::size_t first, std::size_t content) {
  std::size_t block = first;
  std::size_t allowed_from = content;
  while (block >= allowed_from && block != 0 && block + 4 <= page.size()) {
    const std::size_t size = read_u16(page, block + 2);
    if (size < 4 || block + size > page.size()) return;
    zero(page, block + 4, block + size);
    allowed_from = block + size;
    block = read_u16(page, block);
  }
}

}  // namespace

void zero_unused_bytes(MutableByteView page, std::uint64_t number) {
  const std::size_t header = number == 1 ? kFileHeaderBytes : 0;
  if (page.size() < header + 12) return;
  const std::size_t header_size = header_bytes(page[header]);
  if (header_size == 0) return;
  const std::size_t stored = read_u16(page, header + 5);
  const std::size_t content = stored == 0 ? 65536 : stored;
  const std::size_t gap = header + header_size + 2 * read_u16(page, header + 3);
  if (content > page.size() || gap > content) return;
  zero(page, gap, content);
  zero_free_blocks(page, read_u16(page, header + 1), content);
}

}  // namespace keyward::store
