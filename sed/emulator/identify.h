// What an emulated drive says of itself on each bus: ACS-3 7.12, SPC-5 6.7 and 7.7, NVMe 1.4 5.15.
#pragma once

#include "sed/emulator/options.h"

namespace keyward::sed::emulator {

// The words of IDENTIFY DEVICE that tell of ATA Security.
struct AtaSecurityWords {
  bool supported = false;
  bool enabled = false;
  std::uint16_t master_id = 0;
  std::uint16_t status = 0;  // Word 128.
};

// `unsupported` when the bus has no such page.
Result<Bytes> identify_page(IdentifyPage page, const EmulatedDriveOptions& options,
                            const AtaSecurityWords& security);

}  // namespace keyward::sed::emulator
