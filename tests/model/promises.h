// What must hold in every state of a rekey, and by what two states are the same.
//
//   std::string broken = broken_promise(world);   // empty: all hold
//   if (before.table().rekey && !next.table().rekey) broken = broken_at_end(before, next);
//
// Pure; any thread.
#pragma once

#include <string>

#include "tests/model/rekey_machine.h"

namespace keyward::model {

// Keys by the part they play, not by their ids; no versions, counters or times.
std::string name_of(const World& world);
// In every state: one current key, the table is sound, every entry opens, none is under a key on
// its way out, every object in the hardware is named by an intent, an entry is moved only to a key
// that the hardware knows to be in use, and the process holds the keys it needs and no others.
std::string broken_promise(const World& world);
// In the state in which a rekey has ended: each wanted custodian that was not left out holds the
// current key, confirmed, nothing else is in the hardware, and the history says that it finished.
std::string broken_at_end(const World& before, const World& end);

}  // namespace keyward::model
