#include "sed/transport/scsi_transport.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/secret_bytes.h"
#include "base/text.h"
#include "sed/transport/ata_pass_through.h"
#include "sed/transport/scsi_sense.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kInquiryBytes = 36;
// What fits into the one byte that older drives look at.
constexpr std::size_t kVitalBytes = 252;
constexpr std::size_t kVitalBytesMax = 8192;
constexpr std::size_t kSecurityListBytes = 36;
constexpr std::uint8_t kProtocolIn = 0xA2, kProtocolOut = 0xB5, kInquiry = 0x12, kRead16 = 0x88,
                       kWrite16 = 0x8A;
constexpr std::uint8_t kVitalPages = 0x00, kVitalSerial = 0x80, kVitalDevice = 0x83;
constexpr std::uint16_t kErasePrepare = 3, kEraseUnit = 4, kFreezeLock = 5, kSetPassword = 1,
                        kDisablePassword = 6;

template <std::size_t size>
void put_big_endian(std::array<std::uint8_t, size>& cdb, std::size_t at, std::uint64_t value,
                    std::size_t bytes) {
  for (std::size_t n = 0; n < bytes; ++n)
    cdb[at + n] = static_cast<std::uint8_t>(value >> (8 * (bytes - 1 - n)));
}

bool failed_with(const auto& done, std::uint64_t sense) {
  return !done && is_sense(done.error(), sense);
}

bool is_disk(std::uint8_t device_type) { return device_type == 0x00 || device_type == 0x14; }

// The drive or its translation has no IDENTIFY DEVICE: so it is no ATA drive, or hides it.
bool is_no_ata(const Error& error) {
  switch (error.code) {
    case ErrorCode::unsupported:
    case ErrorCode::invalid_argument:
    case ErrorCode::not_permitted:
    case ErrorCode::conflict:
    case ErrorCode::protocol:
    case ErrorCode::io:
      return true;
    default:
      return false;
  }
}

Result<SecretBytes> padded(ByteView payload) {
  SecretBytes whole =
      TRY(SecretBytes::allocate((payload.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes));
  std::ranges::copy(payload, whole.reveal_mutable().begin());
  return whole;
}

bool has_password(std::uint16_t specific) {
  return specific != kErasePrepare && specific != kFreezeLock;
}

// SAT-3's list of 36 bytes as the 512 bytes of F1h to F6h. The list is big-endian, words are
// little-endian.
Result<SecretBytes> ata_words(std::uint16_t specific, ByteView list) {
  constexpr std::byte kMaster{0x01}, kEnhanced{0x02}, kMaximum{0x01};
  constexpr std::size_t kPassword = 2, kPasswordBytes = 32;
  SecretBytes words = TRY(SecretBytes::allocate(kBlockBytes));
  const MutableByteView out = words.reveal_mutable();
  const bool flag = (list[0] & std::byte{1}) != std::byte{0};
  if ((list[1] & std::byte{1}) != std::byte{0}) out[0] |= kMaster;
  if (flag && specific == kEraseUnit) out[0] |= kEnhanced;
  if (flag && specific == kSetPassword) out[1] |= kMaximum;
  std::ranges::copy(list.subspan(kPassword, kPasswordBytes), out.begin() + kPassword);
  out[34] = list[35];
  out[35] = list[34];
  return words;
}

}  // namespace

ScsiTransport::ScsiTransport(std::unique_ptr<DeviceNode> node, const ScsiTimeouts& timeouts)
    : node_(std::move(node)), device_(*node_), timeouts_(timeouts) {
  SectorCommands& commands = *this;
  if (const auto geometry = node_->geometry()) blocks_.emplace(*node_, *geometry, commands);
}

Result<std::unique_ptr<ScsiTransport>> ScsiTransport::open(std::unique_ptr<DeviceNode> node,
                                                           const ScsiTimeouts& timeouts) {
  std::unique_ptr<ScsiTransport> transport(new ScsiTransport(std::move(node), timeouts));
  TRY(transport->read_identity());
  return transport;
}

