#include "sed/transport/identity_pages.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kAtaBytes = 512;
constexpr std::size_t kInquiryBytes = 36;
constexpr std::size_t kNvmeBytes = 4096;
constexpr std::size_t kSecurityListBytes = 16;

std::unexpected<Error> bad(std::string_view page, std::string_view what) {
  return fail(ErrorCode::protocol, fmt::format("{}: {}", page, what));
}

unsigned byte_at(ByteView page, std::size_t at) { return std::to_integer<unsigned>(page[at]); }

std::uint64_t big_endian(ByteView bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | std::to_integer<unsigned>(byte);
  return value;
}

std::uint64_t little_endian(ByteView bytes) {
  std::uint64_t value = 0;
  for (std::size_t n = bytes.size(); n > 0; --n) value = value << 8 | byte_at(bytes, n - 1);
  return value;
}

std::string clean(ByteView field) {
  const auto is_blank = [](std::byte byte) {
    return byte == std::byte{' '} || byte == std::byte{};
  };
  while (!field.empty() && is_blank(field.front())) field = field.subspan(1);
  while (!field.empty() && is_blank(field.back())) field = field.first(field.size() - 1);
  std::string text;
  for (const std::byte byte : field) {
    const auto value = std::to_integer<unsigned>(byte);
    if (value >= 0x20 && value < 0x7F)
      text.push_back(static_cast<char>(value));
    else
      text += fmt::format("\\x{:02x}", value);
  }
  return text;
}

// Some drives leave the field empty, and some firmware fills it with ones.
std::string wwn_of(ByteView name) {
  const auto is = [&](std::byte value) {
    return std::ranges::all_of(name, [&](std::byte byte) { return byte == value; });
  };
  return is(std::byte{0}) || is(std::byte{0xFF}) ? "" : to_hex(name);
}

// Each word holds two characters, the first in its upper byte.
std::string ata_text(ByteView page, std::size_t word, std::size_t size) {
  Bytes text(size);
  for (std::size_t n = 0; n < size; ++n) text[n] = page[2 * word + (n ^ 1)];
  return clean(text);
}

unsigned ata_word(ByteView page, std::size_t word) {
  return static_cast<unsigned>(little_endian(page.subspan(2 * word, 2)));
}

// The upper two bits of some words say whether the others mean anything.
bool is_valid_word(unsigned word) { return (word & 0xC000) == 0x4000; }

std::string ata_wwn(ByteView page) {
  const unsigned features = ata_word(page, 87);
  if (!is_valid_word(features) || (features & 0x0100) == 0) return "";
  Bytes name;
  for (std::size_t word = 108; word < 112; ++word) {
    name.push_back(page[2 * word + 1]);
    name.push_back(page[2 * word]);
  }
  return wwn_of(name);
}

Bytes security_list(ByteView page) {
  Bytes list(kSecurityListBytes);
  const auto put = [&](std::size_t at, unsigned value) {
    list[at] = static_cast<std::byte>(value >> 8);
    list[at + 1] = static_cast<std::byte>(value);
  };
  const unsigned status = ata_word(page, 128);
  put(0, 0x0E);  // What follows.
  put(2, ata_word(page, 89));
  put(4, ata_word(page, 90));
  put(6, ata_word(page, 92));
  list[8] = static_cast<std::byte>(status >> 8 & 1);
  list[9] = static_cast<std::byte>(status & 0x3F);
  return list;
}

// The part of a VPD page behind its header, which names the page and the length.
Result<ByteView> vpd_body(ByteView page, std::uint8_t code) {
  const std::string name = fmt::format("VPD page {:02X}h", code);
  if (page.size() < 4) return bad(name, "it has no header");
  if (byte_at(page, 1) != code) return bad(name, "the drive sent another page");
  const auto size = static_cast<std::size_t>(big_endian(page.subspan(2, 2)));
  if (size > page.size() - 4) return bad(name, "it is shorter than it says");
  return page.subspan(4, size);
}

// One designator of page 83h: of the logical unit, or of what lies around it.
struct Designator {
  unsigned code_set;
  unsigned association;
  unsigned type;
  ByteView value;
};

Result<std::vector<Designator>> designators(ByteView body) {
  std::vector<Designator> all;
  while (!body.empty()) {
    if (body.size() < 4) return bad("VPD page 83h", "a designator has no header");
    const std::size_t size = byte_at(body, 3);
    if (size > body.size() - 4) return bad("VPD page 83h", "a designator is cut short");
    const unsigned kind = byte_at(body, 1);
    all.push_back({byte_at(body, 0) & 0x0F, kind >> 4 & 3, kind & 0x0F, body.subspan(4, size)});
    body = body.subspan(4 + size);
  }
  return all;
}

}  // namespace

