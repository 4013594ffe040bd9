// QueuedRekeys are rekeys that were asked for and cannot begin yet: copies of keys are being moved,
// or the keystore is locked. They are written down, so that a restart forgets none.
//
//   TRY(queue.save({domain, JobId::random(), without, caller, clock.now()}));
//   if (auto waiting = TRY(queue.find(domain))) ...
//
// Documents of the control store, "rekey-request/<domain>". Safe from any thread.
#pragma once

#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "engine/caller.h"
#include "store/control_store.h"

namespace keyward::engine {

struct QueuedRekey {
  Domain domain;
  JobId job;
  std::vector<CustodianId> without;
  Caller caller;
  UtcTime time{};
};

class QueuedRekeys final {
 public:
  explicit QueuedRekeys(store::ControlStore& control) : control_(control) {}

  // Durable, with an audit record. One that waits already stays as it is and is answered.
  Result<QueuedRekey> save(const QueuedRekey& queued);
  Result<std::optional<QueuedRekey>> find(const Domain& domain);
  // Idempotent.
  Result<void> remove(const Domain& domain);

 private:
  store::ControlStore& control_;
};

}  // namespace keyward::engine
