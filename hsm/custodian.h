// A Custodian seals master keys so that they can rest on disk, and destroys them for good.
//
//   KeyContext context{store, domain, key_id};       // key_id was journalled before this line.
//   GeneratedKey made = TRY(custodian.generate(context));
//   SecretBytes again = TRY(custodian.unseal(made.copy, context));    // Proved before it counts.
//   TRY(custodian.confirm(context));                 // The key is in use now.
//   TRY(custodian.destroy(context, DestroyScope::everything));  // No copy of the blob opens now.
//
// Implementations: hsm/pkcs11, hsm/tpm2, hsm/kmip, hsm/passphrase; hsm/testing has Fake and Faulty.
// Safe from any thread; calls are serialised inside, one at a time per token, TPM or server. Each
// call ends within the custodian's configured time limit, so it needs no stop_token. Asked at
// unseal, rekey and probe, never per request.
//
// Errors of every call: `unavailable` (absent, unreachable), `busy`, `timeout` (it may have taken
// effect), `auth_failed` (a wrong PIN; one try was spent, nothing is retried), `locked_out` (also
// when one more try would lock: the last try is never spent), `protocol`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "base/secret_bytes.h"

namespace keyward::hsm {

// What destroy() may touch. A state directory restored from a backup may announce, once more, a key
// that the newer state has taken into use; its journal cannot know, but the hardware does.
enum class DestroyScope : std::uint8_t {
  unconfirmed,  // For a key that was only announced: `conflict` when the object found is confirmed.
  everything,   // For a key that is retiring.
};

// One object of Keyward's in the hardware, as list() finds it.
struct HeldObject {
  KeyContext context;
  bool confirmed = false;
  std::string where;  // For people: "object \"keyward S3 …\", CKA_ID 00ff…", "NV 0x1800000 slot 3".
};

struct GeneratedKey {
  SecretBytes key;  // 32 bytes.
  SealedKey copy;
};

class Custodian {
 public:
  virtual ~Custodian() = default;

  // Stable over restarts and re-plugging. No I/O.
  virtual const CustodianId& id() const = 0;

  // The public part that it is pinned by: a token's serial number and label, an SRK's name. Asks
  // the hardware the first time, then answers from memory. `conflict` when the hardware is not the
  // one that was enrolled.
  virtual Result<std::string> identity() = 0;

  // Whether destroy() makes old copies useless. A passphrase cannot. No I/O.
  virtual bool destroys() const = 0;

  // Makes a 256-bit key and its sealed copy. Randomness is the hardware's mixed with the system's;
  // a KMIP server makes the key itself. Durable in the hardware when it returns. Not idempotent:
  // `already_exists` when the custodian holds something for `context`. After a crash or a timeout,
  // call destroy(context), then this again with the same context: what turns up late under it (a
  // slow replica) is then found and destroyed with it in the end.
  virtual Result<GeneratedKey> generate(const KeyContext& context) = 0;

  // The same for a key that exists already: a second custodian, or a migration.
  virtual Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) = 0;

  // `corrupt` when the blob, or its context, is not the one that was sealed; `not_found` when what
  // it needs in the hardware is gone; `conflict` when a policy forbids it now (the message names
  // the PCR).
  virtual Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) = 0;

  // Marks what the hardware holds for `context` as in use, so that destroy(…, unconfirmed) no
  // longer touches it. Idempotent; `not_found` when there is nothing. Durable when it returns.
  virtual Result<void> confirm(const KeyContext& context) = 0;

  // Destroys everything in the hardware that opens a copy of `context`, and looks again to see that
  // it is gone. Idempotent: nothing found is success. Needs no blob, so that it cleans up after a
  // crash between generate() and the moment when the blob was stored. Durable when it returns. A
  // passphrase has no hardware: there a stolen old file and the passphrase still open the old key,
  // as is said where it is configured.
  virtual Result<void> destroy(const KeyContext& context, DestroyScope scope) = 0;

  // Everything of Keyward's in this hardware, other stores' and other nodes' too. For people and
  // for the doctor: the product destroys only what its own journal announced, never what is merely
  // unknown.
  virtual Result<std::vector<HeldObject>> list() = 0;

  // A real seal, unseal and compare with a throw-away key: a ping proves nothing. Must not wear the
  // hardware out: it is called every 10 minutes (TPM: no NV write).
  virtual Result<void> probe() = 0;
};

// A second, small interface of custodians that wait for a person: the passphrase.
class NeedsPassphrase {
 public:
  virtual ~NeedsPassphrase() = default;
  // Kept in locked memory until the process ends.
  virtual Result<void> supply(SecretBytes passphrase) = 0;
  virtual bool has_passphrase() const = 0;
};

// One [[custodian]] table of the configuration.
struct CustodianConfig {
  std::string kind;  // "pkcs11", "tpm2", "passphrase".
  std::string name;  // [a-z][a-z0-9-]{0,31}: "hsm1".
  // TOML text of that kind's own settings. Never a secret: it names where one is.
  std::string settings;
  // A directory of the node's own, for what a custodian must remember about its hardware (a TPM's
  // NV index). Part of the state directory.
  std::string state_dir;
  CustodianId id() const { return {kind + ":" + name}; }
};

// Opens the custodian of `config.kind`; `invalid_argument` names the setting that is wrong. The one
// place that knows all kinds: a new kind is a folder here, and a line in open_custodian.cc.
//
// Does not need the hardware: one that is absent is opened all the same and answers `unavailable`.
Result<std::unique_ptr<Custodian>> open_custodian(const CustodianConfig& config, Clock& clock);

}  // namespace keyward::hsm
