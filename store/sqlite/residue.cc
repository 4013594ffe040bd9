#include "store/sqlite/residue.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "store/sqlite/files.h"
#include "store/sqlite/vfs.h"

namespace keyward::store {
namespace {

// 1 MiB: the writer waits for less than a millisecond.
constexpr std::uint32_t kPiecePages = 64;
// Enough to know that something is wrong.
constexpr std::size_t kSuspectsMax = 1000;
// https://www.sqlite.org/fileformat2.html#the_database_header
constexpr std::size_t kFirstTrunkAt = 32;

std::uint32_t read_u32(ByteView page, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value = value << 8 | std::to_integer<std::uint32_t>(page[at + i]);
  return value;
}

bool is_zero(ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

}  // namespace

// A trunk page names the next one and up to some thousand freed pages.
Result<void> ResidueSearch::read_freelist(Database& database) {
  free_.clear();
  page_.resize(kPageBytes);
  if (!TRY(database.read_page(1, page_))) return {};
  std::set<std::uint32_t> seen;
  std::uint32_t trunk = read_u32(page_, kFirstTrunkAt);
  while (trunk != 0 && seen.insert(trunk).second && TRY(database.read_page(trunk, page_))) {
    const std::size_t count =
        std::min<std::size_t>(read_u32(page_, 4), kPageBytes / sizeof(std::uint32_t) - 2);
    for (std::size_t i = 0; i < count; ++i) free_.insert(read_u32(page_, 8 + 4 * i));
    trunk = read_u32(page_, 0);
  }
  return {};
}

Result<bool> ResidueSearch::has_residue(Database& database, std::uint32_t number) {
  page_.resize(kPageBytes);
  if (!TRY(database.read_page(number, page_))) return false;
  if (free_.contains(number)) return !is_zero(page_);
  cleaned_ = page_;
  zero_unused_bytes(cleaned_, number);
  return cleaned_ != page_;
}

Result<bool> ResidueSearch::look(Database& database) {
  if (next_ == 1) TRY(read_freelist(database));
  const std::uint32_t pages = TRY(database.page_count());
  const std::uint32_t end = std::min(pages, next_ + kPiecePages - 1);
  for (; next_ <= end; ++next_)
    if (TRY(has_residue(database, next_))) suspects_.insert(next_);
  return next_ > pages || suspects_.size() >= kSuspectsMax;
}

Result<void> ResidueSearch::look_again(Database& database) {
  if (suspects_.empty()) return {};
  TRY(read_freelist(database));
  std::set<std::uint32_t> confirmed;
  for (const std::uint32_t number : suspects_)
    if (TRY(has_residue(database, number))) confirmed.insert(number);
  suspects_ = std::move(confirmed);
  return {};
}

std::vector<std::string> ResidueSearch::found() const {
  std::vector<std::string> lines;
  std::vector<std::uint32_t> freed;
  std::ranges::set_intersection(suspects_, free_, std::back_inserter(freed));
  const std::size_t in_use = suspects_.size() - freed.size();
  if (in_use != 0)
    lines.push_back(
        fmt::format("{} pages hold bytes of entries that were deleted or replaced, the "
                    "first of them page {}",
                    in_use, *suspects_.begin()));
  if (!freed.empty())
    lines.push_back(fmt::format("{} freed pages were not erased, the first of them page {}",
                                freed.size(), freed.front()));
  return lines;
}

Result<std::vector<std::string>> find_files_beside(const std::string& path) {
  constexpr std::array<std::string_view, 3> kOwn = {"", "-wal", kUnsyncedSuffix};
  const std::filesystem::path own = path;
  const std::string name = own.filename().string();
  std::vector<std::string> lines;
  std::error_code error;
  std::filesystem::directory_iterator item(own.parent_path(), error);
  for (; !error && item != std::filesystem::directory_iterator(); item.increment(error)) {
    const std::string other = item->path().filename().string();
    if (!other.starts_with(name)) continue;
    if (std::ranges::find(kOwn, std::string_view(other).substr(name.size())) != kOwn.end())
      continue;
    lines.push_back(fmt::format("{} lies beside it: no rekey reaches what is in there", other));
  }
  if (error) return std::unexpected(os_error("readdir", own.parent_path().string(), error.value()));
  std::ranges::sort(lines);
  return lines;
}

}  // namespace keyward::store
