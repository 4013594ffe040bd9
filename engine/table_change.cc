#include "engine/table_change.h"

#include <utility>

namespace keyward::engine {
namespace {

// Each round that is lost is one that another writer won, so this many in a row mean that
// something is broken.
constexpr int kRoundsMax = 100;

}  // namespace

Result<void> change_table(store::Keystore& keystore, const Transition& transition,
                          std::span<const store::AuditRecord> records) {
  for (int round = 0; round < kRoundsMax; ++round) {
    const store::KeyTable table = TRY(keystore.keys());
    const store::KeyTable next = TRY(transition(table));
    if (next == table) return {};
    Result<void> changed = keystore.change_keys(table.generation, next, records);
    if (changed || changed.error().code != ErrorCode::conflict) return changed;
    if (TRY(keystore.keys()).generation == table.generation) return changed;
  }
  return fail(ErrorCode::busy, "the key table is changed all the time by others; try again later");
}

Result<void> note_intent(store::Keystore& keystore, const store::AuditRecord& record) {
  return keystore.audit_trail().append({&record, 1});
}

}  // namespace keyward::engine
