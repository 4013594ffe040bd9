#include "store/sqlite/page_scanner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <unordered_map>

#include "store/sqlite/files.h"

namespace keyward::store {
namespace {

constexpr std::size_t kPieceBytes = 4u << 20;
constexpr std::size_t kFilterBits = 1u << 20;

std::uint64_t load(const std::byte* at) {
  std::uint64_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Finds the needles by their first 8 bytes: a bit filter answers for nearly every position, a hash
// table for the rest.
class NeedleIndex final {
 public:
  explicit NeedleIndex(std::span<const ByteView> needles)
      : needles_(needles), filter_(kFilterBits / 64) {
    for (std::size_t index = 0; index < needles.size(); ++index) {
      const std::uint64_t start = load(needles[index].data());
      by_start_.emplace(start, index);
      filter_[slot(start) / 64] |= std::uint64_t{1} << (slot(start) % 64);
      bytes_max_ = std::max(bytes_max_, needles[index].size());
    }
  }

  std::size_t bytes_max() const { return bytes_max_; }

  // Calls found(position, needle) for each needle that begins within the first `count` bytes.
  template <typename Found>
  void search(ByteView bytes, std::size_t count, Found&& found) const {
    for (std::size_t at = 0; at < count && at + kNeedleBytesMin <= bytes.size(); ++at) {
      const std::uint64_t start = load(&bytes[at]);
      if ((filter_[slot(start) / 64] >> (slot(start) % 64) & 1) == 0) continue;
      const auto [from, to] = by_start_.equal_range(start);
      for (auto item = from; item != to; ++item) {
        const ByteView needle = needles_[item->second];
        const ByteView rest = bytes.subspan(at);
        if (needle.size() <= rest.size() && std::ranges::equal(needle, rest.first(needle.size())))
          found(at, item->second);
      }
    }
  }

 private:
  static std::size_t slot(std::uint64_t start) {
    return static_cast<std::size_t>((start * 0x9e3779b97f4a7c15u) >> 44);  // 20 bits.
  }

  std::span<const ByteView> needles_;
  std::vector<std::uint64_t> filter_;
  std::unordered_multimap<std::uint64_t, std::size_t> by_start_;
  std::size_t bytes_max_ = 0;
};

// Reads up to the end of `buffer`, less at the end of the file.
Result<std::size_t> read_full(int descriptor, MutableByteView buffer, const std::string& path) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const ssize_t count = ::read(descriptor, &buffer[filled], buffer.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::unexpected(os_error("read", path, errno));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

Result<void> scan_descriptor(int descriptor, const std::string& path, const NeedleIndex& index,
                             std::size_t hits_max, std::vector<ScanHit>& hits) {
  // The end of one piece is looked at again with the next, for needles that lie across.
  const std::size_t overlap = index.bytes_max() - 1;
  Bytes buffer(kPieceBytes + overlap);
  std::size_t kept = 0;
  for (std::uint64_t base = 0;;) {
    const MutableByteView free = MutableByteView(buffer).subspan(kept);
    const std::size_t filled = kept + TRY(read_full(descriptor, free, path));
    const bool last = filled < buffer.size();
    const std::size_t starts = last ? filled : filled - overlap;
    index.search(ByteView(buffer).first(filled), starts, [&](std::size_t at, std::size_t needle) {
      if (hits.size() < hits_max) hits.push_back({path, base + at, needle});
    });
    if (last || hits.size() >= hits_max) return {};
    std::copy(buffer.begin() + static_cast<std::ptrdiff_t>(starts), buffer.end(), buffer.begin());
    kept = overlap;
    base += starts;
  }
}

Result<void> scan_file(const std::string& path, const NeedleIndex& index, std::size_t hits_max,
                       std::vector<ScanHit>& hits) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0 && errno == ENOENT) return {};  // Removed meanwhile.
  if (descriptor < 0) return std::unexpected(os_error("open", path, errno));
  Result<void> done = scan_descriptor(descriptor, path, index, hits_max, hits);
  ::close(descriptor);
  return done;
}

Result<std::vector<std::string>> files_below(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  std::filesystem::recursive_directory_iterator item(directory, error);
  for (; !error && item != std::filesystem::recursive_directory_iterator(); item.increment(error)) {
    std::error_code gone;
    if (item->is_regular_file(gone) && !item->is_symlink(gone)) files.push_back(item->path());
  }
  if (error) return std::unexpected(os_error("readdir", directory, error.value()));
  std::ranges::sort(files);
  return files;
}

}  // namespace

Result<std::vector<ScanHit>> scan_files_for(const std::string& directory,
                                            std::span<const ByteView> needles,
                                            std::size_t hits_max) {
  for (const ByteView needle : needles) {
    if (needle.size() < kNeedleBytesMin) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("a needle of {} bytes would be found by chance; give at least {}",
                              needle.size(), kNeedleBytesMin));
    }
  }
  std::vector<ScanHit> hits;
  if (needles.empty()) return hits;
  const NeedleIndex index(needles);
  for (const std::string& path : TRY(files_below(directory)))
    TRY(scan_file(path, index, hits_max, hits));
  return hits;
}

}  // namespace keyward::store
