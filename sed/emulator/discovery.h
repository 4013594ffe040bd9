// Level 0 discovery (Core 3.3.6; Opal 3.1.1; Enterprise 3.6.2).
#pragma once

#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

struct ComIdSpan {
  std::uint16_t first;
  std::uint16_t count;
};

ComIdSpan com_ids_of(Family family);
Bytes level0_discovery(const EmulatedDriveOptions& options, const DriveState& state,
                       const VolatileState& power);

}  // namespace keyward::sed::emulator