Result<AtaDevice> parse_ata_device(ByteView page) {
  if (page.size() != kAtaBytes) return bad("IDENTIFY DEVICE", "it has not 512 bytes");
  if (std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{}; }))
    return bad("IDENTIFY DEVICE", "it is empty");
  unsigned sum = 0;
  for (const std::byte byte : page) sum += std::to_integer<unsigned>(byte);
  if (byte_at(page, 510) == 0xA5 && (sum & 0xFF) != 0)
    return bad("IDENTIFY DEVICE", "its checksum is wrong");
  AtaDevice device;
  device.identity = {ata_wwn(page), ata_text(page, 10, 20), ata_text(page, 27, 40),
                     ata_text(page, 23, 8)};
  const unsigned trusted = ata_word(page, 48);
  device.trusted_computing = is_valid_word(trusted) && (trusted & 1) != 0;
  device.security_list = security_list(page);
  return device;
}

Result<ScsiInquiry> parse_scsi_inquiry(ByteView page) {
  if (page.size() < kInquiryBytes) return bad("INQUIRY", "it has less than 36 bytes");
  const unsigned peripheral = byte_at(page, 0);
  if (peripheral >> 5 != 0) return bad("INQUIRY", "no device is connected there");
  return ScsiInquiry{static_cast<std::uint8_t>(peripheral & 0x1F), clean(page.subspan(8, 8)),
                     clean(page.subspan(16, 16)), clean(page.subspan(32, 4))};
}

Result<std::vector<std::uint8_t>> parse_vpd_pages(ByteView page) {
  std::vector<std::uint8_t> pages;
  for (const std::byte code : TRY(vpd_body(page, 0x00)))
    pages.push_back(std::to_integer<std::uint8_t>(code));
  return pages;
}

Result<std::string> parse_vpd_serial(ByteView page) { return clean(TRY(vpd_body(page, 0x80))); }

// SPC-5, 7.7.6. Association 0 is the logical unit, which is what an initiator sees as the drive.
Result<VpdDevice> parse_vpd_device(ByteView page) {
  constexpr unsigned kBinary = 1, kT10 = 1, kEui64 = 2, kNaa = 3;
  constexpr std::size_t kT10AtaBytes = 68;
  VpdDevice device;
  std::string eui;
  for (const Designator& one : TRY(designators(TRY(vpd_body(page, 0x83))))) {
    if (one.association != 0) continue;
    const bool is_name =
        one.code_set == kBinary && (one.value.size() == 8 || one.value.size() == 16);
    if (is_name && one.type == kNaa && device.wwn.empty()) device.wwn = wwn_of(one.value);
    if (is_name && one.type == kEui64 && eui.empty()) eui = wwn_of(one.value);
    if (one.type == kT10 && one.value.size() == kT10AtaBytes && clean(one.value.first(8)) == "ATA")
      device.ata_model = clean(one.value.subspan(8, 40));
  }
  if (device.wwn.empty()) device.wwn = eui;
  return device;
}

Result<NvmeController> parse_nvme_controller(ByteView page) {
  if (page.size() != kNvmeBytes) return bad("Identify Controller", "it has not 4096 bytes");
  NvmeController controller;
  controller.identity = {"", clean(page.subspan(4, 20)), clean(page.subspan(24, 40)),
                         clean(page.subspan(64, 8))};
  controller.security_commands = (byte_at(page, 256) & 1) != 0;
  return controller;
}

Result<NvmeNamespace> parse_nvme_namespace(ByteView page) {
  if (page.size() != kNvmeBytes) return bad("Identify Namespace", "it has not 4096 bytes");
  NvmeNamespace space;
  space.sectors = little_endian(page.first(8));
  space.wwn = wwn_of(page.subspan(104, 16));
  if (space.wwn.empty()) space.wwn = wwn_of(page.subspan(120, 8));
  // FLBAS: bits 3:0 and, above them, 6:5 choose one of the 64 formats from byte 128 on.
  const unsigned flbas = byte_at(page, 26);
  const std::size_t format = (flbas & 0x0F) | (flbas >> 1 & 0x30);
  const unsigned shift = byte_at(page, 128 + 4 * format + 2);
  if (shift >= 9 && shift <= 16) space.sector_bytes = 1u << shift;
  return space;
}

Result<std::vector<std::uint8_t>> parse_protocol_list(ByteView page) {
  if (page.size() < 8) return bad("security protocol list", "it has no header");
  const auto size = static_cast<std::size_t>(big_endian(page.subspan(6, 2)));
  if (size > page.size() - 8) return bad("security protocol list", "it is shorter than it says");
  std::vector<std::uint8_t> protocols;
  for (const std::byte protocol : page.subspan(8, size))
    protocols.push_back(std::to_integer<std::uint8_t>(protocol));
  return protocols;
}

}  // namespace keyward::sed
