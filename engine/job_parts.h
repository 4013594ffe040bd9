// JobParts is what a RekeyJob and a ResealJob work with: one keystore, and the parts around it.
//
//   JobParts parts{TRY(keyring.keystore(domain)), keyring, custodians, control, events, clock};
//   RekeyJob job(parts);
//
// Borrows all but the keystore, which it keeps open. A value; any thread.
#pragma once

#include <memory>

#include "base/clock.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "store/control_store.h"
#include "store/keystore.h"

namespace keyward::engine {

struct JobParts {
  std::shared_ptr<store::Keystore> keystore;
  Keyring& keyring;
  CustodianSet& custodians;
  store::ControlStore& control;
  EventLog& events;
  Clock& clock;
};

}  // namespace keyward::engine
