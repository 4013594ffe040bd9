// What a TPM says of itself that its owner should know: that it is virtual, and that a hierarchy
// has no password.
//
//   for (const HardwareWarning& warning : TRY(read_warnings(*tpm))) …
//
// Lives on the worker's thread.
#pragma once

#include <vector>

#include "base/result.h"
#include "hsm/hardware_warnings.h"
#include "hsm/tpm2/tpm_connection.h"

namespace keyward::hsm::tpm2 {

// Virtual ones are told by their manufacturer (TPM2_PT_MANUFACTURER), where that makes no chips.
// One that is not known to be virtual is no proof of a chip. (TPM 2.0 Library, Part 2, 6.13.)
Result<std::vector<HardwareWarning>> read_warnings(TpmConnection& tpm);

}  // namespace keyward::hsm::tpm2
