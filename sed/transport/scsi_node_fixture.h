// ScsiNode is a device node whose drive is emulated: a strict reader of CDBs, written from SPC-5,
// SBC-4, SAT-3 and ACS-3 and not from the transport's code. It keeps what it was asked.
//
//   ScsiNode node(drive);
//   node.quirks.refuses_security_protocol = true;
//   node.requests.back().cdb;                       // "a2 01 00 01 80 00 00 00 00 04 00 00"
#pragma once

#include <fmt/format.h>
#include <linux/fs.h>
#include <scsi/sg.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/transport/device_node.h"

namespace keyward::sed {

struct ScsiQuirks {
  bool refuses_security_protocol = false;  // As an old translation: invalid opcode.
  bool counts_bytes = false;               // INC_512 must be 0.
  bool no_ata_protocol = false;            // As Linux's libata: EFh is an invalid field.
  bool no_trusted_filter = true;           // False: libata.allow_tpm is 0.
  bool no_long_pass_through = false;       // Only A1h.
  bool no_pass_through = false;
  bool fixed_sense = false;
  bool is_character = false;  // /dev/sgN.
  unsigned device_type = 0;
};

class ScsiNode final : public DeviceNode {
 public:
  struct Request {
    std::string cdb;
    int direction = 0;
    unsigned size = 0;
    unsigned timeout_ms = 0;
    Bytes sent{};
  };
  // What the next requests end with instead, one after the other.
  struct Planned {
    int error_number = 0;
    unsigned status = 0;
    unsigned host = 0;
    unsigned driver = 0;
    Bytes sense{};
  };

  explicit ScsiNode(EmulatedDrive& drive) : drive_(drive) {}

  ScsiQuirks quirks;
  std::vector<Request> requests;
  std::deque<Planned> planned;
  bool reads_partitions_busy = false;
  std::size_t* asked = nullptr;  // Counts them for who outlives the node.

  const std::string& path() const override { return path_; }

  std::optional<BlockGeometry> geometry() override {
    if (quirks.is_character) return std::nullopt;
    return BlockGeometry{drive_.options().sector_bytes, drive_.options().sectors};
  }

  Result<int> ioctl(unsigned long request, void* argument) override {
    if (request == BLKRRPART) {
      if (reads_partitions_busy) return fail(ErrorCode::busy, "planned", "ioctl", EBUSY);
      return 0;
    }
    if (request != SG_IO) return fail(ErrorCode::unsupported, "ENOTTY", "ioctl", ENOTTY);
    auto& io = *static_cast<sg_io_hdr*>(argument);
    if (io.interface_id != 'S' || io.cmd_len > 16 || io.cmdp == nullptr || io.iovec_count != 0)
      return fail(ErrorCode::io, "EINVAL", "ioctl", EINVAL);
    keep(io);
    if (!planned.empty()) {
      const Planned next = std::move(planned.front());
      planned.pop_front();
      if (next.error_number != 0)
        return fail(ErrorCode::timeout, "planned", "ioctl",
                    static_cast<std::uint64_t>(next.error_number));
      io.status = static_cast<unsigned char>(next.status);
      io.host_status = static_cast<unsigned short>(next.host);
      io.driver_status = static_cast<unsigned short>(next.driver);
      give_sense(io, next.sense);
      return 0;
    }
    answer(io);
    return 0;
  }

  // The kernel tells no more of any refusal.
  Result<void> pread(std::uint64_t offset, MutableByteView bytes) override {
    if (drive_.read(offset / drive_.options().sector_bytes, bytes) == BusStatus::good) return {};
    return fail(ErrorCode::io, "EIO", "pread", EIO);
  }
  Result<void> pwrite(std::uint64_t offset, ByteView bytes) override {
    if (drive_.write(offset / drive_.options().sector_bytes, bytes) == BusStatus::good) return {};
    return fail(ErrorCode::io, "EIO", "pwrite", EIO);
  }

 private:
  static constexpr SenseCode kOpcode{0x05, 0x20, 0x00}, kField{0x05, 0x24, 0x00};

  void keep(const sg_io_hdr& io) {
    if (asked != nullptr) ++*asked;
    Request request{"", io.dxfer_direction, io.dxfer_len, io.timeout};
    for (unsigned n = 0; n < io.cmd_len; ++n)
      request.cdb += fmt::format("{}{:02x}", n == 0 ? "" : " ", io.cmdp[n]);
    if (io.dxfer_direction == SG_DXFER_TO_DEV) request.sent = {data(io), data(io) + io.dxfer_len};
    requests.push_back(std::move(request));
  }

  static std::byte* data(const sg_io_hdr& io) { return static_cast<std::byte*>(io.dxferp); }
  static std::uint64_t field(const sg_io_hdr& io, unsigned at, unsigned size) {
    std::uint64_t value = 0;
    for (unsigned n = 0; n < size; ++n) value = value << 8 | io.cmdp[at + n];
    return value;
  }

