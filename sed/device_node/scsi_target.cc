#include "sed/device_node/scsi_target.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "sed/device_node/ata_pass_through.h"
#include "sed/emulator/packet.h"

namespace keyward::sed {
namespace {

using emulator::append_field;
using emulator::read_field;

constexpr std::size_t kAtaBlockBytes = 512;
constexpr std::size_t kPhysicalSectorBytes = 4096;
constexpr std::size_t kVpdHeaderBytes = 4;
constexpr int kNoServiceAction = -1;

unsigned at(ByteView cdb, std::size_t n) { return std::to_integer<unsigned>(cdb[n]); }

ScsiReply data_reply(Bytes data, std::size_t allocation) {
  data.resize(std::min(data.size(), allocation));
  return good_reply(std::move(data));
}

// Of 64 bytes, as both pages of a block device have.
Bytes block_page(std::uint8_t code) {
  constexpr std::size_t kBytes = 64;
  Bytes page(kBytes);
  page[1] = static_cast<std::byte>(code);
  page[3] = static_cast<std::byte>(kBytes - kVpdHeaderBytes);
  return page;
}

// A command timeouts descriptor that knows of none.
void append_no_timeouts(Bytes& data) {
  constexpr std::size_t kDescriptorBytes = 12;
  append_field(kDescriptorBytes - 2, 2, data);
  data.resize(data.size() + kDescriptorBytes - 2);
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

// `usage` has the opcode, and a bit for every bit of the CDB that is looked at (SPC-5, 6.35.3), in
// hexadecimal digits: so it tells how long the CDB is.
struct ScsiTarget::Operation {
  std::uint8_t opcode;
  int service_action;
  ScsiReply (ScsiTarget::*run)(const ScsiCommand&);
  bool sata_only;
  std::string_view usage;

  std::size_t cdb_bytes() const { return usage.size() / 2; }
  bool has_service_action() const { return service_action != kNoServiceAction; }
};

std::span<const ScsiTarget::Operation> ScsiTarget::operations() {
  using T = ScsiTarget;
  constexpr int kNone = kNoServiceAction;
  static constexpr Operation kOperations[] = {
      {0x00, kNone, &T::test_unit_ready, false, "000000000000"},
      {0x03, kNone, &T::request_sense, false, "03000000ff00"},
      {0x12, kNone, &T::inquiry, false, "1201ffffff00"},
      {0x1A, kNone, &T::mode_sense, false, "1a08ffffff00"},
      {0x25, kNone, &T::read_capacity_10, false, "25000000000000000000"},
      {0x28, kNone, &T::read, false, "2800ffffffff00ffff00"},
      {0x2A, kNone, &T::write, false, "2a00ffffffff00ffff00"},
      {0x35, kNone, &T::synchronize_cache, false, "3500ffffffff00ffff00"},
      {0x5A, kNone, &T::mode_sense, false, "5a08ffff000000ffff00"},
      {0x85, kNone, &T::pass_through, true, "851f2fffffffffffffffffffffffff00"},
      {0x88, kNone, &T::read, false, "8800ffffffffffffffffffffffff0000"},
      {0x8A, kNone, &T::write, false, "8a00ffffffffffffffffffffffff0000"},
      {0x9E, 0x10, &T::read_capacity_16, false, "9e1f0000000000000000ffffffff0000"},
      {0xA0, kNone, &T::report_luns, false, "a00000000000ffffffff0000"},
      {0xA1, kNone, &T::pass_through, true, "a11e2fffffffffffffff0000"},
      {0xA2, kNone, &T::security_receive, false, "a2ffffff8000ffffffff0000"},
      {0xA3, 0x0C, &T::report_operation_codes, false, "a31f87ffffffffffffff0000"},
      {0xB5, kNone, &T::security_send, false, "b5ffffff8000ffffffff0000"},
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
    if (command.cdb.size() < operation.cdb_bytes()) return refused(kInvalidField);
    const int service_action = static_cast<int>(at(command.cdb, 1) & 0x1F);
    if (operation.has_service_action() && operation.service_action != service_action) continue;
    return (this->*operation.run)(
        {.cdb = command.cdb.first(operation.cdb_bytes()), .data_out = command.data_out});
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
  switch (code) {
    case 0x00:
      return vital_product_pages(allocation);
    case 0x80:
      return page(IdentifyPage::scsi_vpd_serial, allocation);
    case 0x83:
      return page(IdentifyPage::scsi_vpd_device, allocation);
    case 0xB0: {  // Block Limits: the longest transfer, in blocks (SBC-4, 6.6.4).
      Bytes limits = block_page(code);
      const std::size_t blocks = kTransferBytesMax / drive_.options().sector_bytes;
      for (std::size_t n = 0; n < 4; ++n)
        limits[8 + n] = static_cast<std::byte>(blocks >> (24 - 8 * n));
      return data_reply(std::move(limits), allocation);
    }
    case 0xB1: {  // Block Device Characteristics: it does not rotate (SBC-4, 6.6.2).
      Bytes characteristics = block_page(code);
      characteristics[5] = std::byte{1};
      return data_reply(std::move(characteristics), allocation);
    }
    default:
      return refused(kInvalidField);
  }
}

// The drive's own, and those of the block device that stands in front of it.
ScsiReply ScsiTarget::vital_product_pages(std::size_t allocation) {
  constexpr std::size_t kPagesMax = 64;
  ScsiReply list = page(IdentifyPage::scsi_vpd_pages, kPagesMax);
  if (list.data.empty()) return list;
  list.data.insert(list.data.end(), {std::byte{0xB0}, std::byte{0xB1}});
  list.data[3] = static_cast<std::byte>(list.data.size() - kVpdHeaderBytes);
  return data_reply(std::move(list.data), allocation);
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
  const auto allocation = static_cast<std::size_t>(read_field(command.cdb, 6, 4));
  const bool timeouts = (at(command.cdb, 2) & 0x80) != 0;
  if ((at(command.cdb, 2) & 0x07) != 0) return report_operation_code(command, timeouts, allocation);
  Bytes all;
  for (const Operation& operation : operations()) {
    if (!has(operation)) continue;
    const bool serves_action = operation.has_service_action();
    append_field(operation.opcode, 1, all);
    append_field(0, 1, all);
    append_field(serves_action ? static_cast<unsigned>(operation.service_action) : 0u, 2, all);
    append_field(0, 1, all);
    append_field((timeouts ? 2u : 0u) | (serves_action ? 1u : 0u), 1, all);
    append_field(operation.cdb_bytes(), 2, all);
    if (timeouts) append_no_timeouts(all);
  }
  Bytes list;
  append_field(all.size(), 4, list);
  list.insert(list.end(), all.begin(), all.end());
  return data_reply(std::move(list), allocation);
}

ScsiReply ScsiTarget::report_operation_code(const ScsiCommand& command, bool timeouts,
                                            std::size_t allocation) const {
  constexpr unsigned kWithoutAction = 1, kWithAction = 2, kEither = 3, kSupported = 3,
                     kNotSupported = 1;
  const unsigned options = at(command.cdb, 2) & 0x07, opcode = at(command.cdb, 3);
  const auto action = static_cast<int>(read_field(command.cdb, 4, 2));
  if (options > kEither) return refused(kInvalidField);
  const Operation* found = nullptr;
  for (const Operation& operation : operations()) {
    if (operation.opcode != opcode || !has(operation)) continue;
    const unsigned misfit = operation.has_service_action() ? kWithoutAction : kWithAction;
    if (options == misfit) return refused(kInvalidField);
    if (!operation.has_service_action() || operation.service_action == action) found = &operation;
  }
  Bytes data;
  append_field(0, 1, data);
  append_field((timeouts ? 0x80u : 0u) | (found != nullptr ? kSupported : kNotSupported), 1, data);
  append_field(found != nullptr ? found->cdb_bytes() : 0u, 2, data);
  if (found != nullptr) {
    const Bytes usage = from_hex(found->usage).value();
    data.insert(data.end(), usage.begin(), usage.end());
  }
  if (timeouts) append_no_timeouts(data);
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
