// TpmSealer does what the custodian promises, one call after another, on the worker's thread.
//
//   auto sealer = TRY(TpmSealer::create(id, settings, enrolment_path, clock));
//   GeneratedKey made = TRY(sealer->generate(context, stop));
//
// The order inside a seal: slot first (durable, findable by context), then the TPM's object, then
// the blob. So whatever a crash leaves behind, destroy(context) finds. Meanings and errors are
// Custodian's. Not safe from threads.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "crypto/aead.h"
#include "hsm/custodian.h"
#include "hsm/hardware_warnings.h"
#include "hsm/tpm2/enrolment.h"
#include "hsm/tpm2/sealed_blob.h"
#include "hsm/tpm2/tpm2_settings.h"

namespace keyward::hsm::tpm2 {

class TpmSealer final {
 public:
  // Does not touch the TPM. Borrows `clock`, but not any more once a call's stop was requested.
  static Result<std::shared_ptr<TpmSealer>> create(CustodianId id, Tpm2Settings settings,
                                                   std::string enrolment_path, Clock& clock);

  Result<std::string> identity(const std::stop_token& stop);
  Result<GeneratedKey> generate(const KeyContext& context, const std::stop_token& stop);
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context,
                         const std::stop_token& stop);
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context,
                             const std::stop_token& stop);
  Result<void> confirm(const KeyContext& context, const std::stop_token& stop);
  Result<void> destroy(const KeyContext& context, DestroyScope scope, const std::stop_token& stop);
  Result<std::vector<HeldObject>> list(const std::stop_token& stop);
  Result<void> probe(const std::stop_token& stop);
  // Of any TPM that is there, enrolled or not.
  Result<std::vector<HardwareWarning>> hardware_warnings(const std::stop_token& stop);
  // TPM2_Shutdown for a bare TPM that was spoken to.
  Result<void> shut_down(const std::stop_token& stop);

 private:
  struct Talk;  // One call's connection, SRK and session.

  TpmSealer(CustodianId id, Tpm2Settings settings, std::string enrolment_path, Clock& clock,
            const crypto::AeadEngine& aead)
      : id_(std::move(id)),
        settings_(std::move(settings)),
        enrolment_path_(std::move(enrolment_path)),
        clock_(clock),
        aead_(aead) {}

  Result<Talk> talk(const std::stop_token& stop);
  Result<bool> is_enrolled();
  Result<void> enrol(const std::stop_token& stop);
  Result<SecretBytes> owner_auth() const;
  // The PIN's auth value, or none without one. `auth_failed` when this PIN was refused before.
  Result<std::optional<SecretBytes>> pin_auth();
  Result<SealedKey> seal_in(Talk& talk, const SecretBytes& key, const KeyContext& context);
  Result<SecretBytes> unseal_secret_of(Talk& talk, const SealedBlob& blob);
  Result<void> check_no_orphans(const std::stop_token& stop);
  Result<void> sync_software_tpm() const;

  CustodianId id_;
  Tpm2Settings settings_;
  std::string enrolment_path_;
  Clock& clock_;
  const crypto::AeadEngine& aead_;
  std::optional<Enrolment> enrolment_;
  std::optional<SecretBytes> refused_auth_;  // Of the PIN that the TPM said was wrong.
  bool spoke_ = false;
};

}  // namespace keyward::hsm::tpm2
