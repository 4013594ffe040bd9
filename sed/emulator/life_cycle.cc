#include "sed/emulator/life_cycle.h"

namespace keyward::sed::emulator {
namespace {

void set_life_cycle(DriveState& state, LifeCycle life_cycle) {
  state.admin.cell(state.locking.uid, column::kLifeCycle)->number =
      static_cast<std::uint64_t>(life_cycle);
}

void erase_tables(DriveState& state) {
  for (const auto& [table, size] : state.locking.access->byte_tables)
    state.table_writes.push_back({table, 0, {}});
}

}  // namespace

void activate_locking(DriveState& state) {
  if (state.locking_is_active()) return;
  const Value* sid_pin = state.admin.cell(uid::kPinSid, column::kPin);
  *state.locking.cell(uid::kPinLockingAdmin + 1, column::kPin) = *sid_pin;
  set_life_cycle(state, LifeCycle::manufactured);
}

void renew_media_keys(DriveState& state) {
  for (auto& [uid, key] : state.locking.media_keys) key = new_media_key();
}

void revert_all(DriveState& state, const EmulatedDriveOptions& options) {
  state.admin = make_admin_sp(options, state.pins);
  state.locking = make_locking_sp(options, state.pins);
  erase_tables(state);
}

void revert_locking(DriveState& state, const EmulatedDriveOptions& options, GlobalKey global) {
  Bytes kept = state.locking.media_keys.at(uid::kGlobalKey);
  state.locking = make_locking_sp(options, state.pins);
  if (global == GlobalKey::keep) state.locking.media_keys[uid::kGlobalKey] = std::move(kept);
  set_life_cycle(state, LifeCycle::manufactured_inactive);
  erase_tables(state);
}

void erase_range(DriveState& state, const EmulatedDriveOptions& options, Uid range) {
  Sp& sp = state.locking;
  sp.media_keys[sp.cell(range, column::kActiveKey)->uid().value_or(0)] = new_media_key();
  for (const std::uint32_t lock : {column::kReadLockEnabled, column::kWriteLockEnabled,
                                   column::kReadLocked, column::kWriteLocked})
    sp.cell(range, lock)->number = 0;
  *sp.cell(range, column::kLockOnReset) = list({number(0)});
  const bool enterprise = options.family == Family::enterprise;
  for (std::uint32_t n = 0; n <= options.ranges; ++n) {
    if (range_uid(options.family, n) != range) continue;
    const Uid pin = enterprise ? uid::kPinBandMaster + n : uid::kPinUser + n + 1;
    *sp.cell(pin, column::kPin) = bytes(enterprise ? state.pins.msid : Bytes{});
    sp.cell(pin, column::kTries)->number = 0;
  }
}

}  // namespace keyward::sed::emulator
