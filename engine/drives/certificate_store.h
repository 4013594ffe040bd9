// The CertificateStore signs erase certificates and keeps them.
//
//   SecretBytes seed = TRY(store.signing_key());   // Before the erase: without it, none is begun.
//   TRY(drive->erase(…));
//   TRY(store.issue(certificate, seed, caller));
//   std::vector<api::EraseCertificate> all = TRY(store.list());
//
// They are documents of the control store, "certificate/<id>"; the audit trail has a record of
// each. The seed of the signing key is the entry "certificate/signing-key" of the KEYWARD domain,
// made when it is first asked for; a rekey keeps it. Safe from any thread.
#pragma once

#include <string>
#include <vector>

#include "api/drive_row.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/keyring.h"
#include "store/control_store.h"

namespace keyward::engine {

class CertificateStore final {
 public:
  CertificateStore(Keyring& keyring, store::ControlStore& control)
      : keyring_(keyring), control_(control) {}

  // `unavailable` while the KEYWARD domain is locked.
  Result<SecretBytes> signing_key();
  // Of certificates that this node signs, in hexadecimal: what their `public_key` must be.
  Result<std::string> public_key();

  // Signs, and stores it durably with its audit record. When it cannot be stored the certificate is
  // signed nevertheless, and the caller has the only copy.
  Result<void> issue(api::EraseCertificate& certificate, const SecretBytes& seed,
                     const Caller& caller);

  // As stored; one whose signature does not fit is among them (verify_certificate() tells), one
  // that cannot be read is logged and left out. By the end of the erase, the newest first.
  Result<std::vector<api::EraseCertificate>> list();
  Result<api::EraseCertificate> find(const std::string& id);  // `not_found`, `corrupt`.

 private:
  Keyring& keyring_;
  store::ControlStore& control_;
};

}  // namespace keyward::engine
