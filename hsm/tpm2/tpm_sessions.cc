#include "hsm/tpm2/tpm_sessions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/tpm2/tpm_error.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::size_t kMixedBytes = 32;
constexpr std::uint8_t kPcrSelectBytes = 3;

TPM2_SE session_type(SessionKind kind) {
  switch (kind) {
    case SessionKind::hmac:
      return TPM2_SE_HMAC;
    case SessionKind::policy:
      return TPM2_SE_POLICY;
    case SessionKind::trial:
      return TPM2_SE_TRIAL;
  }
  return TPM2_SE_HMAC;
}

// Takes what one answer of PCR_Read holds out of `wanted`, a mask.
Result<void> take_values(const TPML_PCR_SELECTION& selected, const TPML_DIGEST& digests,
                         std::uint32_t& wanted, PcrValues& values) {
  std::uint32_t got = 0;
  for (UINT32 bank = 0; bank < selected.count; ++bank) {
    for (unsigned byte = 0; byte < kPcrSelectBytes; ++byte) {
      got |= static_cast<std::uint32_t>(selected.pcrSelections[bank].pcrSelect[byte]) << (8 * byte);
    }
  }
  got &= wanted;
  if (got == 0) {
    return fail(ErrorCode::unsupported,
                "Esys_PCR_Read: the TPM's SHA-256 bank of PCRs is off; switch it on in the "
                "firmware's setup, or with tpm2_pcrallocate sha256:all, or set pcrs = []");
  }
  UINT32 next = 0;
  for (std::uint8_t pcr = 0; pcr < 8 * kPcrSelectBytes; ++pcr) {
    if ((got >> pcr & 1u) == 0) continue;
    if (next >= digests.count || digests.digests[next].size != sizeof(crypto::Sha256Digest)) {
      return fail(ErrorCode::protocol,
                  "Esys_PCR_Read: the answer's values do not fit its selection");
    }
    PcrValue value{pcr, {}};
    std::memcpy(value.value.data(), digests.digests[next++].buffer, value.value.size());
    values.push_back(value);
  }
  wanted &= ~got;
  return {};
}

}  // namespace

Result<TpmHandle> start_session(TpmConnection& tpm, SessionKind kind, ESYS_TR salt_key) {
  TPMT_SYM_DEF cipher = {};
  cipher.algorithm = TPM2_ALG_AES;
  cipher.keyBits.aes = 128;
  cipher.mode.aes = TPM2_ALG_CFB;
  ESYS_TR session = ESYS_TR_NONE;
  TRY(tpm.command("Esys_StartAuthSession", [&] {
    return Esys_StartAuthSession(tpm.esys(), salt_key, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 ESYS_TR_NONE, nullptr, session_type(kind), &cipher,
                                 TPM2_ALG_SHA256, &session);
  }));
  TpmHandle handle(tpm, session, TpmHandle::AtEnd::flush);
  if (kind != SessionKind::trial) TRY(protect(tpm, handle, Protect::nothing));
  return handle;
}

Result<void> protect(TpmConnection& tpm, const TpmHandle& session, Protect what) {
  TPMA_SESSION flags = TPMA_SESSION_CONTINUESESSION;
  // The names are the TPM's view: it decrypts what the command brings.
  if (what == Protect::command || what == Protect::both) flags |= TPMA_SESSION_DECRYPT;
  if (what == Protect::answer || what == Protect::both) flags |= TPMA_SESSION_ENCRYPT;
  return tpm.command("Esys_TRSess_SetAttributes", [&] {
    return Esys_TRSess_SetAttributes(tpm.esys(), session.get(), flags, 0xff);
  });
}

