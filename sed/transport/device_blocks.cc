#include "sed/transport/device_blocks.h"

#include <fmt/format.h>
#include <linux/fs.h>

#include <algorithm>

namespace keyward::sed {
namespace {

// `io` is what errno says of any refusal of the drive.
bool needs_explanation(const Result<void>& done) {
  return !done && done.error().code == ErrorCode::io;
}

}  // namespace

Result<void> DeviceBlocks::check(std::uint64_t first_sector, std::size_t bytes) const {
  const std::uint64_t count = bytes / geometry_.sector_bytes;
  if (bytes == 0 || bytes % geometry_.sector_bytes != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("sectors have {} bytes", geometry_.sector_bytes));
  if (first_sector > geometry_.sectors || count > geometry_.sectors - first_sector)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the drive has {} sectors", geometry_.sectors));
  return {};
}

Result<void> DeviceBlocks::read(std::uint64_t first_sector, MutableByteView sectors) {
  TRY(check(first_sector, sectors.size()));
  Result<void> done = node_.pread(first_sector * geometry_.sector_bytes, sectors);
  if (!needs_explanation(done)) return done;
  while (!sectors.empty()) {
    const MutableByteView part = sectors.first(std::min(sectors.size(), kSectorCommandBytes));
    TRY(commands_.read_sectors(first_sector, part));
    sectors = sectors.subspan(part.size());
    first_sector += part.size() / geometry_.sector_bytes;
  }
  return {};
}

Result<void> DeviceBlocks::write(std::uint64_t first_sector, ByteView sectors) {
  TRY(check(first_sector, sectors.size()));
  Result<void> done = node_.pwrite(first_sector * geometry_.sector_bytes, sectors);
  if (!needs_explanation(done)) return done;
  while (!sectors.empty()) {
    const ByteView part = sectors.first(std::min(sectors.size(), kSectorCommandBytes));
    TRY(commands_.write_sectors(first_sector, part));
    sectors = sectors.subspan(part.size());
    first_sector += part.size() / geometry_.sector_bytes;
  }
  return {};
}

Result<void> DeviceBlocks::reread_partitions() {
  const Result<int> done = node_.ioctl(BLKRRPART, nullptr);
  if (done) return {};
  if (done.error().code == ErrorCode::busy)
    return fail(ErrorCode::busy, "ioctl BLKRRPART: a partition of the drive is in use", "ioctl",
                done.error().native);
  return std::unexpected(done.error());
}

}  // namespace keyward::sed