Result<void> ScsiTransport::read_identity() {
  const ScsiInquiry answer = TRY(parse_scsi_inquiry(TRY(inquiry())));
  if (!is_disk(answer.device_type))
    return fail(ErrorCode::unsupported, fmt::format("{}: no disk (SCSI device type {:02X}h)",
                                                    printable(node_->path()), answer.device_type));
  const Result<Bytes> page = ata_identify_page();
  if (!page && !is_no_ata(page.error())) return std::unexpected(page.error());
  if (page)
    if (Result<AtaDevice> device = parse_ata_device(*page)) ata_ = *std::move(device);
  if (!ata_) return read_identity_from_vpd(answer);
  identity_ = ata_->identity;
  return {};
}

Result<void> ScsiTransport::read_identity_from_vpd(const ScsiInquiry& inquiry) {
  identity_ = {"", "", inquiry.model, inquiry.firmware};
  const Result<Bytes> list = vital_data(kVitalPages);
  if (!list && !is_no_ata(list.error())) return std::unexpected(list.error());
  if (!list) return {};
  const std::vector<std::uint8_t> pages = TRY(parse_vpd_pages(*list));
  const auto has = [&](std::uint8_t page) { return std::ranges::count(pages, page) != 0; };
  if (has(kVitalSerial)) identity_.serial = TRY(parse_vpd_serial(TRY(vital_data(kVitalSerial))));
  if (!has(kVitalDevice)) return {};
  const VpdDevice device = TRY(parse_vpd_device(TRY(vital_data(kVitalDevice))));
  identity_.wwn = device.wwn;
  if (!device.ata_model.empty()) identity_.model = device.ata_model;
  return {};
}

Result<Bytes> ScsiTransport::identify(IdentifyPage page) {
  switch (page) {
    case IdentifyPage::ata_device:
      return ata_identify_page();
    case IdentifyPage::scsi_inquiry:
      return inquiry();
    case IdentifyPage::scsi_vpd_pages:
      return vital_data(kVitalPages);
    case IdentifyPage::scsi_vpd_serial:
      return vital_data(kVitalSerial);
    case IdentifyPage::scsi_vpd_device:
      return vital_data(kVitalDevice);
    case IdentifyPage::nvme_controller:
    case IdentifyPage::nvme_namespace:
      break;
  }
  return fail(ErrorCode::unsupported, "a SCSI drive has no NVMe Identify data");
}

Result<Bytes> ScsiTransport::inquiry() {
  Bytes page(kInquiryBytes);
  const std::uint8_t cdb[6] = {kInquiry, 0, 0, 0, kInquiryBytes, 0};
  page.resize(TRY(device_.read(cdb, page, timeouts_.command)));
  return page;
}

// Asked for again where it is longer than what the first request has room for.
Result<Bytes> ScsiTransport::vital_data(std::uint8_t page) {
  for (std::size_t size = kVitalBytes;;) {
    Bytes data(size);
    std::array<std::uint8_t, 6> cdb{kInquiry, 1, page};
    put_big_endian(cdb, 3, size, 2);
    data.resize(TRY(device_.read(cdb, data, timeouts_.command)));
    if (data.size() < 4) return data;
    const std::size_t whole =
        4 + (std::to_integer<std::size_t>(data[2]) << 8 | std::to_integer<std::size_t>(data[3]));
    if (whole <= data.size()) {
      data.resize(whole);
      return data;
    }
    if (size == kVitalBytesMax || whole <= size) return data;
    size = std::min(whole, kVitalBytesMax);
  }
}

Result<Bytes> ScsiTransport::ata_identify_page() {
  Bytes page(kBlockBytes);
  const Request request{Protocol::information, 0, false, {}, page};
  auto done = run(ata_identify(), is_long_cdb_, request);
  if (is_long_cdb_ && failed_with(done, kInvalidOpcode)) {
    done = run(ata_identify(), false, request);
    is_long_cdb_ = !done;
  }
  page.resize(TRY(std::move(done)));
  return page;
}

Result<void> ScsiTransport::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  if (protocol == Protocol::ata) return send_ata_security(specific, payload);
  if (payload.empty()) return fail(ErrorCode::invalid_argument, "nothing to send");
  const SecretBytes whole = TRY(padded(payload));
  TRY(transfer({protocol, specific, true, whole.reveal(), {}}));
  return {};
}

