// The Doctor looks at everything at once and says what is not as it should be. It changes nothing
// by itself.
//
//   std::vector<api::DoctorFinding> findings = doctor.examine(stop);
//   TRY(doctor.remove_unknown(hsm, "2f1e…", caller));   // a person typed the key's id
//
// It asks the hardware for what it holds, so it takes as long as that does. Safe from any thread.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "api/doctor.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/audit_log.h"
#include "engine/caller.h"
#include "engine/custodian_set.h"
#include "engine/event_kinds.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "store/control_store.h"

namespace keyward::engine {

class Doctor final {
 public:
  struct Parts {
    Keyring& keyring;
    CustodianSet& custodians;
    RekeyService& rekeys;
    AuditLog& audit;
    EventLog& events;
    store::ControlStore& control;
  };
  explicit Doctor(Parts parts) : parts_(parts) {}

  // Kinds: unknown_object, unjudged_object, missing_object, few_copies, one_custodian,
  // passphrase_only, software_hardware, weak_hierarchy, unhealthy_custodian, unlisted_custodian,
  // locked_keystore, pending_intent, rekey_failed, audit_defect, audit_note, residue, clock. What
  // could not be looked at is a finding too.
  std::vector<api::DoctorFinding> examine(std::stop_token stop);

  // Destroys one object in the hardware that no key table and no intent names, after looking once
  // more. `key_id` is what the person typed, in full. `not_found` when the custodian holds nothing
  // by that name; `conflict` when it belongs to a key that is known; `unavailable` when a keystore
  // that might know it is not open.
  Result<void> remove_unknown(const CustodianId& custodian, std::string_view key_id,
                              const Caller& caller);

 private:
  Parts parts_;
};

}  // namespace keyward::engine
