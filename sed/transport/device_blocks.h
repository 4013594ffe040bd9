// DeviceBlocks is a device node's BlockAccess: pread and pwrite, and, where these fail, the drive's
// own command once more. For a locked range the kernel says no more than "Input/output error"; the
// drive's status tells it from a defect. Borrows both. Used by one thread.
#pragma once

#include "sed/transport/device_node.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

class DeviceBlocks final : public BlockAccess {
 public:
  DeviceBlocks(DeviceNode& node, const BlockGeometry& geometry, SectorCommands& commands)
      : node_(node), geometry_(geometry), commands_(commands) {}

  std::uint32_t sector_bytes() const override { return geometry_.sector_bytes; }
  std::uint64_t sector_count() const override { return geometry_.sectors; }
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override;
  Result<void> write(std::uint64_t first_sector, ByteView sectors) override;
  Result<void> reread_partitions() override;

 private:
  Result<void> check(std::uint64_t first_sector, std::size_t bytes) const;

  DeviceNode& node_;
  BlockGeometry geometry_;
  SectorCommands& commands_;
};

}  // namespace keyward::sed