Result<std::size_t> ScsiTransport::receive(Protocol protocol, std::uint16_t specific,
                                           MutableByteView buffer) {
  if (buffer.empty()) return fail(ErrorCode::invalid_argument, "no room for an answer");
  if (protocol == Protocol::ata) return receive_ata_security(specific, buffer);
  if (buffer.size() % kBlockBytes == 0) return transfer({protocol, specific, false, {}, buffer});
  SecretBytes whole = TRY(padded(buffer));
  const std::size_t size = TRY(transfer({protocol, specific, false, {}, whole.reveal_mutable()}));
  const std::size_t kept = std::min(size, buffer.size());
  std::copy_n(whole.reveal().begin(), kept, buffer.begin());
  return kept;
}

Result<std::size_t> ScsiTransport::transfer(const Request& request) {
  const bool is_known = way_ != Way::unknown;
  Way way = is_known ? way_ : Way::blocks;
  Result<std::size_t> done = transfer_by(way, request);
  if (!is_known && failed_with(done, kInvalidFieldInCdb)) {
    auto in_bytes = transfer_by(Way::bytes, request);
    if (!failed_with(in_bytes, kInvalidFieldInCdb)) {
      way = Way::bytes;
      done = std::move(in_bytes);
    }
  }
  if (!is_known && failed_with(done, kInvalidOpcode) && ata_ && ata_->trusted_computing) {
    way = is_long_cdb_ ? Way::ata_16 : Way::ata_12;
    done = transfer_by(way, request);
    // A drive aborts what it does not take: such sense comes from the kernel's own filter.
    if (failed_with(done, kInvalidFieldInCdb))
      return fail(ErrorCode::not_permitted,
                  fmt::format("{}: the kernel passes no TRUSTED commands on; start it with "
                              "libata.allow_tpm=1",
                              printable(node_->path())),
                  kSenseOrigin, kInvalidFieldInCdb);
  }
  if (!done) return std::unexpected(explain(std::move(done).error(), request));
  way_ = way;
  return done;
}

Result<std::size_t> ScsiTransport::transfer_by(Way way, const Request& request) {
  switch (way) {
    case Way::unknown:
    case Way::blocks:
      return security_protocol(request, true);
    case Way::bytes:
      return security_protocol(request, false);
    case Way::ata_16:
      return trusted(request, true);
    case Way::ata_12:
      return trusted(request, false);
  }
  return fail(ErrorCode::unsupported, "no way to the drive");
}

Result<std::size_t> ScsiTransport::security_protocol(const Request& request, bool in_blocks) {
  constexpr std::uint8_t kIncrement512 = 0x80;
  std::array<std::uint8_t, 12> cdb{request.is_send ? kProtocolOut : kProtocolIn,
                                   static_cast<std::uint8_t>(request.protocol)};
  put_big_endian(cdb, 2, request.specific, 2);
  if (in_blocks) cdb[4] = kIncrement512;
  put_big_endian(cdb, 6, in_blocks ? request.size() / kBlockBytes : request.size(), 4);
  const bool is_erase = request.protocol == Protocol::ata && request.specific == kEraseUnit;
  const auto timeout = is_erase ? timeouts_.erase : timeouts_.command;
  if (!request.is_send) return device_.read(cdb, request.buffer, timeout);
  if (request.payload.empty())
    TRY(device_.command(cdb, timeout));
  else
    TRY(device_.write(cdb, request.payload, timeout));
  return request.payload.size();
}

Result<std::size_t> ScsiTransport::trusted(const Request& request, bool long_cdb) {
  const std::size_t blocks = request.size() / kBlockBytes;
  if (blocks > kAtaBlocksMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("an ATA PASS-THROUGH moves {} bytes at most", kAtaBlocksMax * 512));
  return run(ata_trusted(request.is_send, static_cast<std::uint8_t>(request.protocol),
                         request.specific, blocks),
             long_cdb, request);
}

Result<std::size_t> ScsiTransport::run(const AtaCommand& command, bool long_cdb,
                                       const Request& request) {
  const AtaCdb cdb = long_cdb ? ata_cdb_16(command) : ata_cdb_12(command);
  const bool is_erase = request.protocol == Protocol::ata && request.specific == kEraseUnit;
  const auto timeout = is_erase ? timeouts_.erase : timeouts_.command;
  switch (command.protocol) {
    case AtaProtocol::pio_in:
      return device_.read(cdb.bytes(), request.buffer, timeout);
    case AtaProtocol::pio_out:
      TRY(device_.write(cdb.bytes(), request.payload, timeout));
      break;
    case AtaProtocol::non_data:
      TRY(device_.command(cdb.bytes(), timeout));
      break;
  }
  return request.payload.size();
}

