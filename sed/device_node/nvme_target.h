// An NvmeTarget serves NVMe commands from an emulated drive: a command and data in, status and data
// out (NVMe Base 1.4).
//
//   NvmeTarget target(drive);
//   NvmeReply reply = target.admin({.opcode = 0x06, .cdw10 = 1, .data_bytes = 4096});
//
// One namespace, number 1. One thread at a time.
#pragma once

#include <cstdint>

#include "sed/emulator/emulated_drive.h"

namespace keyward::sed {

struct NvmeCommand {
  std::uint8_t opcode = 0;
  std::uint32_t namespace_id = 0;
  std::uint32_t cdw10 = 0, cdw11 = 0, cdw12 = 0, cdw13 = 0, cdw14 = 0, cdw15 = 0;
  ByteView data_out{};         // Of a command that has some.
  std::size_t data_bytes = 0;  // How many the host takes, where the drive gives data.
};

struct NvmeReply {
  // `gone` and `timed_out`: the controller does not answer at all.
  BusStatus bus = BusStatus::good;
  // Status Code Type << 8 | Status Code, with Do Not Retry (4000h) where it applies; 0 is success.
  std::uint16_t status = 0;
  std::uint32_t result = 0;
  Bytes data{};
};

class NvmeTarget final {
 public:
  // The longest transfer of one command, as MDTS says.
  static constexpr std::size_t kTransferBytesMax = std::size_t{128} << 10;

  explicit NvmeTarget(EmulatedDrive& drive) : drive_(drive) {}
  NvmeReply admin(const NvmeCommand& command);
  NvmeReply io(const NvmeCommand& command);  // Read, write, flush.

 private:
  NvmeReply identify(const NvmeCommand& command);
  NvmeReply namespace_descriptors(const NvmeCommand& command);
  NvmeReply log_page(const NvmeCommand& command);
  NvmeReply security_send(const NvmeCommand& command);
  NvmeReply security_receive(const NvmeCommand& command);

  EmulatedDrive& drive_;
};

}  // namespace keyward::sed