  static void give_sense(sg_io_hdr& io, ByteView sense) {
    if (sense.empty()) return;
    io.status = 0x02;
    io.driver_status |= 0x08;
    const std::size_t size = std::min<std::size_t>(sense.size(), io.mx_sb_len);
    std::copy_n(sense.begin(), size, reinterpret_cast<std::byte*>(io.sbp));
    io.sb_len_wr = static_cast<unsigned char>(size);
  }

  void check_condition(sg_io_hdr& io, const SenseCode& code) const {
    io.resid = static_cast<int>(io.dxfer_len);
    Bytes sense(quirks.fixed_sense ? 18 : 8);
    if (quirks.fixed_sense) {
      sense[0] = std::byte{0x70};
      sense[2] = std::byte{code.key};
      sense[7] = std::byte{10};
      sense[12] = std::byte{code.additional};
      sense[13] = std::byte{code.qualifier};
    } else {
      sense = {std::byte{0x72}, std::byte{code.key}, std::byte{code.additional},
               std::byte{code.qualifier}};
      sense.resize(8);
    }
    give_sense(io, sense);
  }

  // ABRT, as libata's: the registers in an ATA Status Return descriptor.
  static void ata_abort(sg_io_hdr& io) {
    Bytes sense(22);
    sense[0] = std::byte{0x72};
    sense[1] = std::byte{0x0B};
    sense[7] = std::byte{14};
    sense[8] = std::byte{0x09};
    sense[9] = std::byte{0x0C};
    sense[11] = std::byte{0x04};
    sense[21] = std::byte{0x51};
    io.resid = static_cast<int>(io.dxfer_len);
    give_sense(io, sense);
  }

  void end(sg_io_hdr& io, BusStatus status) const {
    if (status != BusStatus::good) check_condition(io, sense_code(status));
  }

  // As much as there is and fits.
  static void give(sg_io_hdr& io, ByteView page, std::size_t room) {
    const std::size_t size = std::min({page.size(), room, std::size_t{io.dxfer_len}});
    std::copy_n(page.begin(), size, data(io));
    io.resid = static_cast<int>(io.dxfer_len - size);
  }

  bool is_sata() const { return drive_.options().bus == Bus::sata; }

  void answer(sg_io_hdr& io) {
    static const std::pair<unsigned, unsigned> kLengths[] = {
        {0x12, 6}, {0xA2, 12}, {0xB5, 12}, {0x85, 16}, {0xA1, 12}, {0x88, 16}, {0x8A, 16}};
    const unsigned opcode = io.cmdp[0];
    for (const auto& [code, length] : kLengths)
      if (code == opcode && length != io.cmd_len) return check_condition(io, kField);
    switch (opcode) {
      case 0x12:
        return inquiry(io);
      case 0xA2:
      case 0xB5:
        return security_protocol(io);
      case 0x85:
        if (!quirks.no_long_pass_through) return long_pass_through(io);
        break;
      case 0xA1:
        return short_pass_through(io);
      case 0x88:
      case 0x8A:
        return sectors(io);
      default:
        break;
    }
    check_condition(io, kOpcode);
  }

  void inquiry(sg_io_hdr& io) {
    if (io.cmdp[1] > 1 || (io.cmdp[1] == 0 && io.cmdp[2] != 0)) return check_condition(io, kField);
    const bool is_vital = io.cmdp[1] == 1;
    IdentifyPage page = IdentifyPage::scsi_inquiry;
    if (is_vital && io.cmdp[2] == 0x00) page = IdentifyPage::scsi_vpd_pages;
    if (is_vital && io.cmdp[2] == 0x80) page = IdentifyPage::scsi_vpd_serial;
    if (is_vital && io.cmdp[2] == 0x83) page = IdentifyPage::scsi_vpd_device;
    if (is_vital && page == IdentifyPage::scsi_inquiry) return check_condition(io, kField);
    auto content = drive_.identify(page);
    if (!content) return end(io, BusStatus::gone);
    content->front() = static_cast<std::byte>(quirks.device_type);
    give(io, *content, static_cast<std::size_t>(field(io, 3, 2)));
  }

  void security_protocol(sg_io_hdr& io) {
    if (quirks.refuses_security_protocol) return check_condition(io, kOpcode);
    const bool is_send = io.cmdp[0] == 0xB5;
    const auto protocol = io.cmdp[1];
    const bool in_blocks = io.cmdp[4] == 0x80;
    if ((io.cmdp[4] & 0x7F) != 0 || io.cmdp[5] != 0 || io.cmdp[10] != 0 || io.cmdp[11] != 0)
      return check_condition(io, kField);
    if (protocol == 0xEF && (quirks.no_ata_protocol || !is_sata()))
      return check_condition(io, kField);
    // SAT-3 has ATA Security's lengths in bytes.
    if (in_blocks && (quirks.counts_bytes || protocol == 0xEF)) return check_condition(io, kField);
    const std::uint64_t size = field(io, 6, 4) * (in_blocks ? 512 : 1);
    if (size != io.dxfer_len || !is_direction(io, size == 0 ? 0 : is_send ? 2 : 1))
      return check_condition(io, kField);
    const auto specific = static_cast<std::uint16_t>(field(io, 2, 2));
    const std::span<std::byte> payload(data(io), static_cast<std::size_t>(size));
    end(io, is_send ? drive_.security_send(protocol, specific, payload)
                    : drive_.security_receive(protocol, specific, payload));
  }

