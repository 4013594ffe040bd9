// What must hold in every state of a rekey, and by what two states are the same.
//
//   std::string broken = broken_promise(world);   // empty: all hold
//   if (broken.empty()) broken = broken_by_change(before, next);
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
// In a state to which one step, fault or request led: a rekey that has ended is finished in the
// history, and the hardware knows that its new key is in use; where nothing is left to do, each
// wanted custodian holds the current key, and nothing else is in the hardware.
std::string broken_by_change(const World& before, const World& next);

// In the state to which a start led at which every custodian answered.
std::string broken_by_start(const World& started);

}  // namespace keyward::model
