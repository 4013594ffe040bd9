#include "sed/device_node/device_node.h"

#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

namespace keyward::sed {
namespace {

constexpr std::string_view kSd = "/dev/sd", kNvme = "/dev/nvme";
constexpr std::uint32_t kPhysicalSectorBytes = 4096;
constexpr unsigned kIndexMax = 255;
// NVMe's numbers are handed out by the kernel as it likes; these are where it usually begins.
constexpr unsigned kNvmeControllerMajor = 241, kNvmeNamespaceMajor = 259;

// Documentation/admin-guide/devices.txt: 16 disks a major, 8, 65 to 71, 128 to 135.
dev_t sd_number(unsigned index) {
  const unsigned group = index / 16, minor_number = index % 16 * 16;
  if (group == 0) return makedev(8, minor_number);
  return makedev(group < 8 ? 64 + group : 120 + group, minor_number);
}

std::optional<unsigned> sd_index(std::string_view letters) {
  if (letters.empty() || letters.size() > 2) return std::nullopt;
  unsigned index = 0;
  for (const char letter : letters) {
    if (letter < 'a' || letter > 'z') return std::nullopt;
    index = index * 26 + static_cast<unsigned>(letter - 'a') + 1;
  }
  if (index - 1 > kIndexMax) return std::nullopt;
  return index - 1;
}

// "3" or "3n1".
std::optional<unsigned> nvme_index(std::string_view text) {
  unsigned index = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (code != std::errc{} || index > kIndexMax) return std::nullopt;
  const std::string_view rest(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (fmt::to_string(index).size() + rest.size() != text.size()) return std::nullopt;
  if (!rest.empty() && rest != "n1") return std::nullopt;
  return index;
}

long error_number(BusStatus status) { return status == BusStatus::out_of_range ? ENXIO : EIO; }

}  // namespace

std::string sd_path(unsigned index) {
  std::string letters;
  for (unsigned left = index + 1; left > 0; left = (left - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (left - 1) % 26));
  return std::string(kSd) + letters;
}

std::string nvme_path(unsigned index) { return fmt::format("{}{}n1", kNvme, index); }

Result<std::vector<DeviceNode>> make_nodes(std::string_view path, EmulatedDrive& drive) {
  std::vector<DeviceNode> nodes;
  if (drive.options().bus == Bus::nvme) {
    const std::optional<unsigned> index =
        path.starts_with(kNvme) ? nvme_index(path.substr(kNvme.size())) : std::nullopt;
    if (!index)
      return fail(ErrorCode::invalid_argument,
                  fmt::format("{}: an NVMe drive's node is /dev/nvme0n1, or another number", path));
    nodes.emplace_back(fmt::format("{}{}", kNvme, *index), NodeKind::nvme_controller,
                       makedev(kNvmeControllerMajor, *index), drive);
    nodes.emplace_back(nvme_path(*index), NodeKind::nvme_namespace,
                       makedev(kNvmeNamespaceMajor, *index), drive);
    return nodes;
  }
  const std::optional<unsigned> index =
      path.starts_with(kSd) ? sd_index(path.substr(kSd.size())) : std::nullopt;
  if (!index)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: a SATA or SAS drive's node is /dev/sda to /dev/sdiv", path));
  nodes.emplace_back(std::string(path), NodeKind::scsi_disk, sd_number(*index), drive);
  return nodes;
}

DeviceNode::DeviceNode(std::string path, NodeKind kind, dev_t number, EmulatedDrive& drive)
    : path_(std::move(path)),
      kind_(kind),
      number_(number),
      drive_(drive),
      scsi_(drive),
      ata_(drive),
      nvme_(drive) {}

mode_t DeviceNode::mode() const {
  return (kind_ == NodeKind::nvme_controller ? S_IFCHR : S_IFBLK) | 0660;
}

std::uint64_t DeviceNode::size_bytes() const {
  if (kind_ == NodeKind::nvme_controller) return 0;
  return drive_.options().sectors * drive_.options().sector_bytes;
}

long DeviceNode::read(std::uint64_t offset, MutableByteView out) {
  if (kind_ == NodeKind::nvme_controller) return -EINVAL;
  if (offset >= size_bytes() || out.empty()) return 0;
  const std::uint64_t sector = drive_.options().sector_bytes;
  out = out.first(std::min<std::uint64_t>(out.size(), size_bytes() - offset));
  const std::uint64_t first = offset / sector, end = (offset + out.size() + sector - 1) / sector;
  if (offset % sector == 0 && out.size() % sector == 0) {
    const BusStatus status = drive_.read(first, out);
    return status == BusStatus::good ? static_cast<long>(out.size()) : -error_number(status);
  }
  Bytes whole((end - first) * sector);
  const BusStatus status = drive_.read(first, whole);
  if (status != BusStatus::good) return -error_number(status);
  std::ranges::copy(std::span(whole).subspan(offset - first * sector, out.size()), out.begin());
  return static_cast<long>(out.size());
}

long DeviceNode::write(std::uint64_t offset, ByteView data) {
  if (kind_ == NodeKind::nvme_controller) return -EINVAL;
  if (data.empty()) return 0;
  if (offset >= size_bytes()) return -ENOSPC;
  const std::uint64_t sector = drive_.options().sector_bytes;
  data = data.first(std::min<std::uint64_t>(data.size(), size_bytes() - offset));
  const std::uint64_t first = offset / sector, end = (offset + data.size() + sector - 1) / sector;
  BusStatus status = BusStatus::good;
  if (offset % sector == 0 && data.size() % sector == 0) {
    status = drive_.write(first, data);
  } else {
    // As through the page cache: what stands around the bytes is read first.
    Bytes whole((end - first) * sector);
    status = drive_.read(first, whole);
    if (status != BusStatus::good) return -error_number(status);
    std::ranges::copy(data, whole.begin() + static_cast<std::ptrdiff_t>(offset - first * sector));
    status = drive_.write(first, whole);
  }
  return status == BusStatus::good ? static_cast<long>(data.size()) : -error_number(status);
}

long DeviceNode::ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory) {
  // The kernel looks at 32 bits, whatever a C library has sign-extended.
  request &= 0xFFFFFFFF;
  if (kind_ != NodeKind::nvme_controller) {
    const long code = block_ioctl(request, argument, memory);
    if (code != -ENOTTY) return code;
  }
  if (kind_ == NodeKind::scsi_disk) return scsi_ioctl(request, argument, memory);
  return nvme_ioctl(request, argument, memory);
}

long DeviceNode::block_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory) {
  const auto answer = [&](auto value) -> long { return -memory.write_object(argument, value); };
  switch (request) {
    case BLKGETSIZE64:
      return answer(size_bytes());
    case BLKGETSIZE:
      return answer(static_cast<unsigned long>(size_bytes() / 512));
    case BLKSSZGET:
      return answer(static_cast<int>(drive_.options().sector_bytes));
    case BLKBSZGET:
      return answer(static_cast<int>(kPhysicalSectorBytes));
    case BLKPBSZGET:
    case BLKIOMIN:
      return answer(kPhysicalSectorBytes);
    case BLKIOOPT:
    case BLKDISCARDZEROES:
      return answer(0u);
    case BLKALIGNOFF:
    case BLKROGET:
      return answer(0);
    case BLKROTATIONAL:
      return answer(static_cast<unsigned short>(0));
    case BLKSECTGET:
      return answer(static_cast<unsigned short>(256));
    case BLKRAGET:
    case BLKFRAGET:
      return answer(256L);
    case BLKFLSBUF:
    case BLKRRPART:
    case BLKRASET:
    case BLKFRASET:
    case BLKBSZSET:
      return 0;
    case BLKDISCARD:
    case BLKSECDISCARD:
      return -EOPNOTSUPP;
    case BLKZEROOUT:
      return zero_out(argument, memory);
    default:
      return -ENOTTY;
  }
}

long DeviceNode::zero_out(std::uint64_t argument, CallerMemory& memory) {
  struct {
    std::uint64_t start, length;
  } range{};
  if (const int code = memory.read_object(argument, range)) return -code;
  if (range.start % 512 != 0 || range.length % 512 != 0 || range.start > size_bytes() ||
      range.length > size_bytes() - range.start)
    return -EINVAL;
  const Bytes zeros(std::min<std::uint64_t>(range.length, 1u << 20));
  while (range.length != 0) {
    const ByteView part =
        ByteView(zeros).first(std::min<std::uint64_t>(range.length, zeros.size()));
    const long written = write(range.start, part);
    if (written < 0) return written;
    range.start += static_cast<std::uint64_t>(written);
    range.length -= static_cast<std::uint64_t>(written);
  }
  return 0;
}

}  // namespace keyward::sed
