#include "hsm/tpm2/tpm_error.h"

#include <fmt/format.h>
#include <tss2/tss2_common.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tpm2_types.h>

#include <array>

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::uint32_t kFormatOne = 0x080;
constexpr std::uint32_t kParameter = 0x040;
constexpr std::uint32_t kFormatOneCode = 0x0bf;  // Without parameter bit and number.

bool from_tpm(std::uint64_t rc) {
  const auto layer = static_cast<std::uint32_t>(rc) & TSS2_RC_LAYER_MASK;
  return layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_RC_LAYER ||
         layer == TSS2_RESMGR_TPM_RC_LAYER;
}

// The TPM's own code without what tells handles, parameters and sessions apart.
std::uint32_t plain_code(std::uint64_t rc) {
  const std::uint32_t code = static_cast<std::uint32_t>(rc) & 0xffffu;
  return (code & kFormatOne) != 0 ? code & kFormatOneCode : code;
}

struct Meaning {
  std::uint32_t code;
  ErrorCode error;
  std::string_view advice;
};

constexpr std::string_view kBusyAdvice = "the TPM stayed busy; try again later";
constexpr std::string_view kFullAdvice =
    "the TPM has no room for another object or session: another program left its own behind; use "
    "/dev/tpmrm0, or flush them with tpm2_flushcontext";

constexpr auto kMeanings = std::to_array<Meaning>({
    {TPM2_RC_LOCKOUT, ErrorCode::locked_out, "the TPM counts wrong PINs and no longer listens"},
    {TPM2_RC_AUTH_FAIL, ErrorCode::auth_failed, "the PIN is wrong; one try was spent"},
    {TPM2_RC_BAD_AUTH, ErrorCode::auth_failed,
     "the password is wrong; for the owner hierarchy set owner_auth"},
    {TPM2_RC_POLICY_FAIL, ErrorCode::conflict, "the TPM's policy forbids it now"},
    {TPM2_RC_PCR_CHANGED, ErrorCode::busy, "a PCR changed meanwhile; try again"},
    {TPM2_RC_INTEGRITY, ErrorCode::corrupt,
     "these bytes were not sealed by this TPM, or were changed since"},
    {TPM2_RC_HANDLE, ErrorCode::not_found, "the TPM holds nothing under this handle"},
    {TPM2_RC_RETRY, ErrorCode::busy, kBusyAdvice},
    {TPM2_RC_YIELDED, ErrorCode::busy, kBusyAdvice},
    {TPM2_RC_TESTING, ErrorCode::busy, "the TPM tests itself; try again later"},
    {TPM2_RC_NV_RATE, ErrorCode::busy,
     "the TPM slows writes down to spare its NV memory; try again later"},
    {TPM2_RC_NV_UNAVAILABLE, ErrorCode::busy,
     "the TPM cannot write its NV memory now; try again later"},
    {TPM2_RC_OBJECT_MEMORY, ErrorCode::exhausted, kFullAdvice},
    {TPM2_RC_SESSION_MEMORY, ErrorCode::exhausted, kFullAdvice},
    {TPM2_RC_MEMORY, ErrorCode::exhausted, kFullAdvice},
    {TPM2_RC_SESSION_HANDLES, ErrorCode::exhausted, kFullAdvice},
    {TPM2_RC_OBJECT_HANDLES, ErrorCode::exhausted, kFullAdvice},
    {TPM2_RC_NV_SPACE, ErrorCode::exhausted,
     "the TPM's NV memory is full; free an index with tpm2_nvundefine, or lower nv_indices_max"},
    {TPM2_RC_NV_DEFINED, ErrorCode::already_exists, "the handle is taken"},
    {TPM2_RC_FAILURE, ErrorCode::unavailable,
     "the TPM is in failure mode; power the machine off and on"},
    {TPM2_RC_INITIALIZE, ErrorCode::unavailable, "the TPM was not started up"},
    {TPM2_RC_COMMAND_CODE, ErrorCode::unsupported, "the TPM lacks this command"},
});

Meaning meaning_of(std::uint32_t rc) {
  const std::uint32_t layer = rc & TSS2_RC_LAYER_MASK;
  if (layer == TSS2_TCTI_RC_LAYER || rc == TSS2_ESYS_RC_IO_ERROR) {
    return {
        0, ErrorCode::unavailable,
        "the TPM cannot be reached; check that it is there, that the setting tcti names it, and "
        "that this user may open it"};
  }
  if (rc == TSS2_ESYS_RC_RSP_AUTH_FAILED) {
    return {0, ErrorCode::protocol,
            "the answer's HMAC is wrong: something between here and the TPM changes what passes"};
  }
  if (from_tpm(rc)) {
    for (const Meaning& meaning : kMeanings) {
      if (plain_code(rc) == plain_code(meaning.code)) return meaning;
    }
  }
  return {0, ErrorCode::protocol, "unexpected; `tpm2_rc_decode` and the TPM's vendor explain it"};
}

}  // namespace

bool is_tpm_code(std::uint64_t rc, TpmCode code) {
  return rc != 0 && from_tpm(rc) && plain_code(rc) == static_cast<std::uint32_t>(code);
}

bool is_passing(std::uint32_t rc) {
  if (rc == 0 || !from_tpm(rc)) return false;
  const std::uint32_t code = plain_code(rc);
  return code == TPM2_RC_RETRY || code == TPM2_RC_YIELDED || code == TPM2_RC_TESTING ||
         code == TPM2_RC_NV_RATE || code == TPM2_RC_NV_UNAVAILABLE;
}

bool blames_parameter(std::uint64_t rc) {
  return from_tpm(rc) && (rc & kFormatOne) != 0 && (rc & kParameter) != 0;
}

Error tpm_error(std::uint32_t rc, std::string_view origin) {
  const Meaning meaning = meaning_of(rc);
  return {meaning.error,
          fmt::format("{}: {} ({:#x}): {}", origin, Tss2_RC_Decode(rc), rc, meaning.advice), origin,
          rc};
}

}  // namespace keyward::hsm::tpm2
