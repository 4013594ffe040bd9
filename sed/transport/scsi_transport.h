// ScsiTransport speaks to a SAS or SATA drive behind Linux's SCSI layer: /dev/sdX or /dev/sgN.
//
//   auto transport = TRY(ScsiTransport::open(TRY(DeviceNode::open("/dev/sdb"))));
//
// Payloads go by SECURITY PROTOCOL IN and OUT (SPC-5, 6.38), which the kernel translates for SATA
// drives without libata.allow_tpm; lengths in blocks of 512 bytes, or in bytes where a drive asks
// for that. Where there is no such command, by ATA PASS-THROUGH with TRUSTED SEND and RECEIVE. What
// a drive takes is learnt from its first refusal, which has had no effect, and kept.
//
// ATA Security (Protocol::ata) goes by SECURITY PROTOCOL EFh, or by F1h to F6h themselves; Linux
// translates only the latter.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "sed/transport/ata_pass_through.h"
#include "sed/transport/device_blocks.h"
#include "sed/transport/identity_pages.h"
#include "sed/transport/known_protocols.h"
#include "sed/transport/security_transport.h"
#include "sed/transport/sg_device.h"

namespace keyward::sed {

struct ScsiTimeouts {
  std::chrono::milliseconds command = std::chrono::seconds{30};
  // SECURITY ERASE UNIT ends when the whole drive has been written.
  std::chrono::milliseconds erase = std::chrono::hours{24};
};

class ScsiTransport final : public SecurityTransport, private SectorCommands {
 public:
  // Two commands for a SATA drive, six for a SAS drive. `unsupported` when it is no disk.
  static Result<std::unique_ptr<ScsiTransport>> open(std::unique_ptr<DeviceNode> node,
                                                     const ScsiTimeouts& timeouts = {});

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage page) override;
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override;
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override;
  BlockAccess* blocks() override { return blocks_ ? &*blocks_ : nullptr; }

 private:
  enum class Way : std::uint8_t { unknown, blocks, bytes, ata_16, ata_12 };
  // One IF-SEND or IF-RECV, whichever way it goes. Its data are whole blocks.
  struct Request {
    Protocol protocol;
    std::uint16_t specific;
    bool is_send;
    ByteView payload;
    MutableByteView buffer;
    std::size_t size() const { return is_send ? payload.size() : buffer.size(); }
  };

  ScsiTransport(std::unique_ptr<DeviceNode> node, const ScsiTimeouts& timeouts);

  Result<void> read_identity();
  Result<void> read_identity_from_vpd(const ScsiInquiry& inquiry);
  Result<Bytes> inquiry();
  Result<Bytes> vital_data(std::uint8_t page);
  Result<Bytes> ata_identify_page();

  Result<std::size_t> transfer(const Request& request);
  Result<std::size_t> transfer_by(Way way, const Request& request);
  Result<std::size_t> security_protocol(const Request& request, bool in_blocks);
  Result<std::size_t> trusted(const Request& request, bool long_cdb);
  Result<std::size_t> run(const AtaCommand& command, bool long_cdb, const Request& request);
  Error explain(Error error, const Request& request);

  Result<void> send_ata_security(std::uint16_t specific, ByteView list);
  Result<void> send_ata_command(std::uint16_t specific, ByteView list);
  Result<std::size_t> receive_ata_security(std::uint16_t specific, MutableByteView buffer);
  Result<std::size_t> ata_security_protocol(const Request& request);

  Result<void> read_sectors(std::uint64_t first, MutableByteView sectors) override;
  Result<void> write_sectors(std::uint64_t first, ByteView sectors) override;

  std::unique_ptr<DeviceNode> node_;
  SgDevice device_;
  ScsiTimeouts timeouts_;
  DriveIdentity identity_;
  std::optional<AtaDevice> ata_;
  bool is_long_cdb_ = true;  // ATA PASS-THROUGH (16) is taken.
  Way way_ = Way::unknown;
  bool has_ata_protocol_ = true;  // EFh. False once it was refused.
  KnownProtocols protocols_;
  std::optional<DeviceBlocks> blocks_;
};

}  // namespace keyward::sed
