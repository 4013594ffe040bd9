#include "sed/emulator/identify.h"

#include <algorithm>
#include <bit>

#include "base/text.h"
#include "sed/emulator/packet.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::size_t kAtaBytes = 512;
constexpr std::size_t kNvmeBytes = 4096;

// Padded with spaces on the right.
std::string padded(std::string_view text, std::size_t size) {
  std::string result(text.substr(0, size));
  result.resize(size, ' ');
  return result;
}

void put_text(Bytes& page, std::size_t at, std::string_view text, std::size_t size) {
  std::ranges::copy(as_bytes(padded(text, size)), page.begin() + static_cast<std::ptrdiff_t>(at));
}

class AtaWords final {
 public:
  void set(std::size_t word, std::uint64_t value) {
    page_[2 * word] = static_cast<std::byte>(value);
    page_[2 * word + 1] = static_cast<std::byte>(value >> 8);
  }

  // Each word holds two characters, the first in its upper byte.
  void text(std::size_t word, std::string_view text, std::size_t size) {
    const std::string all = padded(text, size);
    for (std::size_t n = 0; n < size; ++n)
      page_[2 * word + (n ^ 1)] = static_cast<std::byte>(all[n]);
  }

  Bytes finish() {
    page_[510] = std::byte{0xA5};
    unsigned sum = 0;
    for (const std::byte byte : page_) sum += std::to_integer<unsigned>(byte);
    page_[511] = static_cast<std::byte>(0u - sum);
    return std::move(page_);
  }

 private:
  Bytes page_ = Bytes(kAtaBytes);
};

Bytes wwn_bytes(const EmulatedDriveOptions& options) {
  return from_hex(options.identity.wwn).value_or(Bytes{});
}

Bytes ata_device(const EmulatedDriveOptions& options, const AtaSecurityWords& security) {
  AtaWords words;
  const std::uint64_t sectors = options.sectors;
  const std::uint64_t sectors28 = std::min<std::uint64_t>(sectors, 0x0FFFFFFF);
  words.set(0, 0x0040);
  words.text(10, options.identity.serial, 20);
  words.text(23, options.identity.firmware, 8);
  words.text(27, options.identity.model, 40);
  words.set(47, 0x8001);
  words.set(48, options.family == Family::ata_security ? 0x4000 : 0x4001);  // Trusted Computing.
  words.set(49, 0x0F00);
  words.set(50, 0x4000);
  words.set(53, 0x0006);
  words.set(60, sectors28 & 0xFFFF);
  words.set(61, sectors28 >> 16);
  words.set(63, 0x0007);
  words.set(64, 0x0003);
  words.set(75, 31);
  words.set(76, 0x0106);
  words.set(80, 0x07F0);
  words.set(82, 0x4069 | (security.supported ? 0x0002u : 0u));
  words.set(83, 0x7400);
  words.set(84, 0x4160);
  words.set(85, 0x4069 | (security.enabled ? 0x0002u : 0u));
  words.set(86, 0x3400);
  words.set(87, 0x4160);
  words.set(88, 0x007F);
  if (security.supported) {
    words.set(89, 1);
    words.set(90, 1);
    words.set(92, security.master_id);
    words.set(128, security.status);
  }
  for (std::size_t n = 0; n < 4; ++n) words.set(100 + n, sectors >> (16 * n) & 0xFFFF);
  const bool large = options.sector_bytes != 512;
  words.set(106, large ? 0x5000 : 0x6003);  // 4096-byte physical sectors either way.
  if (large) words.set(117, options.sector_bytes / 2);
  const Bytes wwn = wwn_bytes(options);
  for (std::size_t n = 0; n < 4 && 2 * n + 1 < wwn.size(); ++n)
    words.set(108 + n, read_field(wwn, 2 * n, 2));
  words.set(217, 1);  // Does not rotate.
  words.set(222, 0x107F);
  return words.finish();
}

Bytes scsi_inquiry(const EmulatedDriveOptions& options) {
  Bytes page(96);
  page[2] = std::byte{0x07};  // SPC-5.
  page[3] = std::byte{0x02};
  page[4] = static_cast<std::byte>(page.size() - 5);
  page[7] = std::byte{0x02};
  put_text(page, 8, options.bus == Bus::sata ? "ATA" : "KEYWARD", 8);
  put_text(page, 16, options.identity.model, 16);
  put_text(page, 32, options.identity.firmware, 4);
  return page;
}

