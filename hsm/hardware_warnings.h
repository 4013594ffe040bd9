// What weakens the hardware that a custodian uses: for the doctor.
//
//   if (auto* warns = dynamic_cast<WarnsOfHardware*>(&custodian))
//     for (const HardwareWarning& warning : TRY(warns->hardware_warnings())) show(warning);
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace keyward::hsm {

struct HardwareWarning {
  bool is_software = false;  // Else a setting of it.
  std::string text;
  std::string next_step;
};

// A small interface of custodians that can tell. Thread rule and errors are Custodian's.
class WarnsOfHardware {
 public:
  virtual ~WarnsOfHardware() = default;
  // Asks the hardware each time.
  virtual Result<std::vector<HardwareWarning>> hardware_warnings() = 0;
};

}  // namespace keyward::hsm
