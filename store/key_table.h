// The KeyTable is all that a keystore knows of its master keys: a small value, read and replaced
// whole.
//
//   KeyTable table = TRY(keystore.keys());
//   KeyTable next = TRY(announce(table, {.key = KeyId::random(), .job = JobId::random(), ...}));
//   TRY(keystore.change_keys(table.generation, next, {&record, 1}));  // compare and swap
//
// The functions below are the only transitions. They are pure, so the model check runs this very
// code; and check() holds the invariants at the seam, for every back end. Values; any thread.
//
// Intent before effect: a key's `holders` names every custodian that may hold something for it, and
// is written durably before that custodian is asked for the first time. So destroy reaches what a
// crash left behind, and never has to guess.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"

namespace keyward::store {

enum class KeyState : std::uint8_t {
  announced,  // Written down before any hardware is asked. Has no copies.
  pending,    // Every wanted custodian holds a proved copy. Entries may be under it.
  current,    // Exactly one, always.
  retiring,   // No entry is under it. The only state in which hardware is told to destroy it.
};

struct KeyRow {
  KeyId id;
  KeyState state = KeyState::announced;
  UtcTime created{};
  KeyCommitment commitment{};  // All zero while announced.
  // Authenticates KeyTable::wanted under this key. Set for pending and current keys.
  WantedMac wanted_mac{};
  std::vector<SealedKey> copies;  // At most one per custodian, each of it in `holders`.
  // Every custodian that may hold an object for this key: a superset of the copies' custodians.
  // While retiring: those that have not confirmed its destruction yet.
  std::vector<CustodianId> holders;
  // While retiring: custodians that cannot destroy, or were given up as lost. What the report names
  // after "DESTROYED EXCEPT".
  std::vector<CustodianId> except;
  // Raised in strides of 2^20 before they are used, so that a crash loses count upwards only. At
  // 2^31 a rekey starts by itself; at 2^32 a put gets `exhausted`.
  std::uint64_t encryptions_reserved = 0;

  const SealedKey* copy_of(const CustodianId& custodian) const;
  bool operator==(const KeyRow&) const = default;
};

enum class RekeyPhase : std::uint8_t { prepare, reencrypt, verify, destroy };

struct RekeyRow {
  JobId job;
  KeyId from;  // Entries leave this key, and in phase destroy it is destroyed.
  KeyId to;    // New entries are written under this one, from phase reencrypt on.
  RekeyPhase phase = RekeyPhase::prepare;
  bool paused = false;
  bool cancelled = false;  // Then from and to have been swapped: cancelling is a rekey back.
  std::vector<CustodianId> without;  // Wanted custodians that prepare does not ask.
  UtcTime started{};
  std::string actor;
  std::string error;  // Of the last try, empty while it goes well.
  std::optional<UtcTime> next_try;
  bool operator==(const RekeyRow&) const = default;
};

struct KeyTable {
  StoreId store;
  Domain domain;
  // Goes up by one with every change. Each write to the keystore names the generation that it was
  // made under, and gets `conflict` under any other: so a late writer never uses a key that has
  // retired.
  std::uint64_t generation = 0;
  std::vector<KeyRow> keys;
  // Who is to hold a copy of every key. Where it differs from the copies, a ResealJob is at work: a
  // migration to a KMIP server and back is no more than that.
  std::vector<WantedCustodian> wanted;
  std::optional<RekeyRow> rekey;

  const KeyRow* find(const KeyId& id) const;
  const KeyRow& current() const;
  const KeyRow& write_key() const;  // rekey->to in phases reencrypt and verify, else current.
  const WantedCustodian* find_wanted(const CustodianId& id) const;
  KeyContext context(const KeyId& id) const { return {store, domain, id}; }
  // `corrupt` unless exactly one key is current, from and to exist, each pending or current key has
  // a copy, a commitment and no two copies by one custodian, each copy's custodian is a holder, and
  // keys are in no state that their phase excludes.
  Result<void> check() const;
  bool operator==(const KeyTable&) const = default;
};

// A new keystore's table: one current key with its proved copies. generation 1.
Result<KeyTable> first_table(StoreId store, Domain domain, KeyRow current,
                             std::vector<WantedCustodian> wanted);

// Each transition answers `conflict`, with the reason, when the table is not in the state it needs.
//
// Step 1, prepare. Holders of the new key: all wanted custodians but those in `without`.
struct Announcement {
  KeyId key;
  JobId job;
  std::vector<CustodianId> without{};
  std::string actor;
  UtcTime now{};
};
Result<KeyTable> announce(KeyTable table, const Announcement& announcement);
// In phase prepare only: other custodians to leave out. Holders only grow.
Result<KeyTable> set_without(KeyTable table, std::vector<CustodianId> without);
// 1 to 2: announced becomes pending with a copy of each wanted custodian that is not left out, and
// puts use it.
Result<KeyTable> begin_reencrypt(KeyTable table, std::vector<SealedKey> copies,
                                 const KeyCommitment& commitment, const WantedMac& mac);
// 2 to 3, and back to 2 when the scan found an entry that was missed.
Result<KeyTable> begin_verify(KeyTable table);
Result<KeyTable> back_to_reencrypt(KeyTable table);
// 4, to destroy: `to` becomes current and `from` retiring, also if `from` never was current. The
// caller has just scanned: 0 entries under `from`.
Result<KeyTable> switch_over(KeyTable table);
// 5, for the retiring key: this custodian has destroyed its object and looked again. Its copy is
// dropped. `except` when it cannot destroy, or when an operator gave it up as lost.
enum class Destruction : std::uint8_t { confirmed, except };
Result<KeyTable> record_destroyed(KeyTable table, const KeyId& id, const CustodianId& custodian,
                                  Destruction destruction);
// The last step: no holder is left. Drops the row and ends the rekey.
Result<KeyTable> forget(KeyTable table, const KeyId& id);

// At any time of a rekey.
Result<KeyTable> set_paused(KeyTable table, bool paused);
Result<KeyTable> set_rekey_error(KeyTable table, std::string error,
                                 std::optional<UtcTime> next_try);
// In prepare, the announced key retires and is destroyed; in 2 and 3, from and to swap and 2 begins
// anew; in destroy, `conflict`: the new key is the only good one.
Result<KeyTable> cancel(KeyTable table);

// Another list of wanted custodians, with its MAC under each pending and current key (in the order
// of `keys`, announced and retiring ones left out). At any time; the copies follow by ResealJob,
// outside of a rekey.
Result<KeyTable> set_wanted(KeyTable table, std::vector<WantedCustodian> wanted,
                            std::vector<WantedMac> macs);
// Durable before the custodian is asked to seal.
Result<KeyTable> intend_copy(KeyTable table, const KeyId& id, const CustodianId& custodian);
Result<KeyTable> add_copy(KeyTable table, const KeyId& id, SealedKey copy);
// Of a live key, by a custodian that is no longer wanted; refused while a wanted copy of that key
// is missing. First the copy goes from the table (the custodian stays a holder), then the hardware
// is told, then release_holder.
Result<KeyTable> drop_copy(KeyTable table, const KeyId& id, const CustodianId& custodian);
Result<KeyTable> release_holder(KeyTable table, const KeyId& id, const CustodianId& custodian);

// Raises the count of encryptions that may be made under the key; never lowers it.
Result<KeyTable> reserve_encryptions(KeyTable table, const KeyId& id, std::uint64_t reserved);

}  // namespace keyward::store
