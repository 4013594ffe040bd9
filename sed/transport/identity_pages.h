// What drives say of themselves, taken apart: IDENTIFY DEVICE, INQUIRY, vital product data, NVMe
// Identify.
//
//   const AtaDevice ata = TRY(parse_ata_device(TRY(transport.identify(IdentifyPage::ata_device))));
//   const std::string wwn = TRY(parse_vpd_device(page)).wwn;
//
// Pure functions over bytes from outside: any bytes at all. What is too short, has a wrong checksum
// or is another page is `protocol`. Texts come without the blanks around them, and with bytes that
// are no printable ASCII as \xNN. A WWN is empty where the drive has none, or one of zeros only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

// IDENTIFY DEVICE (ACS-3, 7.12).
struct AtaDevice {
  DriveIdentity identity;
  bool trusted_computing = false;  // Word 48: TRUSTED SEND and RECEIVE are there.
  // What SAT-3 gives as the parameter list of SECURITY PROTOCOL IN, EFh: words 89, 90, 92, 128.
  Bytes security_list;
};
Result<AtaDevice> parse_ata_device(ByteView page);

// Standard INQUIRY data (SPC-5, 6.7.2), of which the first 36 bytes are needed.
struct ScsiInquiry {
  std::uint8_t device_type = 0;  // 00h: a disk. 14h: a host managed zoned disk.
  std::string vendor;            // "ATA" behind a SCSI/ATA translation.
  std::string model;             // 16 characters at most, so it may be cut off.
  std::string firmware;          // Four.
};
Result<ScsiInquiry> parse_scsi_inquiry(ByteView page);

// Vital product data (SPC-5, 7.7): 00h, 80h, 83h.
Result<std::vector<std::uint8_t>> parse_vpd_pages(ByteView page);
Result<std::string> parse_vpd_serial(ByteView page);
struct VpdDevice {
  std::string wwn;        // NAA, or EUI-64 where there is none.
  std::string ata_model;  // From SAT's T10 designator: all of the model, uncut.
};
Result<VpdDevice> parse_vpd_device(ByteView page);

// Identify Controller and Namespace (NVMe 1.4, 5.15).
struct NvmeController {
  DriveIdentity identity;          // Without a WWN, which is the namespace's.
  bool security_commands = false;  // OACS bit 0.
};
Result<NvmeController> parse_nvme_controller(ByteView page);
struct NvmeNamespace {
  std::string wwn;                 // NGUID, or EUI-64 where there is none.
  std::uint32_t sector_bytes = 0;  // 0: a format that nobody has.
  std::uint64_t sectors = 0;
};
Result<NvmeNamespace> parse_nvme_namespace(ByteView page);

// SECURITY PROTOCOL IN, protocol 00h, specific 0000h (SPC-5, 6.38): the protocols there are.
Result<std::vector<std::uint8_t>> parse_protocol_list(ByteView page);

}  // namespace keyward::sed
