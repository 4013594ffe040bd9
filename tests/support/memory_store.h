// Stores in memory whose whole content is a value: it can be copied, compared with another, and set
// back to what a power cut leaves.
//
//   Disk disk;
//   MemoryBackend backend(disk, gate);
//   Keyring keyring({backend, custodians, aead_engine, events, clock}, {});
//   Disk before = disk;                 // a state of a search
//   disk.cut_power();                   // batches that were not yet durable are gone
//
// It keeps keystore.h's and reencryption.h's promises and no more: what SQLite guards beside them
// (a key with entries cannot be retired) is left out, so that the engine alone must keep them.
// Audit records are dropped. Flaws break single promises, for tests that must notice. One thread at
// a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "store/control_store.h"
#include "store/keystore.h"
#include "tests/support/call_gate.h"

namespace keyward::testing {

struct StoreFlaws {
  bool ignores_generation = false;  // Writes and batches pass under any key table.
  bool swaps_blindly = false;       // A key table replaces whichever is there.
  bool syncs_nothing = false;       // Nothing is durable but by a purge.
  bool purges_nothing = false;
  bool cursor_apart = false;  // The cursor is durable at once, its rows are not.
  bool keeps_cursor = false;  // It does not go back to the start, whatever changes.
  bool scans_nothing = false;
  bool takes_puts_for_batches = false;  // In its progress.
  bool forgets_intents = false;         // Holders of an announced key are not durable.
};

// One keystore's content.
struct StoreImage {
  store::KeyTable table;
  std::map<EntryName, store::SealedEntry> entries;
  std::optional<EntryName> cursor;  // The last entry that a batch has passed; none at the start.
  std::uint64_t rekey_entries = 0;
  // Keys with superseded blobs in the files, which only a purge takes away.
  std::set<KeyId> stale;
};

struct StoredStore {
  explicit StoredStore(StoreImage image) : now(std::move(image)) {}
  StoreImage now;
  std::optional<StoreImage> durable;  // Where that is another one.
};

struct Disk {
  std::map<Domain, StoredStore> stores;
  std::map<std::string, store::Document> documents;
  void cut_power();
};

class MemoryBackend final : public store::Backend {
 public:
  // Borrows all.
  MemoryBackend(Disk& disk, CallGate& gate, StoreFlaws flaws = {});
  ~MemoryBackend() override;

  store::ControlStore& control() override;
  Result<std::vector<Domain>> domains() override;
  Result<std::unique_ptr<store::Keystore>> open(const Domain& domain) override;
  Result<std::unique_ptr<store::Keystore>> create(
      const store::KeyTable& first, std::span<const store::AuditRecord> records) override;
  Result<UpgradeState> upgrade_state() override { return UpgradeState{}; }
  Result<void> commit_upgrade(std::span<const store::AuditRecord>) override { return {}; }
  Result<void> remove(const Domain& domain, std::span<const store::AuditRecord> records) override;

 private:
  Disk& disk_;
  CallGate& gate_;
  const StoreFlaws flaws_;
  std::unique_ptr<store::ControlStore> control_;
};

}  // namespace keyward::testing