  // 0: none, 1: from the drive, 2: to it.
  static bool is_direction(const sg_io_hdr& io, int wanted) {
    const int directions[] = {SG_DXFER_NONE, SG_DXFER_FROM_DEV, SG_DXFER_TO_DEV};
    return io.dxfer_direction == directions[wanted];
  }

  struct Ata {
    unsigned feature, count, low, mid, high, command;
  };

  void long_pass_through(sg_io_hdr& io) {
    // No bits of the 48-bit registers, no device bits, no control.
    for (const unsigned at : {3u, 5u, 7u, 9u, 11u, 13u, 15u})
      if (io.cmdp[at] != 0) return check_condition(io, kField);
    ata(io, {io.cmdp[4], io.cmdp[6], io.cmdp[8], io.cmdp[10], io.cmdp[12], io.cmdp[14]});
  }
  void short_pass_through(sg_io_hdr& io) {
    for (const unsigned at : {8u, 10u, 11u})
      if (io.cmdp[at] != 0) return check_condition(io, kField);
    ata(io, {io.cmdp[3], io.cmdp[4], io.cmdp[5], io.cmdp[6], io.cmdp[7], io.cmdp[9]});
  }

  // PIO Data-In 4, PIO Data-Out 5, Non-data 3; lengths in the count, in blocks.
  bool is_transfer(const sg_io_hdr& io, const Ata& ata, unsigned protocol) const {
    if (io.cmdp[1] != protocol << 1) return false;
    if (protocol == 3) return io.cmdp[2] == 0 && io.dxfer_len == 0 && is_direction(io, 0);
    return io.cmdp[2] == (protocol == 4 ? 0x0E : 0x06) && io.dxfer_len == ata.count * 512 &&
           ata.count != 0 && is_direction(io, protocol == 4 ? 1 : 2);
  }

  void ata(sg_io_hdr& io, const Ata& ata) {
    if (quirks.no_pass_through || !is_sata()) return check_condition(io, kOpcode);
    static const std::pair<unsigned, unsigned> kProtocols[] = {
        {0xEC, 4}, {0x5B, 3}, {0x5C, 4}, {0x5E, 5}, {0xF1, 5},
        {0xF2, 5}, {0xF3, 3}, {0xF4, 5}, {0xF5, 3}, {0xF6, 5}};
    const auto* known =
        std::ranges::find(kProtocols, ata.command, &std::pair<unsigned, unsigned>::first);
    if (known == std::end(kProtocols) || !is_transfer(io, ata, known->second))
      return check_condition(io, kField);
    const std::span<std::byte> payload(data(io), io.dxfer_len);
    if (ata.command == 0xEC) {
      const auto page = drive_.identify(IdentifyPage::ata_device);
      return page ? give(io, *page, 512) : end(io, BusStatus::gone);
    }
    const bool is_trusted = ata.command < 0x60;
    if (is_trusted && !quirks.no_trusted_filter) return check_condition(io, kField);
    BusStatus status = BusStatus::good;
    if (is_trusted) {
      const auto protocol = static_cast<std::uint8_t>(ata.feature);
      const auto specific = static_cast<std::uint16_t>(ata.high << 8 | ata.mid);
      // Bits 15:8 of the length, in blocks, are in the lowest byte of the address.
      if (ata.low != 0) return ata_abort(io);
      status = ata.command == 0x5C ? drive_.security_receive(protocol, specific, payload)
                                   : drive_.security_send(protocol, specific, payload);
    } else {
      status = drive_.ata_security(static_cast<AtaSecurityCommand>(ata.command), payload);
    }
    if (status == BusStatus::gone || status == BusStatus::timed_out) return end(io, status);
    if (status != BusStatus::good) ata_abort(io);
  }

  void sectors(sg_io_hdr& io) {
    const bool is_write = io.cmdp[0] == 0x8A;
    const std::uint64_t size = field(io, 10, 4) * drive_.options().sector_bytes;
    if (io.cmdp[1] != 0 || size != io.dxfer_len || !is_direction(io, is_write ? 2 : 1))
      return check_condition(io, kField);
    const std::span<std::byte> payload(data(io), static_cast<std::size_t>(size));
    const std::uint64_t first = field(io, 2, 8);
    end(io, is_write ? drive_.write(first, payload) : drive_.read(first, payload));
  }

  EmulatedDrive& drive_;
  std::string path_ = "/dev/sdq";
};

}  // namespace keyward::sed
