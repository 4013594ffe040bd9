// A ResealJob brings the copies of a keystore's keys to the custodians that are wanted, and no
// others.
//
//   TRY(ResealJob::want(keystore, custodians, {tpm, kmip}, caller)); // Durable: a restart goes on by itself.
//   ResealJob job(keystore, custodians);
//   while (TRY(job.step()) == ResealJob::Outcome::more) {}
//
// `custodians add`, `custodians remove`, `sed migrate server|local`, a lost copy that a probe
// found: all are this one job with another list. It first adds what is missing, each copy proved;
// only when none is missing does it destroy what is too much. So at every moment a key has all its
// old or all its new copies. Like RekeyJob it has no memory: a crash or --retry runs it again. One
// thread per keystore.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/caller.h"
#include "engine/custodian_set.h"
#include "engine/keyring.h"
#include "store/keystore.h"

namespace keyward::engine {

class ResealJob final {
 public:
  enum class Outcome { more, done };

  // `invalid_argument` for an empty list or one that leaves no custodian of which a probe
  // succeeded; `conflict` while a rekey runs.
  static Result<void> want(store::Keystore& keystore, Keyring& keyring,
                           std::vector<WantedCustodian> custodians, const Caller& caller);

  ResealJob(store::Keystore& keystore, CustodianSet& custodians);
  // One copy more, or one less. Durable when it returns.
  Result<Outcome> step();

 private:
  store::Keystore& keystore_;
  CustodianSet& custodians_;
};

}  // namespace keyward::engine
