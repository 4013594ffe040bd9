#include "sed/transport/ata_pass_through.h"

namespace keyward::sed {
namespace {

constexpr std::uint8_t kErasePrepare = 0xF3, kFreezeLock = 0xF5;

std::uint8_t protocol_byte(AtaProtocol protocol) {
  return static_cast<std::uint8_t>(static_cast<unsigned>(protocol) << 1);
}

// T_LENGTH 2 and BYT_BLOK: the count is the length, in blocks. T_DIR: from the drive.
std::uint8_t transfer_byte(AtaProtocol protocol) {
  if (protocol == AtaProtocol::non_data) return 0x00;
  return protocol == AtaProtocol::pio_in ? 0x0E : 0x06;
}

}  // namespace

AtaCdb ata_cdb_16(const AtaCommand& c) {
  AtaCdb cdb{.data = {0x85, protocol_byte(c.protocol), transfer_byte(c.protocol)}, .size = 16};
  cdb.data[4] = c.feature;
  cdb.data[6] = c.count;
  cdb.data[8] = c.lba_low;
  cdb.data[10] = c.lba_mid;
  cdb.data[12] = c.lba_high;
  cdb.data[14] = c.command;
  return cdb;
}

AtaCdb ata_cdb_12(const AtaCommand& c) {
  AtaCdb cdb{.data = {0xA1, protocol_byte(c.protocol), transfer_byte(c.protocol)}, .size = 12};
  cdb.data[3] = c.feature;
  cdb.data[4] = c.count;
  cdb.data[5] = c.lba_low;
  cdb.data[6] = c.lba_mid;
  cdb.data[7] = c.lba_high;
  cdb.data[9] = c.command;
  return cdb;
}

AtaCommand ata_identify() { return {.command = 0xEC, .count = 1, .protocol = AtaProtocol::pio_in}; }

AtaCommand ata_trusted(bool is_send, std::uint8_t protocol, std::uint16_t specific,
                       std::size_t blocks) {
  constexpr std::uint8_t kNonData = 0x5B, kReceive = 0x5C, kSend = 0x5E;
  AtaCommand command{.command = is_send ? kSend : kReceive,
                     .feature = protocol,
                     .count = static_cast<std::uint8_t>(blocks),
                     .lba_mid = static_cast<std::uint8_t>(specific),
                     .lba_high = static_cast<std::uint8_t>(specific >> 8),
                     .protocol = is_send ? AtaProtocol::pio_out : AtaProtocol::pio_in};
  if (blocks == 0) {
    command.command = kNonData;
    command.protocol = AtaProtocol::non_data;
  }
  return command;
}

AtaCommand ata_security(std::uint8_t command) {
  if (command == kErasePrepare || command == kFreezeLock) return {.command = command};
  return {.command = command, .count = 1, .protocol = AtaProtocol::pio_out};
}

}  // namespace keyward::sed
