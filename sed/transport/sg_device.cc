#include "sed/transport/sg_device.h"

#include <fmt/format.h>
#include <scsi/sg.h>

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "sed/transport/scsi_sense.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kSenseBytes = 64;
constexpr int kUnitAttentionsMax = 3;
constexpr std::uint64_t kUnitAttention = 0x06;

// The kernel's DID_… and DRIVER_… (include/scsi/scsi_status.h), which no header gives us.
struct HostStatus {
  unsigned number;
  ErrorCode code;
  std::string_view message;
};
constexpr HostStatus kHostStatuses[] = {
    {0x01, ErrorCode::unavailable, "the drive cannot be reached"},
    {0x02, ErrorCode::busy, "the bus is busy"},
    {0x03, ErrorCode::timeout, "the drive did not answer in time"},
    {0x04, ErrorCode::unavailable, "the drive does not respond"},
    {0x05, ErrorCode::timeout, "the host gave the command up"},
    {0x08, ErrorCode::timeout, "the bus was reset during the command"},
    {0x0C, ErrorCode::busy, "the host asks to try again"},
    {0x0D, ErrorCode::busy, "the host asks to try again"},
    {0x0E, ErrorCode::unavailable, "the connection to the drive was disrupted"},
    {0x0F, ErrorCode::unavailable, "the connection to the drive has failed"},
};
constexpr unsigned kDriverTimeout = 0x06;

constexpr unsigned kGood = 0x00, kCheckCondition = 0x02, kConditionMet = 0x04, kBusy = 0x08,
                   kReservationConflict = 0x18, kTaskSetFull = 0x28, kAcaActive = 0x30,
                   kTaskAborted = 0x40;

std::optional<Error> host_error(unsigned host, unsigned driver, const std::string& path) {
  if (host == 0 && (driver & 0x0F) != kDriverTimeout) return std::nullopt;
  HostStatus status{host, ErrorCode::io, "the host adapter reports an error"};
  for (const HostStatus& known : kHostStatuses)
    if (known.number == host) status = known;
  if (host == 0) status = {host, ErrorCode::timeout, "the drive did not answer in time"};
  return Error{status.code,
               fmt::format("SG_IO {}: {} (host status {:02X}h, driver status {:02X}h)",
                           printable(path), status.message, host, driver),
               "SG_IO", host};
}

std::optional<Error> status_error(unsigned status, const std::string& path) {
  ErrorCode code = ErrorCode::io;
  std::string_view message = "the drive reports an error and no reason";
  switch (status) {
    case kGood:
    case kConditionMet:
      return std::nullopt;
    case kBusy:
    case kTaskSetFull:
    case kAcaActive:
      code = ErrorCode::busy;
      message = "the drive is busy";
      break;
    case kReservationConflict:
      code = ErrorCode::conflict;
      message = "another host has reserved the drive";
      break;
    case kTaskAborted:
      code = ErrorCode::timeout;
      message = "another host aborted the command";
      break;
    default:
      break;
  }
  return Error{code, fmt::format("SG_IO {}: {} (status {:02X}h)", printable(path), message, status),
               "SG_IO", status};
}

}  // namespace

Result<std::size_t> SgDevice::read(Cdb cdb, MutableByteView buffer,
                                   std::chrono::milliseconds timeout) {
  return run(cdb, {SG_DXFER_FROM_DEV, buffer.data(), buffer.size()}, timeout);
}

Result<void> SgDevice::write(Cdb cdb, ByteView data, std::chrono::milliseconds timeout) {
  // The kernel reads from there only.
  TRY(run(cdb, {SG_DXFER_TO_DEV, const_cast<std::byte*>(data.data()), data.size()}, timeout));
  return {};
}

Result<void> SgDevice::command(Cdb cdb, std::chrono::milliseconds timeout) {
  TRY(run(cdb, {SG_DXFER_NONE, nullptr, 0}, timeout));
  return {};
}

Result<std::size_t> SgDevice::run(Cdb cdb, const Transfer& transfer,
                                  std::chrono::milliseconds timeout) {
  for (int attention = 0;; ++attention) {
    auto done = run_once(cdb, transfer, timeout);
    const bool again = !done && done.error().origin == kSenseOrigin &&
                       done.error().native >> 16 == kUnitAttention &&
                       attention < kUnitAttentionsMax;
    if (!again) return done;
  }
}

Result<std::size_t> SgDevice::run_once(Cdb cdb, const Transfer& transfer,
                                       std::chrono::milliseconds timeout) {
  std::array<std::uint8_t, 16> command{};
  std::array<std::byte, kSenseBytes> sense{};
  std::ranges::copy(cdb, command.begin());
  sg_io_hdr request{};
  request.interface_id = 'S';
  request.dxfer_direction = transfer.direction;
  request.cmd_len = static_cast<unsigned char>(cdb.size());
  request.cmdp = command.data();
  request.dxfer_len = static_cast<unsigned>(transfer.size);
  request.dxferp = transfer.data;
  request.sbp = reinterpret_cast<unsigned char*>(sense.data());
  request.mx_sb_len = kSenseBytes;
  request.timeout = static_cast<unsigned>(timeout.count());
  TRY(node_.ioctl(SG_IO, &request));

  const ByteView given =
      ByteView(sense).first(std::min<std::size_t>(request.sb_len_wr, kSenseBytes));
  const std::optional<ScsiSense> parsed = parse_sense(given);
  if (parsed)
    if (const auto error = sense_error(*parsed, node_.path())) return std::unexpected(*error);
  if (const auto error = host_error(request.host_status, request.driver_status, node_.path()))
    return std::unexpected(*error);
  if (!(parsed && request.status == kCheckCondition))
    if (const auto error = status_error(request.status, node_.path()))
      return std::unexpected(*error);
  const bool is_resid =
      request.resid > 0 && static_cast<std::size_t>(request.resid) <= transfer.size;
  return transfer.size - (is_resid ? static_cast<std::size_t>(request.resid) : 0);
}

}  // namespace keyward::sed
