// Sessions and small questions to a TPM, over one connection.
//
//   TpmHandle hmac = TRY(start_session(tpm, SessionKind::hmac, srk.get()));
//   TRY(protect(tpm, hmac, Protect::answer));
//   SecretBytes random = TRY(random_from_tpm(tpm, hmac, 32));
//
// All sessions are salted by the SRK (unless it does not exist yet) and encrypt with AES-128-CFB,
// so that a listener on the bus, or a substitute TPM, learns nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/secret_bytes.h"
#include "hsm/tpm2/pcr_values.h"
#include "hsm/tpm2/tpm_connection.h"

namespace keyward::hsm::tpm2 {

enum class SessionKind : std::uint8_t { hmac, policy, trial };

// `salt_key` may be ESYS_TR_NONE.
Result<TpmHandle> start_session(TpmConnection& tpm, SessionKind kind, ESYS_TR salt_key);

// Which parameter the session encrypts. A TPM refuses to encrypt one that the command lacks.
enum class Protect : std::uint8_t { nothing, command, answer, both };
Result<void> protect(TpmConnection& tpm, const TpmHandle& session, Protect what);

// At most 32 bytes, encrypted on the way.
Result<SecretBytes> random_from_tpm(TpmConnection& tpm, const TpmHandle& session,
                                    std::uint16_t size);

// 32 bytes: the TPM's randomness mixed with the system's, so that either suffices.
Result<SecretBytes> mixed_random(TpmConnection& tpm, const TpmHandle& session);

// `unsupported` when the TPM's SHA-256 bank is off.
Result<PcrValues> read_pcrs(TpmConnection& tpm, const std::vector<std::uint8_t>& pcrs);
TPML_PCR_SELECTION pcr_selection(std::uint32_t mask);

// One of the TPM's properties (TPM2_PT_…); none when the TPM does not have it.
Result<std::optional<std::uint32_t>> read_property(TpmConnection& tpm, TPM2_PT property);

// The protection against guessing (Part 1, 19.8).
struct LockoutState {
  bool locked_out = false;
  std::uint32_t failed = 0;       // Wrong tries counted now.
  std::uint32_t failed_max = 0;   // As many lock out.
  std::uint32_t give_back_s = 0;  // One try is given back after this long.
  std::uint32_t recovery_s = 0;   // After a failed lock-out authorization.
};
Result<LockoutState> read_lockout(TpmConnection& tpm);

}  // namespace keyward::hsm::tpm2
