// A secret of 32 bytes that the TPM seals under its storage root key and a policy: PCR values, a
// PIN, or the TPM alone.
//
//   SealPolicy policy{TRY(read_pcrs(tpm, settings.pcrs)), &pin};
//   SealedSecret sealed = TRY(seal_secret(tpm, srk, session, secret, policy));
//   SecretBytes again = TRY(unseal_secret(tpm, srk, session, sealed, policy));
//
// Only the policy opens it, never a bare password. Without a PIN it is exempt from the TPM's
// lock-out, so that somebody's wrong PINs or power cuts lock no keystore.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "hsm/tpm2/pcr_values.h"
#include "hsm/tpm2/tpm_connection.h"

namespace keyward::hsm::tpm2 {

struct SealedSecret {
  Bytes tpm_public;   // TPM2B_PUBLIC
  Bytes tpm_private;  // TPM2B_PRIVATE
};

struct SealPolicy {
  PcrValues pcrs;                     // Empty: bound to no PCR.
  const SecretBytes* auth = nullptr;  // From auth_from_pin; nullptr: no PIN.
};

// A TPM's auth value has at most 32 bytes and loses trailing zeros; a PIN may be anything.
Result<SecretBytes> auth_from_pin(const SecretBytes& pin);

Result<SealedSecret> seal_secret(TpmConnection& tpm, const TpmHandle& srk, const TpmHandle& session,
                                 const SecretBytes& secret, const SealPolicy& policy);

// `conflict` names the PCRs that changed since. `auth_failed`: the PIN is wrong, and one try was
// spent. `locked_out`: the TPM counts too many wrong tries, or one more would be the last; then
// none was spent. `corrupt` when the TPM did not make these bytes. `busy` when PCRs keep changing.
Result<SecretBytes> unseal_secret(TpmConnection& tpm, const TpmHandle& srk,
                                  const TpmHandle& session, const SealedSecret& sealed,
                                  const SealPolicy& policy);

}  // namespace keyward::hsm::tpm2
