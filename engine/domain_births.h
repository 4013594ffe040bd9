// DomainBirths creates and deletes domains: acts over a file and hardware, each begun by an intent
// and ended, after a crash, by what the intent says.
//
//   std::shared_ptr<KeyringDomain> made = TRY(births.create(domain, custodians, caller));
//   TRY(births.remove(domain, caller));
//   TRY(births.recover());                             // at start, and before each of the others
//
// The Keyring's own, which calls it on one thread at a time.
#pragma once

#include <memory>
#include <set>
#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "engine/caller.h"
#include "engine/domain_intent.h"
#include "engine/key_destroyer.h"
#include "engine/keyring.h"
#include "engine/keyring_domain.h"

namespace keyward::engine {

class DomainBirths final {
 public:
  explicit DomainBirths(const Keyring::Parts& parts)
      : parts_(parts), destroyer_(parts.custodians) {}

  // `already_exists` changes nothing. After another error the domain is not there, or recover()
  // will say so.
  Result<std::shared_ptr<KeyringDomain>> create(const Domain& domain,
                                                std::span<const CustodianId> custodians,
                                                const Caller& caller);
  // `conflict` while it has entries, a rekey or a reseal. After an error it serves on, unless
  // is_released(): then its file is on its way out, and recover() goes on with that.
  Result<void> remove(const std::shared_ptr<KeyringDomain>& domain, const Caller& caller);
  // Ends what was begun. An error leaves its intent for the next time.
  Result<void> recover();

 private:
  Result<std::vector<WantedCustodian>> pin(std::span<const CustodianId> custodians);
  Result<std::shared_ptr<KeyringDomain>> make(const KeyContext& context,
                                              std::span<const WantedCustodian> wanted,
                                              const Caller& caller);
  Result<bool> exists(const Domain& domain);
  Result<void> may_remove(store::Keystore& keystore);
  Result<void> wait_until_unused(const std::shared_ptr<store::Keystore>& keystore);
  Result<void> recover(const DomainIntent& intent);
  Result<void> remove_file(const Domain& domain, const Caller& caller, const KeyId& key);
  Result<void> clean_up(const DomainIntent& intent);
  Result<void> destroy_deleted(const DomainIntent& intent);

  const Keyring::Parts& parts_;
  KeyDestroyer destroyer_;
  // Whose files this process has begun to remove, and must not open again.
  std::set<Domain> removing_;
};

}  // namespace keyward::engine
