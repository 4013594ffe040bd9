// What a TPM's return code means, as an Error: the code to branch on, and a message that says what
// to do.
//
//   const std::uint32_t rc = Esys_Unseal(…);
//   if (rc != 0) return std::unexpected(tpm_error(rc, "Esys_Unseal"));
//
// Codes: TPM 2.0 Library Part 2, 6.6; layers above the TPM: TSS 2.0 Overview, 3.4. Pure functions;
// any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace keyward::hsm::tpm2 {

// The codes on which our own code branches, without handle, parameter or session numbers.
enum class TpmCode : std::uint32_t {
  initialize = 0x100,
  pcr_changed = 0x128,
  nv_defined = 0x14c,
  handle = 0x08b,
  auth_fail = 0x08e,
  policy_fail = 0x09d,
  integrity = 0x09f,
  bad_auth = 0x0a2,
  lockout = 0x921,
};

// True for a code of the TPM itself (or of a resource manager in its name) that means `code`.
bool is_tpm_code(std::uint64_t rc, TpmCode code);

// RETRY, YIELDED, TESTING, NV_RATE, NV_UNAVAILABLE: the same command is sent again after a pause.
bool is_passing(std::uint32_t rc);

// A format-one code that blames a parameter: the TPM does not accept these bytes.
bool blames_parameter(std::uint64_t rc);

// `origin` is a literal: "Esys_Unseal".
Error tpm_error(std::uint32_t rc, std::string_view origin);

}  // namespace keyward::hsm::tpm2
