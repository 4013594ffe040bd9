// SG_IO (version 3), and the older ioctls of SCSI and ATA disks.
#include <linux/hdreg.h>
#include <scsi/sg.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sed/device_node/device_node.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kCdbBytesMax = 16, kAtaBlockBytes = 512;
constexpr unsigned short kPiecesMax = 1024;
constexpr int kSgVersion = 30536;
// <scsi/scsi.h> of the kernel has them, the C library's has not.
constexpr std::uint64_t kScsiGetIdLun = 0x5382, kScsiGetBusNumber = 0x5386;

template <typename T>
std::uint64_t address_of(T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

int read_buffer(const sg_io_hdr_t& header, CallerMemory& memory, CallerBuffer& buffer) {
  if (header.iovec_count == 0) {
    buffer.push_back({address_of(header.dxferp), header.dxfer_len});
    return 0;
  }
  if (header.iovec_count > kPiecesMax) return EINVAL;
  std::vector<sg_iovec_t> pieces(header.iovec_count);
  if (const int code =
          memory.read(address_of(header.dxferp), std::as_writable_bytes(std::span(pieces))))
    return code;
  std::size_t left = header.dxfer_len;
  for (const sg_iovec_t& piece : pieces) {
    const std::size_t size = std::min(piece.iov_len, left);
    buffer.push_back({address_of(piece.iov_base), size});
    left -= size;
  }
  return 0;
}

// What the drive answered, as drivers/scsi/scsi_ioctl.c fills it in.
int fill_header(const ScsiReply& reply, std::size_t moved, sg_io_hdr_t& header,
                CallerMemory& memory) {
  constexpr unsigned short kDriverSense = 0x08;
  header.status = reply.status;
  header.masked_status = reply.status >> 1 & 0x1F;
  header.msg_status = 0;
  header.host_status = reply.host_status;
  header.driver_status = reply.sense.empty() ? 0 : kDriverSense;
  header.info = reply.status == kScsiGood && reply.host_status == 0 ? SG_INFO_OK : SG_INFO_CHECK;
  header.resid = static_cast<int>(header.dxfer_len - moved);
  header.duration = 0;
  header.sb_len_wr = 0;
  const std::size_t sense = std::min<std::size_t>(reply.sense.size(), header.mx_sb_len);
  if (sense == 0 || header.sbp == nullptr) return 0;
  header.sb_len_wr = static_cast<unsigned char>(sense);
  return memory.write(address_of(header.sbp), ByteView(reply.sense).first(sense));
}

long hdio_identity(AtaDevice& device, std::uint64_t argument, CallerMemory& memory) {
  AtaReply reply = device.execute({.command = 0xEC});
  if (reply.status != BusStatus::good) return -EIO;
  // Serial number, firmware and model: libata turns each word around here, and here alone.
  constexpr struct { std::size_t first, end; } kTexts[] = {{10, 20}, {23, 47}};
  for (const auto& text : kTexts)
    for (std::size_t word = text.first; word < text.end; ++word)
      std::swap(reply.data[2 * word], reply.data[2 * word + 1]);
  return -memory.write(argument, reply.data);
}

long hdio_geometry(std::uint64_t sectors, std::uint64_t argument, CallerMemory& memory) {
  hd_geometry geometry{};
  geometry.heads = 255;
  geometry.sectors = 63;
  geometry.cylinders =
      static_cast<unsigned short>(std::min<std::uint64_t>(sectors / (255 * 63), 65535));
  return -memory.write_object(argument, geometry);
}

}  // namespace

