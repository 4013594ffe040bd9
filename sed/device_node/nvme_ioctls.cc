// The NVMe driver's ioctls: commands in the structures of <linux/nvme_ioctl.h>, and resets.
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "sed/device_node/device_node.h"

namespace keyward::sed {
namespace {

constexpr std::uint32_t kNamespace = 1;

// Bits 1:0 of an opcode say where its data goes (Base 1.4, figure 139).
bool is_to_drive(std::uint8_t opcode) { return (opcode & 3) == 1; }
bool is_to_host(std::uint8_t opcode) { return (opcode & 3) == 2; }

// `Passthru` is nvme_passthru_cmd or nvme_passthru_cmd64.
template <typename Passthru>
long run(NvmeTarget& target, NvmeReply (NvmeTarget::*queue)(const NvmeCommand&),
         std::uint64_t argument, CallerMemory& memory) {
  Passthru asked{};
  if (const int code = memory.read_object(argument, asked)) return -code;
  if (asked.flags != 0) return -EINVAL;
  if (asked.data_len > NvmeTarget::kTransferBytesMax) return -EINVAL;
  Bytes data_out(is_to_drive(asked.opcode) ? asked.data_len : 0);
  if (const int code = memory.read(asked.addr, data_out)) return -code;
  const NvmeReply reply =
      (target.*queue)({.opcode = asked.opcode,
                       .namespace_id = asked.nsid,
                       .cdw10 = asked.cdw10,
                       .cdw11 = asked.cdw11,
                       .cdw12 = asked.cdw12,
                       .cdw13 = asked.cdw13,
                       .cdw14 = asked.cdw14,
                       .cdw15 = asked.cdw15,
                       .data_out = data_out,
                       .data_bytes = is_to_host(asked.opcode) ? asked.data_len : 0u});
  if (reply.bus == BusStatus::gone) return -ENODEV;
  if (reply.bus == BusStatus::timed_out) return -EINTR;  // What the driver makes of an abort.
  if (const int code = memory.write(asked.addr, reply.data)) return -code;
  asked.result = reply.result;
  if (const int code = memory.write_object(argument, asked)) return -code;
  return reply.status;
}

}  // namespace

long DeviceNode::nvme_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory) {
  switch (request) {
    case NVME_IOCTL_ID:
      return kind_ == NodeKind::nvme_namespace ? long{kNamespace} : -ENOTTY;
    case NVME_IOCTL_ADMIN_CMD:
      return run<nvme_passthru_cmd>(nvme_, &NvmeTarget::admin, argument, memory);
    case NVME_IOCTL_ADMIN64_CMD:
      return run<nvme_passthru_cmd64>(nvme_, &NvmeTarget::admin, argument, memory);
    case NVME_IOCTL_IO_CMD:
      return run<nvme_passthru_cmd>(nvme_, &NvmeTarget::io, argument, memory);
    case NVME_IOCTL_IO64_CMD:
      return run<nvme_passthru_cmd64>(nvme_, &NvmeTarget::io, argument, memory);
    case NVME_IOCTL_RESET:
    case NVME_IOCTL_SUBSYS_RESET:
      if (kind_ != NodeKind::nvme_controller) return -ENOTTY;
      drive_.hardware_reset();
      return 0;
    default:
      return -ENOTTY;
  }
}

}  // namespace keyward::sed
