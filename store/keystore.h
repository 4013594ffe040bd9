// A Keystore is one domain's sealed entries and its key table. It knows no key and no plaintext.
//
//   KeyTable table = TRY(keystore.keys());
//   SealedEntry entry = TRY(keystore.get(name));
//   EntryChange change{name, entry.version, next};
//   TRY(keystore.write({&change, 1}, table.generation, {&record, 1}));
//
// Back ends: sqlite (one file, one owning process), later etcd; FaultyKeystore for tests. Safe from
// any number of threads. Calls block: get for microseconds, write until the change is durable;
// writes that run at the same time share one fsync.
//
// Errors: `not_found`; `conflict` (another version or generation: read again, then decide); `busy`
// (another node leads: look again later); `exhausted` (disk full). After these nothing was changed.
// `corrupt`, `unavailable`, `timeout`, `io`: a change may have happened, so read before trying
// again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "store/audit_trail.h"
#include "store/key_table.h"
#include "store/reencryption.h"

namespace keyward::store {

// As EntryCipher made it. The blob is opaque to every back end; its size depends on the plaintext's
// only.
struct SealedEntry {
  KeyId key;
  std::uint64_t version = 0;  // From 1, up by one with every put; re-encryption keeps it.
  Bytes blob;
};

struct EntryChange {
  EntryName name;
  std::uint64_t replaces = 0;        // The version that must be there; 0: no entry of that name.
  std::optional<SealedEntry> entry;  // None erases.
};

class Keystore {
 public:
  virtual ~Keystore() = default;

  virtual Result<SealedEntry> get(const EntryName& name) = 0;
  // By name, from the first past `after`.
  virtual Result<std::vector<EntryInfo>> list(const std::optional<EntryName>& after,
                                              std::size_t count_max) = 0;
  virtual Result<std::uint64_t> entries_total() = 0;  // O(1).
  // All or none, and the audit records with them. Durable when it returns. Not idempotent: a second
  // write of the same change gets `conflict`.
  virtual Result<void> write(std::span<const EntryChange> changes, std::uint64_t generation,
                             std::span<const AuditRecord> records) = 0;

  // O(1); from memory as long as this process is the only writer.
  virtual Result<KeyTable> keys() = 0;
  // Replaces the table if it is still at `generation` and next.check() passes; the store counts the
  // generation up. Durable when it returns.
  virtual Result<void> change_keys(std::uint64_t generation, const KeyTable& next,
                                   std::span<const AuditRecord> records) = 0;

  // False in a store of an older format, until `upgrade commit`: then change_keys() refuses to
  // begin a rekey with `unsupported`.
  virtual bool supports_rekey() const = 0;

  virtual Reencryption& reencryption() = 0;
  virtual AuditTrail& audit_trail() = 0;
};

}  // namespace keyward::store
