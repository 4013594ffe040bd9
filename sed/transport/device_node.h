// A DeviceNode is the operating system's side of a drive: /dev/sdb, /dev/sg3, /dev/nvme0n1. The
// transports make their requests through it, so that tests can read these byte for byte.
//
//   std::unique_ptr<DeviceNode> node = TRY(DeviceNode::open("/dev/sdb"));
//   TRY(node->ioctl(SG_IO, &request));
//
// Errors: `unavailable` (gone), `busy`, `timeout`, `not_permitted` (no access, or a capability is
// missing), `unsupported` (no such request), `io`; Error::native is errno. Used by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::sed {

struct BlockGeometry {
  std::uint32_t sector_bytes;
  std::uint64_t sectors;
};

class DeviceNode {
 public:
  virtual ~DeviceNode() = default;

  // Takes the node's lock, flock(2), which keeps udev from probing the drive meanwhile: `busy` when
  // another process has it. It is opened for reading, except /dev/sgN: closing a block device
  // that was open for writing makes udev look at the drive again.
  static Result<std::unique_ptr<DeviceNode>> open(const std::string& path);

  virtual const std::string& path() const = 0;
  // What the kernel knows of the sectors, without asking the drive. None: no block device.
  virtual std::optional<BlockGeometry> geometry() = 0;

  // The call's own result where it is not negative. Never made twice, whatever interrupts it.
  virtual Result<int> ioctl(unsigned long request, void* argument) = 0;
  // Whole sectors, past the page cache.
  virtual Result<void> pread(std::uint64_t offset, MutableByteView bytes) = 0;
  virtual Result<void> pwrite(std::uint64_t offset, ByteView bytes) = 0;
};

// The drive's own commands for sectors. They tell why the drive refuses, which errno does not.
class SectorCommands {
 public:
  virtual ~SectorCommands() = default;
  // At most kSectorCommandBytes.
  virtual Result<void> read_sectors(std::uint64_t first, MutableByteView sectors) = 0;
  virtual Result<void> write_sectors(std::uint64_t first, ByteView sectors) = 0;
};
inline constexpr std::size_t kSectorCommandBytes = 64u << 10;

}  // namespace keyward::sed
