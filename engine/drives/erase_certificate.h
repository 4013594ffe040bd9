// An erase certificate says what was done to a drive, when and by whom, what the sampled sectors
// showed, and what may be claimed of it; signed, so that it counts where Keyward is not.
//
//   std::string id = new_certificate_id();
//   ReadProbe before = ReadProbe::take(drive->blocks(), id);
//   TRY(drive->erase(method, pin, Destroy::all_data));
//   auto certificate = make_certificate(id, facts, before, ReadProbe::take(drive->blocks(), id));
//   TRY(sign_certificate(certificate, seed));
//   TRY(verify_certificate(certificate));
//
// What is signed (Ed25519, RFC 8032) is the canonical form: the line "keyward erase certificate v1"
// and, in the order of api::EraseCertificate::fields and without the signature, a line
// "name: value" for each field; UTF-8, each line ends with a line feed. No value has control
// characters, so that each text is one certificate's only. docs/OPERATIONS.md checks one with jq
// and openssl. Values; any thread.
#pragma once

#include <string>

#include "api/drive_row.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/drives/read_probe.h"
#include "sed/drive.h"

namespace keyward::engine {

// What the caller knows of the erase.
struct EraseFacts {
  sed::DriveIdentity identity{};
  std::string feature;  // DriveState::feature, before the erase.
  sed::EraseMethod method{};
  UtcTime started{};
  UtcTime finished{};
  std::string actor;
  std::string node;  // The host's name.
};

std::string new_certificate_id();  // A UUID. It also chooses the sectors of the read probe.

// Not signed yet. Control characters, which a drive may have in its name, are escaped. When the
// probe found data that remain, nothing is claimed.
api::EraseCertificate make_certificate(const std::string& id, const EraseFacts& facts,
                                       const ReadProbe& before, const ReadProbe& after);

std::string canonical_certificate(const api::EraseCertificate& certificate);

// Fills in public key and signature. `invalid_argument` for a seed that has not 32 bytes, or a
// certificate with a control character in it.
Result<void> sign_certificate(api::EraseCertificate& certificate, const SecretBytes& seed);

// `corrupt` when the signature is not one over these fields by the public key in it. Whether that
// key is ours is the caller's question (CertificateStore::public_key).
Result<void> verify_certificate(const api::EraseCertificate& certificate);

// A page to print, which needs nothing from elsewhere and runs nothing. It says whether the
// signature fits.
std::string certificate_html(const api::EraseCertificate& certificate);

}  // namespace keyward::engine
