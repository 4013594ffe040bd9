// The pages that the target answers from itself, and what fabrics ask of the drive's own: NVM
// Express 1.4, 5.14 and 5.15; NVMe over Fabrics 1.1, 4.
//
//   Bytes page = identify_controller(drive_page, controller_id, nqn);
//
// Pages have 4096 bytes unless said otherwise. Pure functions.
#pragma once

#include <string_view>

#include "base/bytes.h"

namespace keyward::sed::nvme {

// The drive's page with the fields of a controller that is reached over TCP.
Bytes identify_controller(Bytes drive_page, std::uint16_t controller_id, std::string_view nqn);
// CNS 02h: the namespaces after `after`. There is one, 1.
Bytes namespace_list(std::uint32_t after);
// CNS 03h: the names that are in the drive's namespace page, else one UUID made from `nqn`.
Bytes namespace_descriptors(ByteView drive_page, std::string_view nqn);
// Error information, SMART and firmware slot; 512 bytes each. None for another page.
Bytes log_page(std::uint8_t page);

}  // namespace keyward::sed::nvme
