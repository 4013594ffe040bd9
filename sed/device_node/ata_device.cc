#include "sed/device_node/ata_device.h"

#include <algorithm>

namespace keyward::sed {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kLogBytesMax = std::size_t{32} << 20;

namespace command {
constexpr std::uint8_t kReadSectors = 0x20, kReadSectorsExt = 0x24, kReadDmaExt = 0x25,
                       kReadLogExt = 0x2F, kReadLogDmaExt = 0x47, kWriteSectors = 0x30,
                       kWriteSectorsExt = 0x34, kWriteDmaExt = 0x35, kTrustedReceive = 0x5C,
                       kTrustedReceiveDma = 0x5D, kTrustedSend = 0x5E, kTrustedSendDma = 0x5F,
                       kReadDma = 0xC8, kWriteDma = 0xCA, kCheckPowerMode = 0xE5,
                       kFlushCache = 0xE7, kFlushCacheExt = 0xEA, kIdentify = 0xEC,
                       kSetPassword = 0xF1, kUnlock = 0xF2, kErasePrepare = 0xF3, kEraseUnit = 0xF4,
                       kFreezeLock = 0xF5, kDisablePassword = 0xF6;
}  // namespace command

constexpr std::uint8_t kDirectoryLog = 0x00, kIdentifyLog = 0x30;
// Pages of the Identify Device Data log: which there are, and a copy of IDENTIFY DEVICE's.
constexpr std::uint64_t kPageList = 0, kPageCopy = 1;

std::uint8_t error_bits(BusStatus status) {
  switch (status) {
    case BusStatus::out_of_range:
      return 0x10;
    case BusStatus::media_error:
      return 0x40;
    default:
      return 0x04;
  }
}

AtaReply reply(BusStatus status, Bytes data = {}) {
  AtaReply made{.status = status};
  if (status == BusStatus::good) {
    made.data = std::move(data);
  } else {
    made.registers.status = 0x51;
    made.registers.error = error_bits(status);
  }
  return made;
}

AtaReply aborted() { return reply(BusStatus::aborted); }

bool is_extended(std::uint8_t code) {
  return code == command::kReadSectorsExt || code == command::kReadDmaExt ||
         code == command::kWriteSectorsExt || code == command::kWriteDmaExt;
}

// A count of 0 is the largest there is.
std::size_t sectors_of(const AtaCommand& asked) {
  if (is_extended(asked.command)) return asked.count == 0 ? 65536 : asked.count;
  const std::size_t count = asked.count & 0xFF;
  return count == 0 ? 256 : count;
}

// TRUSTED: bits 7:0 in COUNT, 15:8 in LBA 7:0; the ComID in LBA 23:8 (ACS-3, 7.53).
std::size_t trusted_bytes(const AtaCommand& asked) {
  return kBlockBytes * ((asked.count & 0xFF) | (asked.lba & 0xFF) << 8);
}
std::uint16_t trusted_com_id(const AtaCommand& asked) {
  return static_cast<std::uint16_t>(asked.lba >> 8);
}

}  // namespace

AtaTransfer ata_transfer(std::uint8_t code) {
  switch (code) {
    case command::kIdentify:
    case command::kReadLogExt:
    case command::kReadLogDmaExt:
    case command::kTrustedReceive:
    case command::kTrustedReceiveDma:
    case command::kReadSectors:
    case command::kReadSectorsExt:
    case command::kReadDma:
    case command::kReadDmaExt:
      return AtaTransfer::in;
    case command::kTrustedSend:
    case command::kTrustedSendDma:
    case command::kWriteSectors:
    case command::kWriteSectorsExt:
    case command::kWriteDma:
    case command::kWriteDmaExt:
    case command::kSetPassword:
    case command::kUnlock:
    case command::kEraseUnit:
    case command::kDisablePassword:
      return AtaTransfer::out;
    default:
      return AtaTransfer::none;
  }
}

