// The KeyDestroyer is the only way to hsm::DestroyScope::everything for a key that a key table or
// an intent names (what nobody names is the doctor's, and a person's): each function first reads
// from the store, once more, that what it is about to destroy is needed by nobody.
//
//   TRY(destroyer.retired(keystore, table.rekey->from, holder));
//
// What is durable must allow it, not what the caller remembers. Safe from any thread.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/custodian_set.h"
#include "store/control_store.h"
#include "store/keystore.h"

namespace keyward::engine {

class KeyDestroyer final {
 public:
  explicit KeyDestroyer(CustodianSet& custodians) : custodians_(custodians) {}

  // A retiring key: all its entries are under another one. One that never was in use (its rekey was
  // cancelled in prepare) is destroyed only if the hardware agrees that it is not; otherwise
  // `conflict`: a newer state of this store uses it.
  Result<void> retired(store::Keystore& keystore, const KeyId& key, const CustodianId& holder);

  // One custodian's part of a live key, after its copy was dropped: another copy must open right
  // now, and the custodian must not be the same hardware as one that stays.
  Result<void> dropped(store::Keystore& keystore, const KeyId& key, const CustodianId& holder);

  // The key of a keystore that was deleted. The caller has read its intent; `conflict` while the
  // back end still has that domain.
  Result<void> deleted(store::Backend& backend, const KeyContext& context,
                       const CustodianId& holder);

 private:
  CustodianSet& custodians_;
};

}  // namespace keyward::engine
