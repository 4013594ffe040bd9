// The custodian "tpm2": master keys sealed by a TPM 2.0, each bound to an erasure slot in its NV
// memory.
//
//   auto custodian = TRY(open_tpm2_custodian({"tpm2", "board", "pcrs = [7]", state_dir}, clock));
//   GeneratedKey made = TRY(custodian->generate(context));
//
// A copy opens with three things: a secret that the TPM unseals under its policy (chosen PCRs, a
// PIN), a second secret in an NV slot, and the blob. destroy() overwrites the slot, so that no copy
// of the blob, old or new, opens again. Settings: see tpm2_settings.h.
//
// Safe from any thread: the TPM is spoken to by one worker thread, and each call ends within the
// time limit, also when the TPM has stopped (ESYS itself waits for ever). A call that timed out
// while it waited has had no effect; one that was with the TPM may have had.
#pragma once

#include <memory>

#include "hsm/custodian.h"

namespace keyward::hsm {

// `invalid_argument` names the setting that is wrong. Does not touch the TPM. `clock` paces the
// retries of a TPM that is busy and outlives the custodian; time limits are real time always, since
// hardware does not follow a virtual clock.
Result<std::unique_ptr<Custodian>> open_tpm2_custodian(const CustodianConfig& config, Clock& clock);

}  // namespace keyward::hsm
