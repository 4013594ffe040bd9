// An AtaDevice serves ATA commands from an emulated drive: registers and data in, registers and
// data out (ACS-3, 7).
//
//   AtaDevice device(drive);
//   AtaReply reply = device.execute({.command = 0xEC});       // IDENTIFY DEVICE
//   reply.registers.status                                    // 50h, or 51h with an error
//
// What it does not know is aborted, as by a real drive. One thread at a time.
#pragma once

#include <cstdint>

#include "sed/emulator/emulated_drive.h"

namespace keyward::sed {

struct AtaCommand {
  std::uint8_t command = 0;
  std::uint16_t feature = 0;
  std::uint16_t count = 0;
  std::uint64_t lba = 0;
  ByteView data_out{};
};

struct AtaRegisters {
  std::uint8_t status = 0x50;  // DRDY and a bit that is always there; ERR is 01h.
  std::uint8_t error = 0;      // ABRT 04h, IDNF 10h, UNC 40h.
  std::uint16_t count = 0;
  std::uint64_t lba = 0;
  std::uint8_t device = 0x40;
};

struct AtaReply {
  // `busy`, `gone` and `timed_out` say that there are no registers, and no other answer.
  BusStatus status = BusStatus::good;
  AtaRegisters registers{};
  Bytes data{};
};

enum class AtaTransfer : std::uint8_t { none, in, out };
// Of the commands that are known; `none` for any other.
AtaTransfer ata_transfer(std::uint8_t command);

class AtaDevice final {
 public:
  explicit AtaDevice(EmulatedDrive& drive) : drive_(drive) {}
  AtaReply execute(const AtaCommand& command);

 private:
  AtaReply identify();
  AtaReply read_log(const AtaCommand& command);
  AtaReply trusted_receive(const AtaCommand& command);
  AtaReply trusted_send(const AtaCommand& command);
  AtaReply security(const AtaCommand& command);
  AtaReply read(const AtaCommand& command);
  AtaReply write(const AtaCommand& command);

  EmulatedDrive& drive_;
};

}  // namespace keyward::sed
