// What an emulated drive is made of. See emulated_drive.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/clock.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

enum class Family : std::uint8_t {
  opal2,         // Opal SSC 2.01, with ATA Security beside it on SATA.
  enterprise,    // Enterprise SSC 1.01.
  ata_security,  // No TCG at all.
  // As Opal, with what sets them apart:
  pyrite2,  // Pyrite SSC 2.01: the global range alone, and no keys that a host could destroy.
  ruby,     // Ruby SSC 1.00: no Single User Mode.
};

enum class Bus : std::uint8_t { sata, sas, nvme };

// Chosen when a drive is made; an existing one keeps what it was made with. All but `backing_file`
// have defaults of an ordinary drive.
struct EmulatedDriveOptions {
  std::filesystem::path
      backing_file{};  // Sparse; made if absent. `.state` beside it holds the rest.
  DriveIdentity identity{"5000c500a0000001", "KWEMU0000001", "KEYWARD EMULATED", "1.0"};
  Family family = Family::opal2;
  Bus bus = Bus::sata;
  std::uint64_t sectors = 1u << 20;
  std::uint32_t sector_bytes = 512;  // 512 or 4096.

  // Beside the global one, which Enterprise calls band 0. Up to 255; Pyrite has none.
  std::uint32_t ranges = 8;
  std::uint32_t admins = 4;
  std::uint32_t users = 9;
  std::uint32_t alignment_sectors = 8;  // Of ranges. 0: no alignment is required.
  std::uint64_t data_store_bytes = 10u << 20;
  std::uint64_t shadow_mbr_bytes = 128u << 20;

  std::uint32_t try_limit = 5;  // Of every PIN. 0: none.
  bool tries_persist = false;   // Over power cycles.
  std::string msid{};           // Empty: 32 random characters.
  std::string psid{};           // Empty: 32 random characters, as on a label.
  bool sid_is_msid = true;      // False: the SID's first PIN is the vendor's own, not the MSID.

  std::uint32_t max_com_packet = 65536;
  std::uint32_t max_sessions = 1;
  std::uint32_t max_authentications = 2;

  Clock* clock = nullptr;  // For delays and session timeouts. Null: real time.
};

}  // namespace keyward::sed
