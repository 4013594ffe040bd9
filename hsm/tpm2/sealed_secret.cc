#include "hsm/tpm2/sealed_secret.h"

#include <fmt/format.h>
#include <tss2/tss2_mu.h>

#include <cstring>

#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/tpm2/tpm_error.h"
#include "hsm/tpm2/tpm_sessions.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kAuthBytes = 32;
constexpr int kPolicyTriesMax = 3;

// With neither PCRs nor a PIN the policy is an empty auth value: this TPM, and nothing else.
bool needs_auth_value(const SealPolicy& policy) {
  return policy.auth != nullptr || policy.pcrs.empty();
}

// With `expected` PCR values for a trial session, else with what the PCRs hold now.
Result<void> apply_policy(TpmConnection& tpm, const TpmHandle& session, const SealPolicy& policy,
                          bool expected) {
  if (!policy.pcrs.empty()) {
    const TPML_PCR_SELECTION selection = pcr_selection(pcr_mask(policy.pcrs));
    TPM2B_DIGEST digest = {};
    if (expected) {
      const crypto::Sha256Digest values = pcr_digest(policy.pcrs);
      digest.size = values.size();
      std::memcpy(digest.buffer, values.data(), values.size());
    }
    TRY(tpm.command("Esys_PolicyPCR", [&] {
      return Esys_PolicyPCR(tpm.esys(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                            &digest, &selection);
    }));
  }
  if (!needs_auth_value(policy)) return {};
  return tpm.command("Esys_PolicyAuthValue", [&] {
    return Esys_PolicyAuthValue(tpm.esys(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                                ESYS_TR_NONE);
  });
}

Result<TPM2B_DIGEST> policy_digest(TpmConnection& tpm, const TpmHandle& srk,
                                   const SealPolicy& policy) {
  const TpmHandle trial = TRY(start_session(tpm, SessionKind::trial, srk.get()));
  TRY(apply_policy(tpm, trial, policy, true));
  TPM2B_DIGEST* raw = nullptr;
  TRY(tpm.command("Esys_PolicyGetDigest", [&] {
    return Esys_PolicyGetDigest(tpm.esys(), trial.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                &raw);
  }));
  const EsysPtr<TPM2B_DIGEST> digest(raw);
  return *digest;
}

TPM2B_PUBLIC sealed_template(const TPM2B_DIGEST& digest, const SealPolicy& policy) {
  TPM2B_PUBLIC area = {};
  area.publicArea.type = TPM2_ALG_KEYEDHASH;
  area.publicArea.nameAlg = TPM2_ALG_SHA256;
  area.publicArea.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT;
  if (policy.auth == nullptr) area.publicArea.objectAttributes |= TPMA_OBJECT_NODA;
  area.publicArea.authPolicy = digest;
  area.publicArea.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG_NULL;
  return area;
}

template <typename Structure>
using Marshal = TSS2_RC (*)(const Structure*, std::uint8_t*, std::size_t, std::size_t*);
template <typename Structure>
using Unmarshal = TSS2_RC (*)(const std::uint8_t*, std::size_t, std::size_t*, Structure*);

template <typename Structure>
Result<Bytes> to_bytes(const Structure& structure, Marshal<Structure> marshal) {
  Bytes bytes(sizeof(Structure));
  std::size_t size = 0;
  const TSS2_RC rc =
      marshal(&structure, reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size(), &size);
  if (rc != TSS2_RC_SUCCESS) return std::unexpected(tpm_error(rc, "Tss2_MU_Marshal"));
  bytes.resize(size);
  return bytes;
}

Result<void> from_bytes(const Bytes& bytes,
                        Unmarshal<std::remove_reference_t<TPM2B_PUBLIC>> unmarshal,
                        TPM2B_PUBLIC& out) {
  std::size_t size = 0;
  const TSS2_RC rc =
      unmarshal(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size(), &size, &out);
  if (rc == TSS2_RC_SUCCESS && size == bytes.size()) return {};
  return fail(ErrorCode::corrupt, "Tss2_MU_TPM2B_PUBLIC_Unmarshal: the sealed copy is damaged",
              "Tss2_MU_TPM2B_PUBLIC_Unmarshal", rc);
}

Result<TpmHandle> load(TpmConnection& tpm, const TpmHandle& srk, const TpmHandle& session,
                       const SealedSecret& sealed) {
  TPM2B_PUBLIC area = {};
  TPM2B_PRIVATE hidden = {};
  TRY(from_bytes(sealed.tpm_public, Tss2_MU_TPM2B_PUBLIC_Unmarshal, area));
  std::size_t size = 0;
  const TSS2_RC rc = Tss2_MU_TPM2B_PRIVATE_Unmarshal(
      reinterpret_cast<const std::uint8_t*>(sealed.tpm_private.data()), sealed.tpm_private.size(),
      &size, &hidden);
  if (rc != TSS2_RC_SUCCESS || size != sealed.tpm_private.size()) {
    return fail(ErrorCode::corrupt, "Tss2_MU_TPM2B_PRIVATE_Unmarshal: the sealed copy is damaged",
                "Tss2_MU_TPM2B_PRIVATE_Unmarshal", rc);
  }
  TRY(protect(tpm, session, Protect::nothing));
  ESYS_TR object = ESYS_TR_NONE;
  Result<void> loaded = tpm.command("Esys_Load", [&] {
    return Esys_Load(tpm.esys(), srk.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE, &hidden,
                     &area, &object);
  });
  if (loaded) return TpmHandle(tpm, object, TpmHandle::AtEnd::flush);
  Error error = loaded.error();
  if (blames_parameter(error.native)) error.code = ErrorCode::corrupt;
  return std::unexpected(std::move(error));
}

std::string wait_text(const LockoutState& state) {
  return fmt::format(
      "{} of {} wrong tries are counted, and one is given back every {} s (after a "
      "failed lock-out authorization: {} s); `tpm2_dictionarylockout -c` clears them "
      "with the lock-out password",
      state.failed, state.failed_max, state.give_back_s, state.recovery_s);
}

// The last try is never spent: a lock-out hits everybody who uses this TPM.
Result<void> check_tries_left(TpmConnection& tpm) {
  const LockoutState state = TRY(read_lockout(tpm));
  if (!state.locked_out && state.failed + 1 < state.failed_max) return {};
  return fail(ErrorCode::locked_out,
              fmt::format("the PIN was not tried: {}: {}",
                          state.locked_out ? "the TPM is locked out"
                                           : "one more wrong try would lock the TPM",
                          wait_text(state)));
}

Error explain_policy_failure(TpmConnection& tpm, const SealPolicy& policy, Error error) {
  std::vector<std::uint8_t> pcrs;
  for (const PcrValue& value : policy.pcrs) pcrs.push_back(value.pcr);
  const Result<PcrValues> now = read_pcrs(tpm, pcrs);
  if (!now) return now.error();
  const std::string changed = describe_change(policy.pcrs, *now);
  if (changed.empty()) {
    return {ErrorCode::corrupt,
            fmt::format("{}: the TPM's policy refuses the sealed copy although no PCR changed: the "
                        "copy is damaged",
                        error.origin),
            error.origin, error.native};
  }
  return {ErrorCode::conflict,
          fmt::format("{}: the TPM's policy forbids it now: changed since the key was sealed: {}. "
                      "Boot as before; or, when the change is wanted, open the keystore by another "
                      "custodian and reseal",
                      error.origin, changed),
          error.origin, error.native};
}

Error explain(TpmConnection& tpm, const SealPolicy& policy, Error error) {
  if (is_tpm_code(error.native, TpmCode::policy_fail)) {
    return explain_policy_failure(tpm, policy, std::move(error));
  }
  const bool wrong_pin = is_tpm_code(error.native, TpmCode::auth_fail);
  if (!wrong_pin && !is_tpm_code(error.native, TpmCode::lockout)) return error;
  if (const Result<LockoutState> state = read_lockout(tpm)) {
    error.message += ": " + wait_text(*state);
  }
  return error;
}

Result<SecretBytes> unseal_once(TpmConnection& tpm, const TpmHandle& srk, const TpmHandle& object,
                                const SealPolicy& policy) {
  const TpmHandle session = TRY(start_session(tpm, SessionKind::policy, srk.get()));
  TRY(protect(tpm, session, Protect::answer));
  TRY(apply_policy(tpm, session, policy, false));
  TPM2B_SENSITIVE_DATA* raw = nullptr;
  TRY(tpm.command("Esys_Unseal", [&] {
    return Esys_Unseal(tpm.esys(), object.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE, &raw);
  }));
  const EsysPtr<TPM2B_SENSITIVE_DATA> data(raw);
  if (data->size != kSecretBytes) {
    return fail(ErrorCode::corrupt, "Esys_Unseal: the sealed secret has a wrong length");
  }
  return SecretBytes::take_from(
      std::as_writable_bytes(std::span(static_cast<BYTE*>(data->buffer), data->size)));
}

}  // namespace

Result<SecretBytes> auth_from_pin(const SecretBytes& pin) {
  SecretBytes auth =
      TRY(crypto::hkdf_sha256(pin.reveal(), {}, as_bytes("keyward tpm2 pin v1"), kAuthBytes));
  auth.reveal_mutable().back() |= std::byte{1};
  return auth;
}

Result<SealedSecret> seal_secret(TpmConnection& tpm, const TpmHandle& srk, const TpmHandle& session,
                                 const SecretBytes& secret, const SealPolicy& policy) {
  const TPM2B_DIGEST digest = TRY(policy_digest(tpm, srk, policy));
  const TPM2B_PUBLIC area = sealed_template(digest, policy);
  const TPM2B_DATA outside = {};
  const TPML_PCR_SELECTION no_pcrs = {};
  TPM2B_SENSITIVE_CREATE sensitive = {};
  sensitive.sensitive.data.size = static_cast<UINT16>(secret.size());
  std::memcpy(sensitive.sensitive.data.buffer, secret.reveal().data(), secret.size());
  if (policy.auth != nullptr) {
    sensitive.sensitive.userAuth.size = static_cast<UINT16>(policy.auth->size());
    std::memcpy(sensitive.sensitive.userAuth.buffer, policy.auth->reveal().data(),
                policy.auth->size());
  }
  TPM2B_PRIVATE* raw_private = nullptr;
  TPM2B_PUBLIC* raw_public = nullptr;
  Result<void> made = protect(tpm, session, Protect::command);
  if (made) {
    made = tpm.command("Esys_Create", [&] {
      return Esys_Create(tpm.esys(), srk.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                         &sensitive, &area, &outside, &no_pcrs, &raw_private, &raw_public, nullptr,
                         nullptr, nullptr);
    });
  }
  explicit_bzero(&sensitive, sizeof(sensitive));
  TRY(std::move(made));
  const EsysPtr<TPM2B_PRIVATE> made_private(raw_private);
  const EsysPtr<TPM2B_PUBLIC> made_public(raw_public);
  Bytes public_bytes = TRY(to_bytes<TPM2B_PUBLIC>(*made_public, Tss2_MU_TPM2B_PUBLIC_Marshal));
  Bytes private_bytes = TRY(to_bytes<TPM2B_PRIVATE>(*made_private, Tss2_MU_TPM2B_PRIVATE_Marshal));
  return SealedSecret{std::move(public_bytes), std::move(private_bytes)};
}

Result<SecretBytes> unseal_secret(TpmConnection& tpm, const TpmHandle& srk,
                                  const TpmHandle& session, const SealedSecret& sealed,
                                  const SealPolicy& policy) {
  if (policy.auth != nullptr) TRY(check_tries_left(tpm));
  TpmHandle object = TRY(load(tpm, srk, session, sealed));
  if (policy.auth != nullptr) TRY(object.set_auth(policy.auth->reveal()));
  for (int tries_left = kPolicyTriesMax;;) {
    Result<SecretBytes> secret = unseal_once(tpm, srk, object, policy);
    if (secret) return secret;
    if (!is_tpm_code(secret.error().native, TpmCode::pcr_changed) || --tries_left == 0) {
      return std::unexpected(explain(tpm, policy, secret.error()));
    }
  }
}

}  // namespace keyward::hsm::tpm2