Result<SecretBytes> random_from_tpm(TpmConnection& tpm, const TpmHandle& session,
                                    std::uint16_t size) {
  TRY(protect(tpm, session, Protect::answer));
  TPM2B_DIGEST* raw = nullptr;
  TRY(tpm.command("Esys_GetRandom", [&] {
    return Esys_GetRandom(tpm.esys(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE, size, &raw);
  }));
  const EsysPtr<TPM2B_DIGEST> random(raw);
  if (random->size != size) {
    return fail(ErrorCode::protocol, "Esys_GetRandom: the TPM gave fewer bytes than asked for");
  }
  return SecretBytes::take_from(
      std::as_writable_bytes(std::span(static_cast<BYTE*>(random->buffer), random->size)));
}

Result<SecretBytes> mixed_random(TpmConnection& tpm, const TpmHandle& session) {
  const SecretBytes ours = TRY(SecretBytes::random(kMixedBytes));
  const SecretBytes theirs = TRY(random_from_tpm(tpm, session, kMixedBytes));
  SecretBytes both = TRY(SecretBytes::allocate(2 * kMixedBytes));
  std::ranges::copy(ours.reveal(), both.reveal_mutable().begin());
  std::ranges::copy(theirs.reveal(), both.reveal_mutable().begin() + kMixedBytes);
  return crypto::hkdf_sha256(both.reveal(), {}, as_bytes("keyward tpm2 random v1"), kMixedBytes);
}

TPML_PCR_SELECTION pcr_selection(std::uint32_t mask) {
  TPML_PCR_SELECTION selection = {};
  selection.count = 1;
  selection.pcrSelections[0].hash = TPM2_ALG_SHA256;
  selection.pcrSelections[0].sizeofSelect = kPcrSelectBytes;
  for (unsigned byte = 0; byte < kPcrSelectBytes; ++byte) {
    selection.pcrSelections[0].pcrSelect[byte] = static_cast<BYTE>(mask >> (8 * byte));
  }
  return selection;
}

Result<PcrValues> read_pcrs(TpmConnection& tpm, const std::vector<std::uint8_t>& pcrs) {
  std::uint32_t wanted = 0;
  for (const std::uint8_t pcr : pcrs) wanted |= 1u << pcr;
  PcrValues values;
  while (wanted != 0) {  // One answer holds at most 8 values.
    const TPML_PCR_SELECTION selection = pcr_selection(wanted);
    TPML_PCR_SELECTION* raw_selected = nullptr;
    TPML_DIGEST* raw_digests = nullptr;
    UINT32 counter = 0;
    TRY(tpm.command("Esys_PCR_Read", [&] {
      return Esys_PCR_Read(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &selection,
                           &counter, &raw_selected, &raw_digests);
    }));
    const EsysPtr<TPML_PCR_SELECTION> selected(raw_selected);
    const EsysPtr<TPML_DIGEST> digests(raw_digests);
    TRY(take_values(*selected, *digests, wanted, values));
  }
  std::ranges::sort(values, {}, &PcrValue::pcr);
  return values;
}

Result<std::optional<std::uint32_t>> read_property(TpmConnection& tpm, TPM2_PT property) {
  TPMI_YES_NO more = TPM2_NO;
  TPMS_CAPABILITY_DATA* raw = nullptr;
  TRY(tpm.command("Esys_GetCapability", [&] {
    return Esys_GetCapability(tpm.esys(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                              TPM2_CAP_TPM_PROPERTIES, property, 1, &more, &raw);
  }));
  const EsysPtr<TPMS_CAPABILITY_DATA> data(raw);
  const TPML_TAGGED_TPM_PROPERTY& found = data->data.tpmProperties;
  if (found.count == 0 || found.tpmProperty[0].property != property) {
    return std::optional<std::uint32_t>();
  }
  return std::optional<std::uint32_t>(found.tpmProperty[0].value);
}

Result<LockoutState> read_lockout(TpmConnection& tpm) {
  LockoutState state;
  const std::uint32_t permanent = TRY(read_property(tpm, TPM2_PT_PERMANENT)).value_or(0);
  state.locked_out = (permanent & TPMA_PERMANENT_INLOCKOUT) != 0;
  state.failed = TRY(read_property(tpm, TPM2_PT_LOCKOUT_COUNTER)).value_or(0);
  state.failed_max = TRY(read_property(tpm, TPM2_PT_MAX_AUTH_FAIL)).value_or(0);
  state.give_back_s = TRY(read_property(tpm, TPM2_PT_LOCKOUT_INTERVAL)).value_or(0);
  state.recovery_s = TRY(read_property(tpm, TPM2_PT_LOCKOUT_RECOVERY)).value_or(0);
  return state;
}

}  // namespace keyward::hsm::tpm2
