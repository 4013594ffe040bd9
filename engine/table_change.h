// change_table applies a transition of the key table, again where another writer came between.
//
//   TRY(change_table(keystore, [](store::KeyTable table) {
//     return store::set_paused(std::move(table), true);
//   }, {&record, 1}));
//
// A transition that no longer fits answers its own `conflict`, which is passed on: so it holds what
// its caller took for granted. One that changes nothing writes nothing. Any thread.
#pragma once

#include <functional>
#include <span>

#include "base/result.h"
#include "store/audit_trail.h"
#include "store/key_table.h"
#include "store/keystore.h"

namespace keyward::engine {

using Transition = std::function<Result<store::KeyTable>(store::KeyTable)>;

// Durable when it returns. After `io`, `timeout` or `unavailable` the change may have happened.
Result<void> change_table(store::Keystore& keystore, const Transition& transition,
                          std::span<const store::AuditRecord> records);

// Before hardware is asked to make anything: writes down that it will be, durably. A change that
// failed with `io` may come back with the next start, while the hardware by then holds the objects
// of another try. Once this has been written, it cannot; and a store that writes no more stops the
// step here.
Result<void> note_intent(store::Keystore& keystore, const store::AuditRecord& record);

}  // namespace keyward::engine
