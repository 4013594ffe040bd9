// A RekeyRecord is what stays of a rekey when it is over: who, when, how much, and what could still
// open the old key.
//
//   TRY(save_rekey_record(control, record));        // RekeyJob, before the old key is forgotten
//   std::vector<RekeyRecord> past = TRY(rekey_history(control, domain, 20));   // the newest first
//
// A document of the control store, "history/<domain>/<started>-<job>". Values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "store/control_store.h"

namespace keyward::engine {

struct RekeyRecord {
  std::string domain;
  JobId job;
  std::string actor;
  UtcTime started{};
  std::optional<UtcTime> finished;  // None while the old key is being destroyed.
  bool cancelled = false;           // Then old_key is the one that was to be new.
  KeyId old_key;                    // Destroyed.
  KeyId new_key;                    // Current.
  std::uint64_t entries_done = 0;
  std::uint64_t entries_total = 0;
  std::vector<CustodianId> custodians;  // All that held something for the old key.
  std::vector<CustodianId> except;      // Those of them that did not confirm its destruction.
  bool operator==(const RekeyRecord&) const = default;
};

// Replaces the record of the same job.
Result<void> save_rekey_record(store::ControlStore& control, const RekeyRecord& record);
// `not_found` before the destroying of its old key has begun.
Result<RekeyRecord> load_rekey_record(store::ControlStore& control, const std::string& domain,
                                      UtcTime started, const JobId& job);
// The newest first, finished ones only.
Result<std::vector<RekeyRecord>> rekey_history(store::ControlStore& control, const Domain& domain,
                                               std::size_t count_max);

}  // namespace keyward::engine