long sg_io(ScsiTarget& target, std::uint64_t argument, CallerMemory& memory) {
  sg_io_hdr_t header{};
  if (const int code = memory.read_object(argument, header)) return -code;
  if (header.interface_id != 'S' || header.cmd_len < 6 || header.cmd_len > kCdbBytesMax)
    return -EINVAL;
  if (header.dxfer_len > ScsiTarget::kTransferBytesMax) return -EINVAL;
  Bytes cdb(header.cmd_len);
  if (const int code = memory.read(address_of(header.cmdp), cdb)) return -code;
  CallerBuffer buffer;
  const bool to_device = header.dxfer_direction == SG_DXFER_TO_DEV;
  const bool to_host =
      header.dxfer_direction == SG_DXFER_FROM_DEV || header.dxfer_direction == SG_DXFER_TO_FROM_DEV;
  if (to_device || to_host)
    if (const int code = read_buffer(header, memory, buffer)) return -code;
  Bytes data_out(to_device ? size_of(buffer) : 0);
  if (const int code = read_pieces(memory, buffer, 0, data_out)) return -code;

  const ScsiReply reply = target.execute({.cdb = cdb, .data_out = data_out});
  std::size_t moved = to_device ? header.dxfer_len : 0;
  if (to_host) {
    moved = std::min(reply.data.size(), size_of(buffer));
    if (const int code = write_pieces(memory, buffer, 0, ByteView(reply.data).first(moved)))
      return -code;
  }
  if (const int code = fill_header(reply, moved, header, memory)) return -code;
  return -memory.write_object(argument, header);
}

// Four bytes: command, sector number, feature, count of blocks that it gives. Back come status,
// error, count, and the blocks behind them.
long hdio_drive_command(AtaDevice& device, std::uint64_t argument, CallerMemory& memory) {
  std::array<std::uint8_t, 4> bytes{};
  if (const int code = memory.read_object(argument, bytes)) return -code;
  AtaCommand command{.command = bytes[0], .feature = bytes[2], .count = bytes[3], .lba = bytes[1]};
  // Without data the second byte is the count.
  if (bytes[3] == 0) command.count = bytes[1];
  const AtaReply reply = device.execute(command);
  Bytes answer{static_cast<std::byte>(reply.registers.status),
               static_cast<std::byte>(reply.registers.error),
               static_cast<std::byte>(reply.registers.count), std::byte{0}};
  const std::size_t size = std::min(reply.data.size(), bytes[3] * kAtaBlockBytes);
  answer.insert(answer.end(), reply.data.begin(),
                reply.data.begin() + static_cast<std::ptrdiff_t>(size));
  if (const int code = memory.write(argument, answer)) return -code;
  return reply.status == BusStatus::good ? 0 : -EIO;
}

long DeviceNode::scsi_ioctl(std::uint64_t request, std::uint64_t argument, CallerMemory& memory) {
  const bool is_sata = drive_.options().bus == Bus::sata;
  switch (request) {
    case SG_IO:
      return sg_io(scsi_, argument, memory);
    case SG_GET_VERSION_NUM:
      return -memory.write_object(argument, kSgVersion);
    case SG_EMULATED_HOST:
      return -memory.write_object(argument, is_sata ? 1 : 0);
    case SG_SET_TIMEOUT:
      return 0;
    case kScsiGetIdLun:
      return -memory.write_object(argument, std::array<std::uint32_t, 2>{});
    case kScsiGetBusNumber:
      return -memory.write_object(argument, 0);
    case SG_SCSI_RESET: {
      int what = SG_SCSI_RESET_NOTHING;
      if (const int code = memory.read_object(argument, what)) return -code;
      if (what != SG_SCSI_RESET_NOTHING) drive_.hardware_reset();
      return 0;
    }
    case HDIO_GETGEO:
      return hdio_geometry(size_bytes() / 512, argument, memory);
    case HDIO_GET_IDENTITY:
      return is_sata ? hdio_identity(ata_, argument, memory) : -ENOTTY;
    case HDIO_DRIVE_CMD:
      return is_sata ? hdio_drive_command(ata_, argument, memory) : -ENOTTY;
    default:
      return -ENOTTY;
  }
}

}  // namespace keyward::sed
