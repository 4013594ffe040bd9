#include "sed/device_node/scsi_target.h"

#include <algorithm>
#include <array>

#include "sed/device_node/ata_pass_through.h"
#include "sed/emulator/packet.h"

namespace keyward::sed {
namespace {

using emulator::append_field;
using emulator::read_field;

constexpr std::size_t kAtaBlockBytes = 512;
constexpr std::size_t kPhysicalSectorBytes = 4096;
constexpr int kNoServiceAction = -1;

unsigned at(ByteView cdb, std::size_t n) { return std::to_integer<unsigned>(cdb[n]); }

ScsiReply data_reply(Bytes data, std::size_t allocation) {
  data.resize(std::min(data.size(), allocation));
  return good_reply(std::move(data));
}

struct Blocks {
  std::uint64_t first;
  std::uint64_t count;
};

// READ and WRITE (10) and (16).
Blocks blocks_of(ByteView cdb) {
  if (cdb.size() < 16) return {read_field(cdb, 2, 4), read_field(cdb, 7, 2)};
  return {read_field(cdb, 2, 8), read_field(cdb, 10, 4)};
}

struct SecurityFields {
  std::uint8_t protocol;
  std::uint16_t specific;
  std::uint64_t bytes;
};

SecurityFields security_fields(ByteView cdb) {
  const std::uint64_t length = read_field(cdb, 6, 4);
  const bool in_blocks = (at(cdb, 4) & 0x80) != 0;
  return {static_cast<std::uint8_t>(cdb[1]), static_cast<std::uint16_t>(read_field(cdb, 2, 2)),
          in_blocks ? length * kAtaBlockBytes : length};
}

}  // namespace

// `usage` has a bit for every bit of the CDB that is looked at (SPC-5, 6.35.3).
struct ScsiTarget::Operation {
  std::uint8_t opcode;
  int service_action;
  ScsiReply (ScsiTarget::*run)(const ScsiCommand&);
  std::uint8_t cdb_bytes;
  bool sata_only;
  std::array<std::uint8_t, 16> usage;
};

std::span<const ScsiTarget::Operation> ScsiTarget::operations() {
  using T = ScsiTarget;
  constexpr int kNone = kNoServiceAction;
  static constexpr Operation kOperations[] = {
      {0x00, kNone, &T::test_unit_ready, 6, false, {0x00}},
      {0x03, kNone, &T::request_sense, 6, false, {0x03, 0, 0, 0, 0xFF}},
      {0x12, kNone, &T::inquiry, 6, false, {0x12, 0x01, 0xFF, 0xFF, 0xFF}},
      {0x1A, kNone, &T::mode_sense, 6, false, {0x1A, 0x08, 0xFF, 0xFF, 0xFF}},
      {0x25, kNone, &T::read_capacity_10, 10, false, {0x25}},
      {0x28, kNone, &T::read, 10, false, {0x28, 0, 255, 255, 255, 255, 0, 255, 255}},
      {0x2A, kNone, &T::write, 10, false, {0x2A, 0, 255, 255, 255, 255, 0, 255, 255}},
      {0x35, kNone, &T::synchronize_cache, 10, false, {0x35, 0, 255, 255, 255, 255, 0, 255, 255}},
      {0x5A, kNone, &T::mode_sense, 10, false, {0x5A, 0x08, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF}},
      {0x85,
       kNone,
       &T::pass_through,
       16,
       true,
       {0x85, 0x1F, 0x2F, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
      {0x88,
       kNone,
       &T::read,
       16,
       false,
       {0x88, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
      {0x8A,
       kNone,
       &T::write,
       16,
       false,
       {0x8A, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}},
      {0x9E,
       0x10,
       &T::read_capacity_16,
       16,
       false,
       {0x9E, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}},
      {0xA0, kNone, &T::report_luns, 12, false, {0xA0, 0, 0xFF, 0, 0, 0, 255, 255, 255, 255}},
      {0xA1,
       kNone,
       &T::pass_through,
       12,
       true,
       {0xA1, 0x1E, 0x2F, 255, 255, 255, 255, 255, 255, 255}},
      {0xA2,
       kNone,
       &T::security_receive,
       12,
       false,
       {0xA2, 0xFF, 0xFF, 0xFF, 0x80, 0, 255, 255, 255, 255}},
      {0xA3,
       0x0C,
       &T::report_operation_codes,
       12,
       false,
       {0xA3, 0x1F, 0x87, 255, 255, 255, 255, 255, 255, 255}},
      {0xB5,
       kNone,
       &T::security_send,
       12,
       false,
       {0xB5, 0xFF, 0xFF, 0xFF, 0x80, 0, 255, 255, 255, 255}},
  };
  return kOperations;
}

bool ScsiTarget::has(const Operation& operation) const { return !operation.sata_only || is_sata(); }

ScsiReply ScsiTarget::execute(const ScsiCommand& command) {
  if (command.cdb.empty()) return refused(kInvalidOpcode);
  const unsigned opcode = at(command.cdb, 0);
  bool opcode_is_known = false;
  for (const Operation& operation : operations()) {
    if (operation.opcode != opcode || !has(operation)) continue;
    opcode_is_known = true;
    if (command.cdb.size() < operation.cdb_bytes) return refused(kInvalidField);
    const int service_action = static_cast<int>(at(command.cdb, 1) & 0x1F);
    if (operation.service_action != kNoServiceAction && operation.service_action != service_action)
      continue;
    return (this->*operation.run)(
        {.cdb = command.cdb.first(operation.cdb_bytes), .data_out = command.data_out});
  }
  return refused(opcode_is_known ? kInvalidField : kInvalidOpcode);
}

ScsiReply ScsiTarget::page(IdentifyPage code, std::size_t allocation) {
  Result<Bytes> page = drive_.identify(code);
  if (page) return data_reply(*std::move(page), allocation);
  if (page.error().code == ErrorCode::unavailable) return reply_of(BusStatus::gone);
  if (page.error().code == ErrorCode::busy) return reply_of(BusStatus::busy);
  if (page.error().code == ErrorCode::timeout) return reply_of(BusStatus::timed_out);
  return refused(kInvalidField);
}

ScsiReply ScsiTarget::test_unit_ready(const ScsiCommand&) {
  return page(IdentifyPage::scsi_inquiry, 0);
}

ScsiReply ScsiTarget::request_sense(const ScsiCommand& command) {
  return data_reply(fixed_sense({}), at(command.cdb, 4));
}

ScsiReply ScsiTarget::inquiry(const ScsiCommand& command) {
  const auto allocation = static_cast<std::size_t>(read_field(command.cdb, 3, 2));
  const bool vital = (at(command.cdb, 1) & 0x01) != 0;
  if (vital) return vital_product_data(static_cast<std::uint8_t>(command.cdb[2]), allocation);
  if (command.cdb[2] != std::byte{0}) return refused(kInvalidField);
  return page(IdentifyPage::scsi_inquiry, allocation);
}

ScsiReply ScsiTarget::vital_product_data(std::uint8_t code, std::size_t allocation) {
  constexpr std::size_t kHeaderBytes = 4, kLimitsBytes = 0x40;
  Bytes made(kLimitsBytes);
  made[1] = static_cast<std::byte>(code);
  made[3] = static_cast<std::byte>(kLimitsBytes - kHeaderBytes);
  switch (code) {
    case 0x00: {
      // The drive's own pages, and those of the block device that stands in front of it.
      ScsiReply list = page(IdentifyPage::scsi_vpd_pages, kLimitsBytes);
      if (list.data.empty()) return list;
      list.data.insert(list.data.end(), {std::byte{0xB0}, std::byte{0xB1}});
      list.data[3] = static_cast<std::byte>(list.data.size() - kHeaderBytes);
      return data_reply(std::move(list.data), allocation);
    }
    case 0x80:
      return page(IdentifyPage::scsi_vpd_serial, allocation);
    case 0x83:
      return page(IdentifyPage::scsi_vpd_device, allocation);
    case 0xB0: {  // Block Limits: the longest transfer, in blocks (SBC-4, 6.6.4).
      const std::size_t blocks = kTransferBytesMax / drive_.options().sector_bytes;
      for (std::size_t n = 0; n < 4; ++n)
        made[8 + n] = static_cast<std::byte>(blocks >> (24 - 8 * n));
      return data_reply(std::move(made), allocation);
    }
    case 0xB1:  // Block Device Characteristics: does not rotate.
      made[5] = std::byte{1};
      return data_reply(std::move(made), allocation);
    default:
      return refused(kInvalidField);
  }
}

// MODE SENSE (6) and (10), without block descriptors: Caching and Control (SBC-4, 6.5.5;
// SPC-5, 7.5.8).
ScsiReply ScsiTarget::mode_sense(const ScsiCommand& command) {
  constexpr unsigned kChangeable = 1, kSaved = 3, kCaching = 0x08, kControl = 0x0A, kAll = 0x3F;
  const unsigned control = at(command.cdb, 2) >> 6, code = at(command.cdb, 2) & 0x3F;
  if (control == kSaved) return refused(kSavingNotSupported);
  if (command.cdb[3] != std::byte{0} || (code != kCaching && code != kControl && code != kAll))
    return refused(kInvalidField);
  Bytes pages;
  const auto add = [&](unsigned page_code, std::size_t size, std::byte flags) {
    append_field(page_code, 1, pages);
    append_field(size, 1, pages);
    pages.push_back(control == kChangeable ? std::byte{0} : flags);
    pages.resize(pages.size() + size - 1);
  };
  if (code != kControl) add(kCaching, 0x12, std::byte{0x04});  // WCE.
  if (code != kCaching) add(kControl, 0x0A, std::byte{0x02});  // GLTSD.
  const bool is_short = command.cdb.size() == 6;
  Bytes data;
  if (is_short) {
    append_field(3 + pages.size(), 1, data);
    append_field(0, 3, data);
  } else {
    append_field(6 + pages.size(), 2, data);
    append_field(0, 6, data);
  }
  data.insert(data.end(), pages.begin(), pages.end());
  const std::uint64_t allocation =
      is_short ? read_field(command.cdb, 4, 1) : read_field(command.cdb, 7, 2);
  return data_reply(std::move(data), static_cast<std::size_t>(allocation));
}

ScsiReply ScsiTarget::read_capacity_10(const ScsiCommand&) {
  Bytes data;
  append_field(std::min<std::uint64_t>(drive_.options().sectors - 1, 0xFFFFFFFF), 4, data);
  append_field(drive_.options().sector_bytes, 4, data);
  return good_reply(std::move(data));
}

ScsiReply ScsiTarget::read_capacity_16(const ScsiCommand& command) {
  constexpr std::size_t kCapacityBytes = 32;
  const std::size_t sector = drive_.options().sector_bytes;
  unsigned exponent = 0;
  while (sector << exponent < kPhysicalSectorBytes) ++exponent;
  Bytes data;
  append_field(drive_.options().sectors - 1, 8, data);
  append_field(sector, 4, data);
  append_field(exponent, 2, data);
  data.resize(kCapacityBytes);
  return data_reply(std::move(data), static_cast<std::size_t>(read_field(command.cdb, 10, 4)));
}

// What a SATL makes of ABRT on a locked drive is not what a SAS drive says of a locked range.
ScsiReply ScsiTarget::block_reply(BusStatus status, Bytes data) const {
  const bool no_access = status == BusStatus::locked || status == BusStatus::aborted;
  if (is_sata() && no_access) return refused(kSecurityConflict);
  ScsiReply reply = reply_of(status);
  if (status == BusStatus::good) reply.data = std::move(data);
  return reply;
}

ScsiReply ScsiTarget::read(const ScsiCommand& command) {
  const Blocks blocks = blocks_of(command.cdb);
  const std::size_t sector = drive_.options().sector_bytes;
  if (blocks.count > kTransferBytesMax / sector) return refused(kInvalidField);
  if (blocks.count == 0) return good_reply();
  Bytes data(static_cast<std::size_t>(blocks.count) * sector);
  const BusStatus status = drive_.read(blocks.first, data);
  return block_reply(status, std::move(data));
}

ScsiReply ScsiTarget::write(const ScsiCommand& command) {
  const Blocks blocks = blocks_of(command.cdb);
  const std::size_t sector = drive_.options().sector_bytes;
  if (blocks.count > kTransferBytesMax / sector) return refused(kInvalidField);
  if (blocks.count == 0) return good_reply();
  const auto size = static_cast<std::size_t>(blocks.count) * sector;
  if (command.data_out.size() < size) return refused(kDataPhaseError);
  return block_reply(drive_.write(blocks.first, command.data_out.first(size)));
}

// There is no cache: a write is in the backing file when it is answered.
ScsiReply ScsiTarget::synchronize_cache(const ScsiCommand&) { return good_reply(); }

ScsiReply ScsiTarget::report_luns(const ScsiCommand& command) {
  constexpr std::size_t kAllocationMin = 16;
  const auto allocation = static_cast<std::size_t>(read_field(command.cdb, 6, 4));
  if (allocation < kAllocationMin) return refused(kInvalidField);
  Bytes data;
  append_field(8, 4, data);  // One LUN, and it is 0.
  data.resize(kAllocationMin);
  return data_reply(std::move(data), allocation);
}

// SPC-5, 6.35: all commands, or one of them.
ScsiReply ScsiTarget::report_operation_codes(const ScsiCommand& command) {
  constexpr std::size_t kTimeoutsBytes = 12;
  const auto allocation = static_cast<std::size_t>(read_field(command.cdb, 6, 4));
  const unsigned options = at(command.cdb, 2) & 0x07;
  const bool timeouts = (at(command.cdb, 2) & 0x80) != 0;
  const auto add_timeouts = [&](Bytes& data) {  // None is known.
    if (!timeouts) return;
    append_field(kTimeoutsBytes - 2, 2, data);
    data.resize(data.size() + kTimeoutsBytes - 2);
  };
  Bytes data;
  if (options == 0) {
    for (const Operation& operation : operations()) {
      if (!has(operation)) continue;
      const bool serves_action = operation.service_action != kNoServiceAction;
      append_field(operation.opcode, 1, data);
      append_field(0, 1, data);
      append_field(serves_action ? static_cast<unsigned>(operation.service_action) : 0u, 2, data);
      append_field(0, 1, data);
      append_field((timeouts ? 2u : 0u) | (serves_action ? 1u : 0u), 1, data);
      append_field(operation.cdb_bytes, 2, data);
      add_timeouts(data);
    }
    Bytes list;
    append_field(data.size(), 4, list);
    list.insert(list.end(), data.begin(), data.end());
    return data_reply(std::move(list), allocation);
  }
  const unsigned opcode = at(command.cdb, 3);
  const auto action = static_cast<int>(read_field(command.cdb, 4, 2));
  const Operation* found = nullptr;
  for (const Operation& operation : operations()) {
    if (operation.opcode != opcode || !has(operation)) continue;
    const bool serves_action = operation.service_action != kNoServiceAction;
    if (options == 1 && serves_action) return refused(kInvalidField);
    if (options == 2 && !serves_action) return refused(kInvalidField);
    if (!serves_action || operation.service_action == action) found = &operation;
  }
  if (options > 3) return refused(kInvalidField);
  append_field(0, 1, data);
  append_field((timeouts ? 0x80u : 0u) | (found != nullptr ? 3u : 1u), 1, data);
  append_field(found != nullptr ? found->cdb_bytes : 0u, 2, data);
  if (found != nullptr)
    for (std::size_t n = 0; n < found->cdb_bytes; ++n) append_field(found->usage[n], 1, data);
  add_timeouts(data);
  return data_reply(std::move(data), allocation);
}

// A SATA drive aborts what it does not take, and the SATL can say no more than that.
ScsiReply ScsiTarget::security_reply(BusStatus status, Bytes data) const {
  ScsiReply reply = reply_of(status);
  if (status == BusStatus::good) reply.data = std::move(data);
  if (is_sata() && reply.status == kScsiCheckCondition)
    return refused(sense_code(BusStatus::aborted));
  return reply;
}

ScsiReply ScsiTarget::security_receive(const ScsiCommand& command) {
  const SecurityFields fields = security_fields(command.cdb);
  if (fields.bytes > kTransferBytesMax) return refused(kInvalidField);
  const auto size = static_cast<std::size_t>(fields.bytes);
  // TRUSTED RECEIVE moves whole blocks.
  Bytes data(is_sata() ? (size + kAtaBlockBytes - 1) / kAtaBlockBytes * kAtaBlockBytes : size);
  const BusStatus status = drive_.security_receive(fields.protocol, fields.specific, data);
  data.resize(size);
  return security_reply(status, std::move(data));
}

ScsiReply ScsiTarget::security_send(const ScsiCommand& command) {
  const SecurityFields fields = security_fields(command.cdb);
  if (fields.bytes > kTransferBytesMax) return refused(kInvalidField);
  const auto size = static_cast<std::size_t>(fields.bytes);
  if (command.data_out.size() < size) return refused(kDataPhaseError);
  return security_reply(
      drive_.security_send(fields.protocol, fields.specific, command.data_out.first(size)));
}

ScsiReply ScsiTarget::pass_through(const ScsiCommand& command) {
  return ata_pass_through(ata_, command.cdb, command.data_out);
}

}  // namespace keyward::sed
