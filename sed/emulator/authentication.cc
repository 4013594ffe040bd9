#include "sed/emulator/authentication.h"

#include "base/secret_bytes.h"

namespace keyward::sed::emulator {
namespace {

// Tries are counted outside of transactions: rolling one back gives no try back.
void set_tries(Surroundings& drive, Session& session, Uid pin, std::uint64_t tries) {
  drive.state.sp(session.sp).cell(pin, column::kTries)->number = tries;
  if (session.transaction)
    session.transaction->sp(session.sp).cell(pin, column::kTries)->number = tries;
}

Proof check_pin(Surroundings& drive, Session& session, Uid credential, ByteView pin) {
  Sp& sp = drive.state.sp(session.sp);
  const Value* stored = sp.cell(credential, column::kPin);
  if (stored == nullptr) return Proof::refused;
  const std::uint64_t limit = sp.number_at(credential, column::kTryLimit);
  const std::uint64_t tries = sp.number_at(credential, column::kTries);
  if (drive.faults.locked_out || (limit != 0 && tries >= limit)) return Proof::locked_out;
  const bool right = constant_time_equal(stored->bytes, pin);
  set_tries(drive, session, credential, right && !drive.cut_halfway ? 0 : tries + 1);
  // Nothing to save when no try was spent before, and none is now.
  drive.dirty = drive.dirty || !right || drive.cut_halfway || tries != 0;
  if (drive.cut_halfway) return Proof::power_lost;
  return right ? Proof::accepted : Proof::refused;
}

}  // namespace

Proof prove(Surroundings& drive, Session& session, Uid authority, ByteView pin) {
  const Sp& sp = drive.state.sp(session.sp);
  if (table_of(authority) != table::kAuthority || !sp.rows.contains(authority))
    return Proof::invalid;
  if (sp.number_at(authority, column::kIsClass) != 0) return Proof::invalid;
  if (authority == uid::kAnybody) return Proof::accepted;
  if (sp.number_at(authority, column::kEnabled) == 0) return Proof::refused;
  if (authority == uid::kSid && drive.power.sid_blocked) return Proof::refused;
  const Value* credential = sp.cell(authority, column::kCredential);
  const Proof proof = check_pin(drive, session, credential->uid().value_or(0), pin);
  if (proof == Proof::accepted) session.authenticated.insert(authority);
  return proof;
}

}  // namespace keyward::sed::emulator
