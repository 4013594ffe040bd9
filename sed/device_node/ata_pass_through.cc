#include "sed/device_node/ata_pass_through.h"

namespace keyward::sed {
namespace {

constexpr std::byte kPassThrough16{0x85};
constexpr std::size_t kDescriptorBytes = 14;
constexpr std::size_t kDescriptorSenseHeaderBytes = 8;

struct PassThrough {
  unsigned protocol = 0;
  bool extended = false;
  bool check_condition = false;
  bool to_host = false;
  unsigned length_field = 0;  // 0: no data.
  AtaCommand command{};
};

unsigned at(ByteView cdb, std::size_t n) { return std::to_integer<unsigned>(cdb[n]); }

PassThrough parse(ByteView cdb) {
  PassThrough parsed;
  parsed.protocol = at(cdb, 1) >> 1 & 0x0F;
  parsed.check_condition = (at(cdb, 2) & 0x20) != 0;
  parsed.to_host = (at(cdb, 2) & 0x08) != 0;
  parsed.length_field = at(cdb, 2) & 0x03;
  AtaCommand& command = parsed.command;
  if (cdb[0] != kPassThrough16) {
    command.feature = static_cast<std::uint16_t>(at(cdb, 3));
    command.count = static_cast<std::uint16_t>(at(cdb, 4));
    command.lba = at(cdb, 5) | at(cdb, 6) << 8 | at(cdb, 7) << 16 | (at(cdb, 8) & 0x0F) << 24;
    command.command = static_cast<std::uint8_t>(cdb[9]);
    return parsed;
  }
  parsed.extended = (at(cdb, 1) & 0x01) != 0;
  command.feature = static_cast<std::uint16_t>(at(cdb, 4));
  command.count = static_cast<std::uint16_t>(at(cdb, 6));
  command.lba = at(cdb, 8) | at(cdb, 10) << 8 | at(cdb, 12) << 16;
  command.command = static_cast<std::uint8_t>(cdb[14]);
  if (!parsed.extended) {
    command.lba |= std::uint64_t{at(cdb, 13) & 0x0F} << 24;
    return parsed;
  }
  command.feature = static_cast<std::uint16_t>(command.feature | at(cdb, 3) << 8);
  command.count = static_cast<std::uint16_t>(command.count | at(cdb, 5) << 8);
  command.lba |= std::uint64_t{at(cdb, 7)} << 24 | std::uint64_t{at(cdb, 9)} << 32 |
                 std::uint64_t{at(cdb, 11)} << 40;
  return parsed;
}

// SAT-3, table 140: what the PROTOCOL field says about data.
bool protocol_moves(unsigned protocol, AtaTransfer& transfer) {
  switch (protocol) {
    case 3:  // Non-data.
      transfer = AtaTransfer::none;
      return true;
    case 4:   // PIO data-in.
    case 10:  // UDMA data-in.
      transfer = AtaTransfer::in;
      return true;
    case 5:   // PIO data-out.
    case 11:  // UDMA data-out.
      transfer = AtaTransfer::out;
      return true;
    default:
      return false;
  }
}

bool is_consistent(const PassThrough& asked) {
  constexpr unsigned kDma = 6;
  const AtaTransfer of_command = ata_transfer(asked.command.command);
  AtaTransfer transfer = asked.to_host ? AtaTransfer::in : AtaTransfer::out;
  if (asked.protocol != kDma && !protocol_moves(asked.protocol, transfer)) return false;
  if (transfer == AtaTransfer::none) return of_command == AtaTransfer::none;
  if (asked.length_field == 0 || asked.to_host != (transfer == AtaTransfer::in)) return false;
  // A command that the drive does not know is the drive's to abort.
  return of_command == transfer || of_command == AtaTransfer::none;
}

SenseCode sense_of(const AtaRegisters& registers) {
  if ((registers.status & 0x01) == 0) return {0x01, 0x00, 0x1D};  // ATA information is there.
  if ((registers.error & 0x40) != 0) return {0x03, 0x11, 0x04};
  if ((registers.error & 0x10) != 0) return {0x05, 0x21, 0x00};
  return {0x0B, 0x00, 0x00};
}

// SAT-3, 12.2.6: the ATA Status Return descriptor.
Bytes descriptor_sense(const AtaRegisters& registers, bool extended) {
  const SenseCode code = sense_of(registers);
  Bytes sense(kDescriptorSenseHeaderBytes + kDescriptorBytes);
  const auto put = [&](std::size_t n, std::uint64_t value) {
    sense[n] = static_cast<std::byte>(value);
  };
  put(0, 0x72);
  put(1, code.key);
  put(2, code.additional);
  put(3, code.qualifier);
  put(7, kDescriptorBytes);
  put(8, 0x09);
  put(9, kDescriptorBytes - 2);
  put(10, extended ? 1 : 0);
  put(11, registers.error);
  put(13, registers.count);
  put(15, registers.lba);
  put(17, registers.lba >> 8);
  put(19, registers.lba >> 16);
  if (extended) {
    put(12, registers.count >> 8);
    put(14, registers.lba >> 24);
    put(16, registers.lba >> 32);
    put(18, registers.lba >> 40);
  }
  put(20, registers.device);
  put(21, registers.status);
  return sense;
}

}  // namespace

ScsiReply ata_pass_through(AtaDevice& device, ByteView cdb, ByteView data_out) {
  PassThrough asked = parse(cdb);
  if (!is_consistent(asked)) return refused(kInvalidField);
  asked.command.data_out = data_out;
  AtaReply reply = device.execute(asked.command);
  switch (reply.status) {
    case BusStatus::busy:
    case BusStatus::gone:
    case BusStatus::timed_out:
      return reply_of(reply.status);
    default:
      break;
  }
  ScsiReply made{.data = std::move(reply.data)};
  if (reply.status != BusStatus::good || asked.check_condition) {
    made.status = kScsiCheckCondition;
    made.sense = descriptor_sense(reply.registers, asked.extended);
  }
  return made;
}

}  // namespace keyward::sed
