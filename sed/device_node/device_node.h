// A DeviceNode is what a program sees at /dev/sdX, /dev/nvmeX or /dev/nvmeXnY: bytes that can be
// read and written, and the ioctls that tools send (block layer, SG_IO, HDIO, NVMe).
//
//   for (DeviceNode& node : TRY(make_nodes("/dev/sdq", drive))) …
//   long got = node.read(offset, buffer);         // bytes, or -EIO where a range is locked
//
// As in the kernel, functions answer a count or a negative errno. One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sed/device_node/ata_device.h"
#include "sed/device_node/caller_memory.h"
#include "sed/device_node/nvme_target.h"
#include "sed/device_node/scsi_target.h"

namespace keyward::sed {

enum class NodeKind : std::uint8_t { scsi_disk, nvme_controller, nvme_namespace };

class DeviceNode final {
 public:
  DeviceNode(std::string path, NodeKind kind, dev_t number, EmulatedDrive& drive);

  const std::string& path() const { return path_; }
  NodeKind kind() const { return kind_; }
  dev_t number() const { return number_; }
  mode_t mode() const;               // S_IFBLK, or S_IFCHR for a controller, and 0660.
  std::uint64_t size_bytes() const;  // 0 for a controller.
  EmulatedDrive& drive() const { return drive_; }

  // At any byte. Past the end a read gives 0, a write ENOSPC.
  long read(std::uint64_t offset, MutableByteView out);
  long write(std::uint64_t offset, ByteView data);
  // ENOTTY for what the node does not know.
  long ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory);

 private:
  long block_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory);
  long zero_out(std::uint64_t argument, CallerMemory& memory);
  long scsi_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory);
  long nvme_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory);

  std::string path_;
  NodeKind kind_;
  dev_t number_;
  EmulatedDrive& drive_;
  ScsiTarget scsi_;
  AtaDevice ata_;
  NvmeTarget nvme_;
};

// The node of a SATA or SAS drive (`/dev/sd` and letters), or both nodes of an NVMe drive
// (`/dev/nvme0` or `/dev/nvme0n1`). `invalid_argument` when the name is not one of its bus.
Result<std::vector<DeviceNode>> make_nodes(std::string_view path, EmulatedDrive& drive);

// "/dev/sdb" for 1, "/dev/sdaa" for 26.
std::string sd_path(unsigned index);
std::string nvme_path(unsigned index);

// One command through the structures of <scsi/sg.h> and <linux/hdreg.h>.
long sg_io(ScsiTarget& target, std::uint64_t argument, CallerMemory& memory);
long hdio_drive_command(AtaDevice& device, std::uint64_t argument, CallerMemory& memory);

}  // namespace keyward::sed
