// The storage root key (SRK): the TPM's own key, under which everything is sealed and by which
// sessions are salted. Its name is the TPM's identity.
//
//   TpmHandle srk = TRY(open_storage_root(tpm, settings.srk_handle, enrolment.srk_public));
//
// Template: TCG EK/SRK guidance for ECC NIST P-256, noDA, no PIN. It is persistent and shared with
// others that use the same handle, as systemd and clevis do.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "hsm/tpm2/tpm_connection.h"

namespace keyward::hsm::tpm2 {

// The key at the handle, made and stored there when it is free. Answers its TPM2B_PUBLIC.
// `conflict` when the handle holds another kind of key. `owner_auth` is the owner hierarchy's, may
// be empty.
Result<Bytes> provide_storage_root(TpmConnection& tpm, std::uint32_t handle, ByteView owner_auth);

// `conflict` when there is none, or another than the enrolled one: the TPM was cleared or replaced.
Result<TpmHandle> open_storage_root(TpmConnection& tpm, std::uint32_t handle,
                                    const Bytes& enrolled_public);

}  // namespace keyward::hsm::tpm2
