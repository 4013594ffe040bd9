// What the custodian remembers about its TPM, in one small file in the state directory.
//
//   std::optional<Enrolment> known = TRY(load_enrolment(path));
//   TRY(store_enrolment(path, enrolment));       // once, before anything in the TPM depends on it
//
// The storage root key's public part pins the TPM: nothing is ever encrypted to another one. The NV
// indices' auth value opens the erasure slots; without it copies can neither be opened nor be
// destroyed one by one, so the file belongs into backups of the state directory.
//
// Text, one field a line, readable by its owner alone:
//   keyward-tpm2-enrolment 1
//   srk_public <hexadecimal, a TPM2B_PUBLIC>
//   nv_auth <hexadecimal, 32 bytes>
//
// Values, move only; any thread.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::hsm::tpm2 {

inline constexpr std::size_t kNvAuthBytes = 32;

struct Enrolment {
  Bytes srk_public;
  SecretBytes nv_auth;

  // A TPM Name (Part 1, 16): algorithm ‖ SHA-256 of the public area, in hexadecimal.
  std::string srk_name() const;
};

// Random NV auth; its last byte is not zero, since TPMs drop trailing zeros of auth values.
Result<Enrolment> make_enrolment(Bytes srk_public);

// None when there is no such file; `corrupt` when it is not one of ours.
Result<std::optional<Enrolment>> load_enrolment(const std::string& path);
// Atomic and durable: a file of another name is written, synced and renamed. Mode 0600.
Result<void> store_enrolment(const std::string& path, const Enrolment& enrolment);

}  // namespace keyward::hsm::tpm2
