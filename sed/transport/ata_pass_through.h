// ATA commands in SCSI's ATA PASS-THROUGH (SAT-3, 12.2): for a drive or a translation that has no
// SECURITY PROTOCOL command.
//
//   const AtaCommand identify{.command = 0xEC, .count = 1, .protocol = AtaProtocol::pio_in};
//   device.read(ata_cdb_16(identify).bytes(), page, timeout);
#pragma once

#include <array>
#include <cstdint>

#include "sed/transport/sg_device.h"

namespace keyward::sed {

enum class AtaProtocol : std::uint8_t { non_data = 3, pio_in = 4, pio_out = 5 };

struct AtaCommand {
  std::uint8_t command;
  std::uint8_t feature = 0;
  std::uint8_t count = 0;  // Blocks of 512 bytes.
  std::uint8_t lba_low = 0;
  std::uint8_t lba_mid = 0;
  std::uint8_t lba_high = 0;
  AtaProtocol protocol = AtaProtocol::non_data;
};

struct AtaCdb {
  std::array<std::uint8_t, 16> data{};
  std::size_t size = 0;
  Cdb bytes() const { return Cdb(data).first(size); }
};

AtaCdb ata_cdb_16(const AtaCommand& command);  // 85h.
AtaCdb ata_cdb_12(const AtaCommand& command);  // A1h: as drives behind older adapters take it.

// IDENTIFY DEVICE.
AtaCommand ata_identify();
// TRUSTED SEND and RECEIVE (ACS-3, 7.58 and 7.60); without blocks TRUSTED NON-DATA. `blocks` is
// 255 at most, as the pass-through counts them in eight bits.
AtaCommand ata_trusted(bool is_send, std::uint8_t protocol, std::uint16_t specific,
                       std::size_t blocks);
inline constexpr std::size_t kAtaBlocksMax = 255;
// F1h to F6h. F3h and F5h go without data.
AtaCommand ata_security(std::uint8_t command);

}  // namespace keyward::sed
