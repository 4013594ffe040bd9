// SgDevice sends SCSI commands to a device node by SG_IO (version 3 of the interface), and makes
// errors of what comes back: sense data, the host adapter's status, the SCSI status.
//
//   SgDevice device(*node);
//   std::size_t size = TRY(device.read(cdb, buffer, std::chrono::seconds{30}));
//
// A unit attention says that the drive was reset, and that the command was not performed (SAM-5,
// 5.14): so it is given again, up to three times. Nothing else is. Used by one thread.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <span>

#include "sed/transport/device_node.h"

namespace keyward::sed {

using Cdb = std::span<const std::uint8_t>;

class SgDevice final {
 public:
  explicit SgDevice(DeviceNode& node) : node_(node) {}

  // How many bytes the drive has sent.
  Result<std::size_t> read(Cdb cdb, MutableByteView buffer, std::chrono::milliseconds timeout);
  Result<void> write(Cdb cdb, ByteView data, std::chrono::milliseconds timeout);
  Result<void> command(Cdb cdb, std::chrono::milliseconds timeout);

 private:
  struct Transfer {
    int direction;
    void* data;
    std::size_t size;
  };
  Result<std::size_t> run(Cdb cdb, const Transfer& transfer, std::chrono::milliseconds timeout);
  Result<std::size_t> run_once(Cdb cdb, const Transfer& transfer,
                               std::chrono::milliseconds timeout);

  DeviceNode& node_;
};

}  // namespace keyward::sed