AtaReply AtaDevice::execute(const AtaCommand& asked) {
  switch (asked.command) {
    case command::kIdentify:
      return identify();
    case command::kReadLogExt:
    case command::kReadLogDmaExt:
      return read_log(asked);
    case command::kTrustedReceive:
    case command::kTrustedReceiveDma:
      return trusted_receive(asked);
    case command::kTrustedSend:
    case command::kTrustedSendDma:
      return trusted_send(asked);
    case command::kReadSectors:
    case command::kReadSectorsExt:
    case command::kReadDma:
    case command::kReadDmaExt:
      return read(asked);
    case command::kWriteSectors:
    case command::kWriteSectorsExt:
    case command::kWriteDma:
    case command::kWriteDmaExt:
      return write(asked);
    case command::kCheckPowerMode: {
      AtaReply active = reply(BusStatus::good);
      active.registers.count = 0xFF;
      return active;
    }
    case command::kFlushCache:
    case command::kFlushCacheExt:
      return reply(BusStatus::good);
    default:
      return security(asked);
  }
}

AtaReply AtaDevice::identify() {
  Result<Bytes> page = drive_.identify(IdentifyPage::ata_device);
  if (page) return reply(BusStatus::good, *std::move(page));
  if (page.error().code == ErrorCode::unavailable) return reply(BusStatus::gone);
  if (page.error().code == ErrorCode::busy) return reply(BusStatus::busy);
  if (page.error().code == ErrorCode::timeout) return reply(BusStatus::timed_out);
  return aborted();
}

// Log address in LBA 7:0, page number in LBA 15:8 and 47:32 (ACS-3, 7.22).
AtaReply AtaDevice::read_log(const AtaCommand& asked) {
  const auto log = static_cast<std::uint8_t>(asked.lba);
  const std::uint64_t page = (asked.lba >> 8 & 0xFF) | (asked.lba >> 32 & 0xFFFF) << 8;
  if (asked.count == 0 || asked.count * kBlockBytes > kLogBytesMax) return aborted();
  Bytes data(asked.count * kBlockBytes);
  if (log == kDirectoryLog && page == 0 && asked.count == 1) {
    data[0] = std::byte{1};                 // Version.
    data[2 * kIdentifyLog] = std::byte{2};  // Its pages.
    return reply(BusStatus::good, std::move(data));
  }
  if (log != kIdentifyLog || page + asked.count > kPageCopy + 1) return aborted();
  for (std::size_t n = 0; n < asked.count; ++n) {
    const auto at = data.begin() + static_cast<std::ptrdiff_t>(n * kBlockBytes);
    if (page + n == kPageList) {
      constexpr std::byte kList[] = {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0},
                                     std::byte{0}, std::byte{0}, std::byte{0}, std::byte{0},
                                     std::byte{2}, std::byte{0}, std::byte{1}};
      std::ranges::copy(kList, at);
      continue;
    }
    const AtaReply copy = identify();
    if (copy.status != BusStatus::good) return copy;
    std::ranges::copy(copy.data, at);
  }
  return reply(BusStatus::good, std::move(data));
}

AtaReply AtaDevice::trusted_receive(const AtaCommand& asked) {
  Bytes data(trusted_bytes(asked));
  const BusStatus status = drive_.security_receive(static_cast<std::uint8_t>(asked.feature),
                                                   trusted_com_id(asked), data);
  return reply(status, std::move(data));
}

AtaReply AtaDevice::trusted_send(const AtaCommand& asked) {
  const std::size_t size = trusted_bytes(asked);
  if (asked.data_out.size() < size) return aborted();
  return reply(drive_.security_send(static_cast<std::uint8_t>(asked.feature), trusted_com_id(asked),
                                    asked.data_out.first(size)));
}

AtaReply AtaDevice::security(const AtaCommand& asked) {
  if (asked.command < command::kSetPassword || asked.command > command::kDisablePassword)
    return aborted();
  const bool has_data = ata_transfer(asked.command) == AtaTransfer::out;
  if (has_data && asked.data_out.size() < kBlockBytes) return aborted();
  return reply(drive_.ata_security(static_cast<AtaSecurityCommand>(asked.command),
                                   asked.data_out.first(has_data ? kBlockBytes : 0)));
}

AtaReply AtaDevice::read(const AtaCommand& asked) {
  Bytes data(sectors_of(asked) * drive_.options().sector_bytes);
  const BusStatus status = drive_.read(asked.lba, data);
  return reply(status, std::move(data));
}

AtaReply AtaDevice::write(const AtaCommand& asked) {
  const std::size_t size = sectors_of(asked) * drive_.options().sector_bytes;
  if (asked.data_out.size() < size) return aborted();
  return reply(drive_.write(asked.lba, asked.data_out.first(size)));
}

}  // namespace keyward::sed
