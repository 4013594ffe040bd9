// A SecurityTransport carries security-protocol payloads to one drive and back. It knows nothing of
// what they mean: TCG and ATA Security are spoken above it, and an emulated drive answers below it.
//
//   TRY(transport.send(Protocol::tcg, com_id, request));
//   std::size_t size = TRY(transport.receive(Protocol::tcg, com_id, reply));
//   Bytes words = TRY(transport.identify(IdentifyPage::ata_device));
//
// Used by one thread at a time: whoever owns it speaks alone. A call ends within the transport's
// time limit, as far as the kernel allows.
//
// Errors: `unavailable` (gone), `timeout`, `busy`, `unsupported` (no such protocol or page),
// `conflict` (a command out of sequence, or one that the drive's state forbids), `invalid_argument`
// (a length or a ComID that the drive does not take), `not_permitted` (the drive or the host denies
// access), `io`. Error::native is the bus's own status where there is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::sed {

// Who a drive is, wherever it is plugged in. Never a /dev name: that is where it happens to be
// today.
struct DriveIdentity {
  std::string wwn;  // 16 or 32 hexadecimal digits, lower case; EUI-64 or NGUID on NVMe. Or empty.
  std::string serial;
  std::string model;
  std::string firmware;
};

// SECURITY PROTOCOL values of SPC-5. With `ata` the payloads are SAT-3's parameter lists, so that
// ATA Security needs no second seam.
enum class Protocol : std::uint8_t { information = 0x00, tcg = 0x01, com_id = 0x02, ata = 0xEF };

// What the drive says of itself, byte for byte. A bus has some of these pages and not the others.
enum class IdentifyPage : std::uint8_t {
  ata_device,       // IDENTIFY DEVICE, 512 bytes (ACS-3, 7.12).
  scsi_inquiry,     // Standard INQUIRY data (SPC-5, 6.7.2).
  scsi_vpd_pages,   // Vital product data: 00h, the pages there are.
  scsi_vpd_serial,  // 80h.
  scsi_vpd_device,  // 83h.
  nvme_controller,  // Identify, CNS 01h, 4096 bytes.
  nvme_namespace,   // Identify, CNS 00h, 4096 bytes.
};

// The drive's sectors, for what is about the data and not about the lock: the read probe of an
// erase certificate, the partition table once all ranges are open, and tests. Buffers are whole
// sectors.
class BlockAccess {
 public:
  virtual ~BlockAccess() = default;
  virtual std::uint32_t sector_bytes() const = 0;
  virtual std::uint64_t sector_count() const = 0;
  // `not_permitted` when the drive refuses because the range is locked.
  virtual Result<void> read(std::uint64_t first_sector, MutableByteView sectors) = 0;
  virtual Result<void> write(std::uint64_t first_sector, ByteView sectors) = 0;
  virtual Result<void> reread_partitions() = 0;  // Idempotent.
};

class SecurityTransport {
 public:
  virtual ~SecurityTransport() = default;

  // Read when the transport was opened. No I/O.
  virtual const DriveIdentity& identity() const = 0;

  virtual Result<Bytes> identify(IdentifyPage page) = 0;

  // IF-SEND. `specific` is the protocol-specific field (a ComID for TCG); `payload` is padded as
  // the bus asks, and wiped by the caller when it holds a PIN. Not idempotent; never retried here.
  virtual Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) = 0;

  // IF-RECV. Fills the front of `buffer` and answers how many bytes the drive gave, which may be
  // padding after the answer's own end.
  virtual Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                                      MutableByteView buffer) = 0;

  // Null where there are none. Lives as long as the transport.
  virtual BlockAccess* blocks() { return nullptr; }
};

}  // namespace keyward::sed
