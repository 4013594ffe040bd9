#include "hsm/tpm2/storage_root.h"

#include <fmt/format.h>
#include <tss2/tss2_mu.h>

#include <algorithm>
#include <array>

#include "hsm/tpm2/tpm_error.h"
#include "hsm/tpm2/tpm_sessions.h"

namespace keyward::hsm::tpm2 {
namespace {

struct CFreeMemory {
  void operator()(std::uint8_t* memory) const noexcept { Esys_Free(memory); }
};

TPM2B_PUBLIC storage_root_template() {
  TPM2B_PUBLIC key = {};
  key.publicArea.type = TPM2_ALG_ECC;
  key.publicArea.nameAlg = TPM2_ALG_SHA256;
  key.publicArea.objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                    TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                                    TPMA_OBJECT_NODA | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
  TPMS_ECC_PARMS& ecc = key.publicArea.parameters.eccDetail;
  ecc.symmetric.algorithm = TPM2_ALG_AES;
  ecc.symmetric.keyBits.aes = 128;
  ecc.symmetric.mode.aes = TPM2_ALG_CFB;
  ecc.scheme.scheme = TPM2_ALG_NULL;
  ecc.curveID = TPM2_ECC_NIST_P256;
  ecc.kdf.scheme = TPM2_ALG_NULL;
  key.publicArea.unique.ecc.x.size = 32;
  key.publicArea.unique.ecc.y.size = 32;
  return key;
}

Result<TpmHandle> look_up(TpmConnection& tpm, std::uint32_t handle) {
  ESYS_TR key = ESYS_TR_NONE;
  TRY(tpm.command("Esys_TR_FromTPMPublic", [&] {
    return Esys_TR_FromTPMPublic(tpm.esys(), handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                 &key);
  }));
  return TpmHandle(tpm, key, TpmHandle::AtEnd::let_go);
}

Result<Bytes> public_of(TpmConnection& tpm, const TpmHandle& key) {
  TPM2B_PUBLIC* raw = nullptr;
  TRY(tpm.command("Esys_ReadPublic", [&] {
    return Esys_ReadPublic(tpm.esys(), key.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &raw,
                           nullptr, nullptr);
  }));
  const EsysPtr<TPM2B_PUBLIC> area(raw);
  constexpr TPMA_OBJECT kNeeded =
      TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT;
  if ((area->publicArea.objectAttributes & kNeeded) != kNeeded ||
      area->publicArea.nameAlg != TPM2_ALG_SHA256) {
    return fail(ErrorCode::conflict,
                "the key at srk_handle is not a storage root key that stays in this TPM; set "
                "srk_handle to a free handle, and Keyward makes one there");
  }
  Bytes bytes(sizeof(TPM2B_PUBLIC));
  std::size_t size = 0;
  const TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Marshal(
      area.get(), reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size(), &size);
  if (rc != TSS2_RC_SUCCESS) return std::unexpected(tpm_error(rc, "Tss2_MU_TPM2B_PUBLIC_Marshal"));
  bytes.resize(size);
  return bytes;
}

Result<TpmHandle> create_primary(TpmConnection& tpm, const TpmHandle& session) {
  const TPM2B_SENSITIVE_CREATE sensitive = {};
  const TPM2B_PUBLIC key = storage_root_template();
  const TPM2B_DATA outside = {};
  const TPML_PCR_SELECTION no_pcrs = {};
  ESYS_TR made = ESYS_TR_NONE;
  TRY(tpm.command("Esys_CreatePrimary", [&] {
    return Esys_CreatePrimary(tpm.esys(), ESYS_TR_RH_OWNER, session.get(), ESYS_TR_NONE,
                              ESYS_TR_NONE, &sensitive, &key, &outside, &no_pcrs, &made, nullptr,
                              nullptr, nullptr, nullptr);
  }));
  return TpmHandle(tpm, made, TpmHandle::AtEnd::flush);
}

Result<void> create_storage_root(TpmConnection& tpm, std::uint32_t handle, ByteView owner_auth) {
  TRY(set_auth_value(tpm, ESYS_TR_RH_OWNER, owner_auth));
  const TpmHandle session = TRY(start_session(tpm, SessionKind::hmac, ESYS_TR_NONE));
  const TpmHandle made = TRY(create_primary(tpm, session));
  ESYS_TR stored = ESYS_TR_NONE;
  TRY(tpm.command("Esys_EvictControl", [&] {
    return Esys_EvictControl(tpm.esys(), ESYS_TR_RH_OWNER, made.get(), session.get(), ESYS_TR_NONE,
                             ESYS_TR_NONE, handle, &stored);
  }));
  static_cast<void>(TpmHandle(tpm, stored, TpmHandle::AtEnd::let_go));
  return {};
}

// ESYS believes the public area that it was told when it looked the handle up, and salts sessions
// with it. What it holds for the handle ends with that area.
Result<bool> holds_public(TpmConnection& tpm, const TpmHandle& key, const Bytes& enrolled) {
  std::uint8_t* raw = nullptr;
  std::size_t size = 0;
  TRY(tpm.command("Esys_TR_Serialize",
                  [&] { return Esys_TR_Serialize(tpm.esys(), key.get(), &raw, &size); }));
  const std::unique_ptr<std::uint8_t, CFreeMemory> memory(raw);
  const ByteView held(reinterpret_cast<const std::byte*>(raw), size);
  return held.size() >= enrolled.size() && std::ranges::equal(held.last(enrolled.size()), enrolled);
}

constexpr std::string_view kClearedText =
    "the TPM was cleared or replaced: its storage root key is not the enrolled one, and nothing "
    "that "
    "was sealed by it opens any more. Use another custodian's copy; to go on with this TPM, remove "
    "the custodian and add it again under a new name";

}  // namespace

Result<Bytes> provide_storage_root(TpmConnection& tpm, std::uint32_t handle, ByteView owner_auth) {
  const Result<TpmHandle> found = look_up(tpm, handle);
  if (found) return public_of(tpm, *found);
  if (!is_tpm_code(found.error().native, TpmCode::handle)) return std::unexpected(found.error());
  TRY(create_storage_root(tpm, handle, owner_auth));
  return public_of(tpm, TRY(look_up(tpm, handle)));
}

Result<TpmHandle> open_storage_root(TpmConnection& tpm, std::uint32_t handle,
                                    const Bytes& enrolled_public) {
  Result<TpmHandle> found = look_up(tpm, handle);
  if (!found) {
    if (!is_tpm_code(found.error().native, TpmCode::handle)) return found;
    return fail(ErrorCode::conflict, fmt::format("Esys_TR_FromTPMPublic: {}", kClearedText),
                "Esys_TR_FromTPMPublic", found.error().native);
  }
  if (!TRY(holds_public(tpm, *found, enrolled_public))) {
    return fail(ErrorCode::conflict, std::string(kClearedText), "Esys_TR_FromTPMPublic");
  }
  return found;
}

}  // namespace keyward::hsm::tpm2
