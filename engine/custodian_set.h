// The CustodianSet is all configured custodians, used as one: any one opens, all must seal and
// destroy.
//
//   NewKey made = TRY(custodians.generate(context, table.wanted));       // proved on each of them
//   SecretBytes key = TRY(custodians.unseal(row, context));              // the first that opens it
//   TRY(custodians.destroy(custodian, context, hsm::DestroyScope::everything));
//
// Owns the custodians, probes them (every 10 minutes, every minute while unhealthy) and raises
// events. One that was found unreachable is not asked again before its next probe, so that a dead
// server costs one time limit and not one for each domain. Safe from any thread; different
// custodians work side by side.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/event_log.h"
#include "hsm/custodian.h"
#include "hsm/hardware_warnings.h"
#include "store/key_table.h"

namespace keyward::engine {

struct NewKey {
  SecretBytes key;
  KeyCommitment commitment;
  std::vector<SealedKey> copies;  // One from each custodian wanted.
};

struct CustodianHealth {
  CustodianId id;
  bool healthy = false;
  UtcTime since{};
  std::string error;  // With the next step.
};

class CustodianSet final {
 public:
  CustodianSet(EventLog& events, Clock& clock);
  ~CustodianSet();

  void add(std::unique_ptr<hsm::Custodian> custodian);
  std::vector<CustodianId> ids() const;
  bool destroys(const CustodianId& custodian) const;
  // `not_found` for one that is not configured.
  Result<std::string> identity(const CustodianId& custodian);
  // What weakens its hardware, as far as it can tell.
  Result<std::vector<hsm::HardwareWarning>> warnings(const CustodianId& custodian);
  // The passphrase custodian's second interface. `unsupported` for the others.
  Result<void> supply_passphrase(const CustodianId& custodian, SecretBytes passphrase);
  // Probes until stopped. Runs on the thread that calls it. Without it a custodian that was found
  // unreachable is asked again by the first call after a minute.
  void run(std::stop_token stop);
  // Called, on the thread that found it, when a custodian can be asked again: it answered a probe,
  // a person tested it, or its passphrase was given. Until the answer is destroyed. Must not block.
  std::shared_ptr<void> on_recovered(std::function<void()> listener);

  // Each of `wanted` must have the identity that it was pinned by, else `conflict`. Begins with
  // destroy(context, unconfirmed) on each, so it may be run again after a failure or a crash, as
  // long as no copy of it was stored. Then the first of `wanted` makes the key and the others seal
  // it. Each copy is unsealed again and compared. Fails, naming the custodian, when any of them
  // fails: a key with fewer copies than wanted is never taken into use.
  Result<NewKey> generate(const KeyContext& context, std::span<const WantedCustodian> wanted);
  // One more copy, proved in the same way. Also begins with destroy(context, unconfirmed).
  Result<SealedKey> seal(const WantedCustodian& custodian, const SecretBytes& key,
                         const KeyContext& context);
  Result<void> confirm(const CustodianId& custodian, const KeyContext& context);
  // Tries healthy hardware first, the passphrase last, and compares the commitment: `corrupt` if
  // none fits. Otherwise the error of the last one tried, with all of them in its message.
  Result<SecretBytes> unseal(const store::KeyRow& row, const KeyContext& context);
  // One copy, for `custodians remove`, which counts only copies that open now.
  Result<SecretBytes> unseal_copy(const SealedKey& copy, const store::KeyRow& row,
                                  const KeyContext& context);
  // Idempotent.
  Result<void> destroy(const CustodianId& custodian, const KeyContext& context,
                       hsm::DestroyScope scope);
  Result<std::vector<hsm::HeldObject>> list(const CustodianId& custodian);
  // At once, whatever the last result was, and a sticky refusal is asked again: a person says so.
  Result<void> test(const CustodianId& custodian);

  std::vector<CustodianHealth> health() const;

 private:
  Result<void> make_room(const WantedCustodian& custodian, const KeyContext& context);
  Result<SealedKey> seal_proved(const CustodianId& custodian, const SecretBytes& key,
                                const KeyContext& context);
  Result<void> prove(const SealedKey& copy, const SecretBytes& key, const KeyContext& context);

  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyward::engine
