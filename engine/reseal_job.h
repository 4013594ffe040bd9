// A ResealJob brings the copies of a keystore's keys to the custodians that are wanted, and no
// others.
//
//   TRY(ResealJob::want(parts, {tpm, kmip}, caller));   // Durable: a restart goes on by itself.
//   ResealJob job(parts);
//   while (TRY(job.step()) == ResealJob::Outcome::more) {}
//
// `custodians add`, `custodians remove`, `sed migrate server|local`, a lost copy that a probe
// found: all are this one job with another list. It first adds what is missing, each copy proved;
// only when none is missing does it destroy what is too much. So at every moment a key has all its
// old or all its new copies. Like RekeyJob it has no memory: a crash or --retry runs it again. One
// thread per keystore, and never while a rekey of it runs.
#pragma once

#include <vector>

#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/caller.h"
#include "engine/job_parts.h"

namespace keyward::engine {

class ResealJob final {
 public:
  enum class Outcome { more, done };

  // Unseals every live key, by the copies that would stay where there are any, and writes the list
  // with its MAC under each. The custodians are pinned by the identities that they have now; one
  // that is wanted already must still have its own.
  //
  // `invalid_argument` for an empty list, a custodian named twice, or two that are the same
  // hardware; `not_found` for one that is not configured; `conflict` when the hardware is not the
  // one that was enrolled, or an earlier removal of a custodian in the list has not ended;
  // otherwise the error of the copies that do not open, naming the key.
  static Result<void> want(const JobParts& parts, const std::vector<CustodianId>& custodians,
                           const Caller& caller);
  // All that want() checks, and nothing is written: `custodians remove` asks every keystore before
  // it changes the first.
  static Result<void> check(const JobParts& parts, const std::vector<CustodianId>& custodians);
  // The custodian is lost and will never confirm that it destroyed its copies: they are no longer
  // waited for, and the report names it. `conflict` while it is wanted. Durable, idempotent.
  static Result<void> give_up(const JobParts& parts, const CustodianId& custodian,
                              const Caller& caller);
  // Whether step() has something to do: for the service, which asks no hardware to know.
  static bool is_needed(const store::KeyTable& table);

  explicit ResealJob(JobParts parts);
  // One copy more, or one less. Durable when it returns. `conflict` while a rekey runs, `corrupt`
  // when the wanted custodians were edited outside Keyward.
  Result<Outcome> step();
  // Tells the hardware again of every copy of the current key. For after a step() that failed: it
  // may have stored a copy whose custodian does not know yet that it is in use. All are asked; the
  // first that did not answer is the error.
  Result<void> confirm();

 private:
  Result<void> add(const store::KeyTable& table, const KeyId& key, const WantedCustodian& wanted);
  Result<void> drop(const store::KeyTable& table, const KeyId& key, const CustodianId& custodian);

  JobParts parts_;
};

}  // namespace keyward::engine
