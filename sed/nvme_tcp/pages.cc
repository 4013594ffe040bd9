#include "sed/nvme_tcp/pages.h"

#include <algorithm>

#include "base/text.h"
#include "sed/nvme_tcp/command.h"
#include "sed/nvme_tcp/limits.h"
#include "sed/nvme_tcp/pdu.h"

namespace keyward::sed::nvme {
namespace {

constexpr std::size_t kPageBytes = 4096, kLogBytes = 512;
constexpr std::uint8_t kErrorLog = 0x01, kSmartLog = 0x02, kFirmwareLog = 0x03;

// FNV-1a, twice with another start: a name must be stable and apart from others, and no more.
std::uint64_t hash_of(std::string_view text, std::uint64_t start) {
  constexpr std::uint64_t kPrime = 0x100000001B3;
  std::uint64_t hash = start;
  for (const std::byte byte : as_bytes(text))
    hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * kPrime;
  return hash;
}

// Version 8 of RFC 9562: the maker's own way to make it.
Bytes uuid_of(std::string_view text) {
  Bytes uuid(16);
  put_field(uuid, 0, hash_of(text, 0xCBF29CE484222325), 8);
  put_field(uuid, 8, hash_of(text, 0x84222325CBF29CE4), 8);
  uuid[6] = (uuid[6] & std::byte{0x0F}) | std::byte{0x80};
  uuid[8] = (uuid[8] & std::byte{0x3F}) | std::byte{0x80};
  return uuid;
}

// Type, length, two bytes of nothing, and the name (NVM Express 1.4, figure 249).
std::size_t put_descriptor(Bytes& page, std::size_t at, std::uint8_t type, ByteView name) {
  put_field(page, at, type, 1);
  put_field(page, at + 1, name.size(), 1);
  std::ranges::copy(name, page.begin() + static_cast<std::ptrdiff_t>(at) + 4);
  return at + 4 + name.size();
}

bool has_name(ByteView name) {
  return std::ranges::any_of(name, [](std::byte byte) { return byte != std::byte{0}; });
}

}  // namespace

Bytes identify_controller(Bytes page, std::uint16_t controller_id, std::string_view nqn) {
  put_field(page, 78, controller_id, 2);
  put_field(page, 111, 1, 1);                    // CNTRLTYPE: an I/O controller.
  put_field(page, 258, 3, 1);                    // ACL: four Aborts at once.
  put_field(page, 259, kAsyncEventsMax - 1, 1);  // AERL.
  put_field(page, 260, 0x03, 1);                 // FRMW: one firmware slot, read-only.
  put_field(page, 320, 1, 2);                    // KAS: a keep-alive counts by 100 ms.
  put_field(page, 514, kQueueEntriesMax, 2);     // MAXCMD.
  constexpr std::uint64_t kSgl = 1, kOffsets = 1u << 20;
  put_field(page, 536, kSgl | kOffsets, 4);
  std::ranges::copy(as_bytes(nqn), page.begin() + 768);
  put_field(page, 1792, (kCommandBytes + kInCapsuleBytesMax) / 16, 4);  // IOCCSZ.
  put_field(page, 1796, 1, 4);                                          // IORCSZ: 16 bytes.
  put_field(page, 1803, 1, 1);                                          // MSDBD: one descriptor.
  return page;
}

Bytes namespace_list(std::uint32_t after) {
  Bytes page(kPageBytes);
  if (after < 1) put_field(page, 0, 1, 4);
  return page;
}

Bytes namespace_descriptors(ByteView drive_page, std::string_view nqn) {
  constexpr std::uint8_t kEui64 = 1, kNguid = 2, kUuid = 3;
  const ByteView nguid = drive_page.subspan(104, 16), eui64 = drive_page.subspan(120, 8);
  Bytes page(kPageBytes);
  std::size_t end = 0;
  if (has_name(eui64)) end = put_descriptor(page, end, kEui64, eui64);
  if (has_name(nguid)) end = put_descriptor(page, end, kNguid, nguid);
  if (end == 0) put_descriptor(page, end, kUuid, uuid_of(nqn));
  return page;
}

Bytes log_page(std::uint8_t page) {
  if (page != kErrorLog && page != kSmartLog && page != kFirmwareLog) return {};
  Bytes log(kLogBytes);
  if (page == kSmartLog) {
    put_field(log, 1, 300, 2);  // Kelvin.
    put_field(log, 3, 100, 1);  // Spare, and below what it is too little.
    put_field(log, 4, 10, 1);
  }
  if (page == kFirmwareLog) put_field(log, 0, 1, 1);  // The active slot.
  return log;
}

}  // namespace keyward::sed::nvme
