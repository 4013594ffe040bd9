// PassphraseCustodian seals master keys under a passphrase: for machines without hardware, and as
// break-glass beside it.
//
//   auto custodian = TRY(open_passphrase_custodian({"passphrase", "safe", "source = \"prompt\""},
//                                                  clock));
//   TRY(dynamic_cast<NeedsPassphrase&>(*custodian).supply(std::move(passphrase)));
//
// Settings (TOML):
//   source = "prompt"       # or "file:/path", "credential:NAME", "fd:N": passphrase_source.h
//   scrypt_n = 131072       # a power of two; the memory is 128 · n · r bytes for a moment
//   scrypt_r = 8
//   scrypt_p = 1
//
// scrypt makes a key-encryption key (KEK), which HKDF splits in two: one key for an HMAC that
// commits to the KEK and is checked first, so that a blob opens under one passphrase only, and one
// for AES-256-GCM. Nothing can be destroyed: whoever has an old file and the passphrase opens the
// old key.
//
// In the state directory lies the check file: a salt and a commitment, by which a mistyped
// passphrase is refused at once instead of sealing keys that nobody opens again. It is written when
// a passphrase first seals or opens a key; without it, and without all else that is not the blob,
// keys still open.
//
// Safe from any thread. scrypt runs once for each salt: a tenth of a second and more.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "hsm/custodian.h"
#include "hsm/passphrase/passphrase_blob.h"
#include "hsm/passphrase/passphrase_source.h"

namespace keyward::hsm {

struct PassphraseSettings {
  PassphraseSource source;
  crypto::ScryptCost cost;
};
// `invalid_argument` names the setting and says what is allowed.
Result<PassphraseSettings> parse_passphrase_settings(std::string_view toml);

class PassphraseCustodian final : public Custodian, public NeedsPassphrase {
 public:
  // `check` is what lies at `check_path`. An empty path: nothing is remembered.
  PassphraseCustodian(CustodianId id, PassphraseSettings settings, std::string check_path,
                      std::optional<PassphraseBlob> check);

  const CustodianId& id() const override { return id_; }
  // The same text always: a passphrase has no public part.
  Result<std::string> identity() override;
  bool destroys() const override { return false; }
  Result<GeneratedKey> generate(const KeyContext& context) override;
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  // `auth_failed` when the passphrase is not the one that sealed; `unavailable` when there is none.
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, DestroyScope scope) override;
  Result<std::vector<HeldObject>> list() override;
  Result<void> probe() override;

  // Takes the place of one that was there before. `auth_failed`, and nothing changes, when the
  // check file says that it is another one.
  Result<void> supply(SecretBytes passphrase) override;
  bool has_passphrase() const override;

 private:
  // What scrypt made of the passphrase and one salt.
  struct Kek {
    crypto::ScryptCost cost;
    PassphraseSalt salt;
    crypto::Sha256Digest commitment;
    std::unique_ptr<crypto::Aead> aead;
  };

  // mutex_ is held by the callers of all these.
  Result<void> need_passphrase();
  Result<void> adopt(SecretBytes passphrase);
  Result<Kek> derive_kek(const SecretBytes& passphrase, const crypto::ScryptCost& cost,
                         const PassphraseSalt& salt) const;
  Result<const Kek*> kek_for(const crypto::ScryptCost& cost, const PassphraseSalt& salt);
  Result<void> remember(const Kek& kek);
  Result<SealedKey> seal_under(const Kek& kek, const SecretBytes& key,
                               const KeyContext& context) const;
  Result<SecretBytes> open_under(const Kek& kek, const PassphraseBlob& blob,
                                 const KeyContext& context) const;
  std::unexpected<Error> wrong_passphrase();
  std::unexpected<Error> refused_by_check() const;

  const CustodianId id_;
  const PassphraseSettings settings_;
  mutable std::mutex mutex_;
  std::optional<SecretBytes> passphrase_;
  std::vector<Kek> keks_;  // At most kKeksMax, the oldest first.
  // Seals. One for all that the node seals, kept in the check file, so that one scrypt opens them.
  PassphraseSalt salt_;
  const std::string check_path_;
  std::optional<PassphraseBlob> check_;  // Its cost, salt and commitment count.
};

// Reads the check file, and makes the state directory when it is missing; a check file that is
// damaged is logged and made anew. Reads the passphrase at once when it comes from a descriptor,
// and at its first use otherwise.
Result<std::unique_ptr<Custodian>> open_passphrase_custodian(const CustodianConfig& config,
                                                             Clock& clock);

}  // namespace keyward::hsm