Bytes vpd(std::uint8_t code, ByteView body) {
  Bytes page;
  append_field(0, 1, page);
  append_field(code, 1, page);
  append_field(body.size(), 2, page);
  page.insert(page.end(), body.begin(), body.end());
  return page;
}

// 83h: a T10 vendor id designator and, where the drive has a name, an NAA one (SPC-5, 7.7.6).
Bytes vpd_device(const EmulatedDriveOptions& options) {
  constexpr unsigned kAscii = 0x02, kT10 = 0x01, kBinary = 0x01, kNaa = 0x03;
  Bytes body;
  const std::string name = padded(options.bus == Bus::sata ? "ATA" : "KEYWARD", 8) +
                           padded(options.identity.model, 40) + padded(options.identity.serial, 20);
  append_field(kAscii, 1, body);
  append_field(kT10, 1, body);
  append_field(name.size(), 2, body);
  std::ranges::copy(as_bytes(name), std::back_inserter(body));
  const Bytes wwn = wwn_bytes(options);
  if (!wwn.empty()) {
    append_field(kBinary, 1, body);
    append_field(kNaa, 1, body);
    append_field(wwn.size(), 2, body);
    body.insert(body.end(), wwn.begin(), wwn.end());
  }
  return vpd(0x83, body);
}

void put_little_endian(Bytes& page, std::size_t at, std::uint64_t value, std::size_t size) {
  for (std::size_t n = 0; n < size; ++n) page[at + n] = static_cast<std::byte>(value >> (8 * n));
}

Bytes nvme_controller(const EmulatedDriveOptions& options) {
  Bytes page(kNvmeBytes);
  put_text(page, 4, options.identity.serial, 20);
  put_text(page, 24, options.identity.model, 40);
  put_text(page, 64, options.identity.firmware, 8);
  put_little_endian(page, 77, 5, 1);           // MDTS: 128 KiB.
  put_little_endian(page, 78, 1, 2);           // Controller 1.
  put_little_endian(page, 80, 0x00010400, 4);  // NVMe 1.4.
  put_little_endian(page, 256, 0x0001, 2);     // OACS: Security Send and Receive.
  put_little_endian(page, 512, 0x66, 1);
  put_little_endian(page, 513, 0x44, 1);
  put_little_endian(page, 516, 1, 4);  // One namespace.
  return page;
}

Bytes nvme_namespace(const EmulatedDriveOptions& options) {
  Bytes page(kNvmeBytes);
  for (const std::size_t at : {0u, 8u, 16u}) put_little_endian(page, at, options.sectors, 8);
  const Bytes wwn = wwn_bytes(options);
  // A name of 16 bytes is an NGUID, one of 8 an EUI-64.
  std::ranges::copy(wwn, page.begin() + (wwn.size() == 16 ? 104 : 120));
  put_little_endian(page, 130, static_cast<unsigned>(std::countr_zero(options.sector_bytes)), 1);
  return page;
}

bool bus_has(IdentifyPage page, Bus bus) {
  switch (page) {
    case IdentifyPage::ata_device:
      return bus == Bus::sata;
    case IdentifyPage::nvme_controller:
    case IdentifyPage::nvme_namespace:
      return bus == Bus::nvme;
    default:
      return bus != Bus::nvme;
  }
}

}  // namespace

Result<Bytes> identify_page(IdentifyPage page, const EmulatedDriveOptions& options,
                            const AtaSecurityWords& security) {
  if (!bus_has(page, options.bus))
    return fail(ErrorCode::unsupported, "a drive on this bus has no such identify page");
  switch (page) {
    case IdentifyPage::ata_device:
      return ata_device(options, security);
    case IdentifyPage::scsi_inquiry:
      return scsi_inquiry(options);
    case IdentifyPage::scsi_vpd_pages:
      return vpd(0x00, Bytes{std::byte{0x00}, std::byte{0x80}, std::byte{0x83}});
    case IdentifyPage::scsi_vpd_serial:
      return vpd(0x80, as_bytes(padded(options.identity.serial, 20)));
    case IdentifyPage::scsi_vpd_device:
      return vpd_device(options);
    case IdentifyPage::nvme_controller:
      return nvme_controller(options);
    case IdentifyPage::nvme_namespace:
      return nvme_namespace(options);
  }
  return fail(ErrorCode::unsupported, "no such identify page");
}

}  // namespace keyward::sed::emulator
