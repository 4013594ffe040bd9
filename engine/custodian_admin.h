// CustodianAdmin adds, removes, tests and lists custodians over all keystores.
//
//   AddReport added = TRY(admin.add(hsm, {}, caller));       // every domain; the copies follow
//   RemoveReport removed = TRY(admin.remove(tpm, {.after = AfterRemoval::rekey}, caller));
//
// Which custodians exist is the configuration's business; which keystores want them is this one's.
// Only copies that open count: a removal is decided per master key of every keystore, each with
// another copy unsealed during that very call. Safe from any thread; one act at a time.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/custodian_row.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/custodian_set.h"
#include "engine/job_parts.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "store/control_store.h"

namespace keyward::engine {

struct DomainOutcome {
  Domain domain;
  std::optional<Error> error;  // None: done, or under way.
};

struct AddReport {
  std::vector<DomainOutcome> domains;
};

enum class AfterRemoval : std::uint8_t {
  rekey,  // An old file and the removed custodian still open the current keys: so replace them.
  no_rekey,
};
enum class RemovedHardware : std::uint8_t {
  destroy,  // Its objects are destroyed, which needs it to answer.
  lost,     // It is given up: nothing is asked of it, and reports name it after EXCEPT.
};
struct RemoveOptions {
  AfterRemoval after = AfterRemoval::rekey;
  RemovedHardware hardware = RemovedHardware::destroy;
};

struct RemoveReport {
  std::vector<DomainOutcome> domains;  // In which it was wanted or held a copy.
  std::vector<std::string> except;     // What can still open the keys of today, in words.
};

class CustodianAdmin final {
 public:
  struct Parts {
    Keyring& keyring;
    CustodianSet& custodians;
    RekeyService& rekeys;
    store::ControlStore& control;
    EventLog& events;
    Clock& clock;
  };
  explicit CustodianAdmin(Parts parts) : parts_(parts) {}

  // The configured ones, and those that only keystores name.
  std::vector<api::CustodianRow> list();
  // A real seal and unseal, now, whatever the last result was. Its error says what to do.
  Result<void> test(const CustodianId& custodian, const Caller& caller);
  // Gives a passphrase custodian its passphrase.
  Result<void> unlock(const CustodianId& custodian, SecretBytes passphrase, const Caller& caller);

  // Probes it, pins what it shows as its identity, and makes it wanted in `domains` (empty: all).
  // The error is the probe's, or `not_found` when it is not configured; a domain that fails does
  // not stop the others.
  Result<AddReport> add(const CustodianId& custodian, std::span<const Domain> domains,
                        const Caller& caller);

  // Refused as a whole, and then nothing was changed: `conflict` names the domain in which it is
  // the last one, `unavailable` the domain that is locked or has a key that no other copy opens
  // now.
  Result<RemoveReport> remove(const CustodianId& custodian, const RemoveOptions& options,
                              const Caller& caller);

 private:
  struct Plan;
  Result<void> add_to(const CustodianId& custodian, const Domain& domain, const Caller& caller);
  Result<std::vector<Plan>> plan_removal(const CustodianId& custodian,
                                         const RemoveOptions& options);
  Result<void> prove_removable(const CustodianId& custodian, const Plan& plan);
  Result<void> opens_by_another(const CustodianId& custodian, const Plan& plan,
                                const store::KeyRow& row);
  Result<void> remove_from(const CustodianId& custodian, const Plan& plan,
                           const RemoveOptions& options, const Caller& caller);
  Result<void> replace_keys(const Plan& plan, const Caller& caller);
  std::vector<std::string> what_still_opens(const CustodianId& custodian,
                                            const RemoveOptions& options) const;
  JobParts job_parts(std::shared_ptr<store::Keystore> keystore);
  void audit(const Caller& caller, std::string_view action, const CustodianId& custodian,
             const Result<void>& outcome);

  Parts parts_;
  std::mutex acting_;
};

}  // namespace keyward::engine
