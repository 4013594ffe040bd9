// The transport for a device node: NVMe by its name, SCSI else.
//
//   auto transport = TRY(open_device("/dev/disk/by-id/wwn-0x5000c500a0000001"));
#pragma once

#include <memory>
#include <string>

#include "sed/transport/device_node.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

// Links are followed. `busy` when another process speaks to the drive.
Result<std::unique_ptr<SecurityTransport>> open_device(const std::string& path);

Result<std::unique_ptr<SecurityTransport>> speak_to(std::unique_ptr<DeviceNode> node);

}  // namespace keyward::sed
