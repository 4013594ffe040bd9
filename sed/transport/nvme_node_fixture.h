// NvmeNode is a device node whose NVMe drive is emulated: a strict reader of pass-through commands,
// written from NVMe 1.4 and not from the transport's code. It keeps what it was asked.
#pragma once

#include <linux/fs.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <string>
#include <vector>

#include "sed/emulator/emulated_drive.h"
#include "sed/transport/device_node.h"

namespace keyward::sed {

struct NvmeQuirks {
  bool no_security_commands = false;
  bool is_controller = false;  // /dev/nvmeX: no namespace, no sectors.
  int name_space = 1;
};

class NvmeNode final : public DeviceNode {
 public:
  explicit NvmeNode(EmulatedDrive& drive) : drive_(drive) {}

  NvmeQuirks quirks;
  std::vector<nvme_passthru_cmd> requests;
  std::vector<unsigned long> numbers;  // Of the ioctls.
  // What the next requests answer: a status, or, below 0, errno.
  std::deque<int> planned;
  std::size_t* asked = nullptr;  // Counts them for who outlives the node.

  const std::string& path() const override { return path_; }

  std::optional<BlockGeometry> geometry() override {
    if (quirks.is_controller) return std::nullopt;
    return BlockGeometry{drive_.options().sector_bytes, drive_.options().sectors};
  }

  Result<int> ioctl(unsigned long number, void* argument) override {
    if (number == NVME_IOCTL_ID && !quirks.is_controller) return quirks.name_space;
    if (number != NVME_IOCTL_ADMIN_CMD && number != NVME_IOCTL_IO_CMD)
      return fail(ErrorCode::unsupported, "ENOTTY", "ioctl", ENOTTY);
    const auto& io = *static_cast<nvme_passthru_cmd*>(argument);
    if (asked != nullptr) ++*asked;
    requests.push_back(io);
    numbers.push_back(number);
    if (!planned.empty()) {
      const int next = planned.front();
      planned.pop_front();
      if (next >= 0) return next;
      return fail(ErrorCode::timeout, "planned", "ioctl", static_cast<std::uint64_t>(-next));
    }
    // Nothing of this has metadata, flags or the upper dwords.
    if (io.flags != 0 || io.rsvd1 != 0 || io.cdw2 != 0 || io.cdw3 != 0 || io.metadata != 0 ||
        io.metadata_len != 0 || io.cdw13 != 0 || io.cdw14 != 0 || io.cdw15 != 0)
      return 0x4002;
    return number == NVME_IOCTL_ADMIN_CMD ? admin(io) : io_command(io);
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
  static int status_of(BusStatus status) {
    const NvmeStatus nvme = nvme_status(status);
    if (status == BusStatus::good) return 0;
    constexpr int kDoNotRetry = 0x4000;
    return nvme.type << 8 | nvme.code | kDoNotRetry;
  }

  static std::span<std::byte> data(const nvme_passthru_cmd& io) {
    return {reinterpret_cast<std::byte*>(io.addr), io.data_len};
  }

  int admin(const nvme_passthru_cmd& io) {
    constexpr int kInvalidOpcode = 0x4001, kInvalidField = 0x4002, kInvalidNamespace = 0x400B;
    const bool is_security = io.opcode == 0x81 || io.opcode == 0x82;
    if (is_security && quirks.no_security_commands) return kInvalidOpcode;
    if (io.opcode == 0x06) {
      if (io.cdw10 > 1 || io.cdw11 != 0 || io.cdw12 != 0 || io.data_len != 4096)
        return kInvalidField;
      const bool is_controller = io.cdw10 == 1;
      if (io.nsid != (is_controller ? 0 : static_cast<unsigned>(quirks.name_space)))
        return kInvalidNamespace;
      auto page = drive_.identify(is_controller ? IdentifyPage::nvme_controller
                                                : IdentifyPage::nvme_namespace);
      if (!page) return status_of(BusStatus::gone);
      if (is_controller && quirks.no_security_commands) (*page)[256] &= std::byte{0xFE};
      std::ranges::copy(*page, data(io).begin());
      return 0;
    }
    if (!is_security) return kInvalidOpcode;
    // NSSF, the lowest byte, is of protocol EAh only. The length is there twice.
    if ((io.cdw10 & 0xFF) != 0 || io.cdw11 != io.data_len || io.cdw12 != 0 || io.nsid != 0)
      return kInvalidField;
    const auto protocol = static_cast<std::uint8_t>(io.cdw10 >> 24);
    const auto specific = static_cast<std::uint16_t>(io.cdw10 >> 8);
    return status_of(io.opcode == 0x81 ? drive_.security_send(protocol, specific, data(io))
                                       : drive_.security_receive(protocol, specific, data(io)));
  }

  int io_command(const nvme_passthru_cmd& io) {
    if (io.opcode != 0x01 && io.opcode != 0x02) return 0x4001;
    const std::uint64_t first = std::uint64_t{io.cdw11} << 32 | io.cdw10;
    if (io.nsid != static_cast<unsigned>(quirks.name_space)) return 0x400B;
    if ((std::uint64_t{io.cdw12} + 1) * drive_.options().sector_bytes != io.data_len) return 0x4002;
    return status_of(io.opcode == 0x01 ? drive_.write(first, data(io))
                                       : drive_.read(first, data(io)));
  }

  EmulatedDrive& drive_;
  std::string path_ = "/dev/nvme7n1";
};

}  // namespace keyward::sed