// SCSI has one status for a protocol, a ComID and a length that the drive does not take.
Error ScsiTransport::explain(Error error, const Request& request) {
  if (is_sense(error, kInvalidOpcode)) {
    error.message = fmt::format(
        "{}: the drive takes no security commands (neither SECURITY PROTOCOL nor ATA's)",
        printable(node_->path()));
    return error;
  }
  if (!is_sense(error, kInvalidFieldInCdb)) return error;
  const bool lacks = protocols_.lacks(request.protocol, [&](MutableByteView page) {
    return transfer({Protocol::information, 0, false, {}, page});
  });
  if (lacks) {
    error.code = ErrorCode::unsupported;
    error.message = fmt::format("{}: the drive has no security protocol {:02X}h",
                                printable(node_->path()), static_cast<unsigned>(request.protocol));
  }
  return error;
}

Result<void> ScsiTransport::send_ata_security(std::uint16_t specific, ByteView list) {
  if (specific < kSetPassword || specific > kDisablePassword)
    return fail(ErrorCode::invalid_argument,
                fmt::format("ATA Security has no command {}", specific));
  if (has_password(specific) && list.size() != kSecurityListBytes)
    return fail(ErrorCode::invalid_argument, "ATA Security's parameter list has 36 bytes");
  if (!has_password(specific)) list = {};
  if (has_ata_protocol_) {
    const auto done = ata_security_protocol({Protocol::ata, specific, true, list, {}});
    if (done) return {};
    if (has_ata_protocol_) return std::unexpected(done.error());
  }
  return send_ata_command(specific, list);
}

Result<void> ScsiTransport::send_ata_command(std::uint16_t specific, ByteView list) {
  const AtaCommand command = keyward::sed::ata_security(static_cast<std::uint8_t>(0xF0 + specific));
  if (list.empty()) {
    TRY(run(command, is_long_cdb_, {Protocol::ata, specific, true, {}, {}}));
    return {};
  }
  const SecretBytes words = TRY(ata_words(specific, list));
  TRY(run(command, is_long_cdb_, {Protocol::ata, specific, true, words.reveal(), {}}));
  return {};
}

Result<std::size_t> ScsiTransport::receive_ata_security(std::uint16_t specific,
                                                        MutableByteView buffer) {
  if (has_ata_protocol_) {
    auto done = ata_security_protocol({Protocol::ata, specific, false, {}, buffer});
    if (done || has_ata_protocol_) return done;
  }
  if (specific != 0)
    return fail(ErrorCode::invalid_argument,
                fmt::format("ATA Security has no information {}", specific));
  const AtaDevice device = TRY(parse_ata_device(TRY(ata_identify_page())));
  const std::size_t size = std::min(buffer.size(), device.security_list.size());
  std::copy_n(device.security_list.begin(), size, buffer.begin());
  return size;
}

// Lengths are in bytes there. A refusal of an ATA drive's translation says that it has no EFh.
Result<std::size_t> ScsiTransport::ata_security_protocol(const Request& request) {
  Result<std::size_t> done = security_protocol(request, false);
  if (done) return done;
  const bool refused = failed_with(done, kInvalidOpcode) || failed_with(done, kInvalidFieldInCdb);
  if (refused && ata_) {
    has_ata_protocol_ = false;
    return done;
  }
  return std::unexpected(explain(std::move(done).error(), request));
}

Result<void> ScsiTransport::read_sectors(std::uint64_t first, MutableByteView sectors) {
  std::array<std::uint8_t, 16> cdb{kRead16};
  put_big_endian(cdb, 2, first, 8);
  put_big_endian(cdb, 10, sectors.size() / blocks_->sector_bytes(), 4);
  if (TRY(device_.read(cdb, sectors, timeouts_.command)) != sectors.size())
    return fail(ErrorCode::io, "READ (16): the drive has sent less than was asked for", "SG_IO");
  return {};
}

Result<void> ScsiTransport::write_sectors(std::uint64_t first, ByteView sectors) {
  std::array<std::uint8_t, 16> cdb{kWrite16};
  put_big_endian(cdb, 2, first, 8);
  put_big_endian(cdb, 10, sectors.size() / blocks_->sector_bytes(), 4);
  return device_.write(cdb, sectors, timeouts_.command);
}

}  // namespace keyward::sed
