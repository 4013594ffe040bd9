#include "sed/device_node/nvme_target.h"

#include <algorithm>

#include "base/text.h"

namespace keyward::sed {
namespace {

constexpr std::uint8_t kGetLogPage = 0x02, kIdentify = 0x06, kSecuritySend = 0x81,
                       kSecurityReceive = 0x82;
constexpr std::uint8_t kFlush = 0x00, kWrite = 0x01, kRead = 0x02;
constexpr std::uint16_t kInvalidOpcode = 0x01, kInvalidField = 0x02, kInvalidNamespace = 0x0B,
                        kInvalidLogPage = 0x109, kDoNotRetry = 0x4000;
constexpr std::size_t kPageBytes = 4096;
constexpr std::uint32_t kNamespace = 1, kAllNamespaces = 0xFFFFFFFF;

NvmeReply failed(std::uint16_t status) {
  return {.status = static_cast<std::uint16_t>(status | kDoNotRetry)};
}

NvmeReply reply_of(BusStatus status, Bytes data = {}) {
  if (status == BusStatus::good) return {.data = std::move(data)};
  if (status == BusStatus::gone || status == BusStatus::timed_out) return {.bus = status};
  const NvmeStatus code = nvme_status(status);
  const auto number = static_cast<std::uint16_t>(code.type << 8 | code.code);
  if (status == BusStatus::busy) return {.status = number};
  return failed(number);
}

NvmeReply data_reply(Bytes data, const NvmeCommand& command) {
  data.resize(std::min(data.size(), command.data_bytes));
  return {.data = std::move(data)};
}

bool is_namespace(const NvmeCommand& command) {
  return command.namespace_id == kNamespace || command.namespace_id == kAllNamespaces;
}

BusStatus bus_status(const Error& error) {
  if (error.code == ErrorCode::unavailable) return BusStatus::gone;
  if (error.code == ErrorCode::busy) return BusStatus::busy;
  if (error.code == ErrorCode::timeout) return BusStatus::timed_out;
  return BusStatus::aborted;
}

}  // namespace

NvmeReply NvmeTarget::admin(const NvmeCommand& command) {
  switch (command.opcode) {
    case kGetLogPage:
      return log_page(command);
    case kIdentify:
      return identify(command);
    case kSecuritySend:
      return security_send(command);
    case kSecurityReceive:
      return security_receive(command);
    default:
      return failed(kInvalidOpcode);
  }
}

NvmeReply NvmeTarget::identify(const NvmeCommand& command) {
  constexpr unsigned kCnsNamespace = 0, kCnsController = 1, kCnsActive = 2, kCnsDescriptors = 3;
  const unsigned structure = command.cdw10 & 0xFF;
  if (structure == kCnsActive) {
    Bytes list(kPageBytes);
    if (command.namespace_id < kNamespace) list[0] = static_cast<std::byte>(kNamespace);
    return data_reply(std::move(list), command);
  }
  if (structure == kCnsDescriptors) return namespace_descriptors(command);
  if (structure != kCnsNamespace && structure != kCnsController) return failed(kInvalidField);
  if (structure == kCnsNamespace && !is_namespace(command)) return failed(kInvalidNamespace);
  Result<Bytes> page = drive_.identify(structure == kCnsController ? IdentifyPage::nvme_controller
                                                                   : IdentifyPage::nvme_namespace);
  if (!page) return reply_of(bus_status(page.error()));
  return data_reply(*std::move(page), command);
}

// Base 1.4, figure 247: the namespace's EUI-64 or NGUID.
NvmeReply NvmeTarget::namespace_descriptors(const NvmeCommand& command) {
  constexpr std::byte kEui64{1}, kNguid{2};
  if (command.namespace_id != kNamespace) return failed(kInvalidNamespace);
  Bytes list(kPageBytes);
  const Bytes name = from_hex(drive_.options().identity.wwn).value_or(Bytes{});
  if (!name.empty()) {
    list[0] = name.size() == 8 ? kEui64 : kNguid;
    list[1] = static_cast<std::byte>(name.size());
    std::ranges::copy(name, list.begin() + 4);
  }
  return data_reply(std::move(list), command);
}

// Error information (nothing happened), SMART (healthy), firmware slots (one).
NvmeReply NvmeTarget::log_page(const NvmeCommand& command) {
  constexpr unsigned kErrors = 1, kSmart = 2, kFirmware = 3;
  constexpr std::size_t kLogBytes = 512, kErrorEntries = 64, kErrorEntryBytes = 64;
  const unsigned log = command.cdw10 & 0xFF;
  Bytes page(log == kErrors ? kErrorEntries * kErrorEntryBytes : kLogBytes);
  switch (log) {
    case kErrors:
      break;
    case kSmart:
      page[1] = std::byte{0x36};  // 310 K.
      page[2] = std::byte{0x01};
      page[3] = std::byte{100};  // Spare, and what is its threshold.
      page[4] = std::byte{10};
      break;
    case kFirmware:
      page[0] = std::byte{1};
      std::ranges::copy(as_bytes(drive_.options().identity.firmware.substr(0, 8)),
                        page.begin() + 8);
      break;
    default:
      return failed(kInvalidLogPage);
  }
  const std::uint64_t offset = command.cdw12 | std::uint64_t{command.cdw13} << 32;
  const std::uint64_t words = (command.cdw10 >> 16 | (command.cdw11 & 0xFFFF) << 16) + 1ull;
  if (offset % 4 != 0 || offset > page.size()) return failed(kInvalidField);
  page.erase(page.begin(), page.begin() + static_cast<std::ptrdiff_t>(offset));
  // What lies behind the page's end is nothing in particular: zeros.
  page.resize(std::min<std::size_t>(words * 4, kTransferBytesMax));
  return data_reply(std::move(page), command);
}

// SECP in bits 31:24 of CDW10, SPSP in 23:8; the length in CDW11 (Base 1.4, 5.25).
NvmeReply NvmeTarget::security_send(const NvmeCommand& command) {
  if (command.cdw11 > command.data_out.size()) return failed(kInvalidField);
  return reply_of(drive_.security_send(static_cast<std::uint8_t>(command.cdw10 >> 24),
                                       static_cast<std::uint16_t>(command.cdw10 >> 8),
                                       command.data_out.first(command.cdw11)));
}

NvmeReply NvmeTarget::security_receive(const NvmeCommand& command) {
  if (command.cdw11 > kTransferBytesMax || command.cdw11 > command.data_bytes)
    return failed(kInvalidField);
  Bytes data(command.cdw11);
  const BusStatus status =
      drive_.security_receive(static_cast<std::uint8_t>(command.cdw10 >> 24),
                              static_cast<std::uint16_t>(command.cdw10 >> 8), data);
  return reply_of(status, std::move(data));
}

NvmeReply NvmeTarget::io(const NvmeCommand& command) {
  if (command.opcode == kFlush) return {};
  if (command.opcode != kRead && command.opcode != kWrite) return failed(kInvalidOpcode);
  if (command.namespace_id != kNamespace) return failed(kInvalidNamespace);
  const std::uint64_t first = command.cdw10 | std::uint64_t{command.cdw11} << 32;
  const std::size_t blocks = (command.cdw12 & 0xFFFF) + 1;
  const std::size_t size = blocks * drive_.options().sector_bytes;
  if (size > kTransferBytesMax) return failed(kInvalidField);
  if (command.opcode == kWrite) {
    if (command.data_out.size() < size) return failed(kInvalidField);
    return reply_of(drive_.write(first, command.data_out.first(size)));
  }
  Bytes data(size);
  const BusStatus status = drive_.read(first, data);
  if (status != BusStatus::good) return reply_of(status);
  return data_reply(std::move(data), command);
}

}  // namespace keyward::sed
