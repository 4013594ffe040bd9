// Entries as rows: what the writer's jobs do to them.
//
//   EntryRows rows = TRY(EntryRows::create(database));
//   EntryTally tally(context.state);
//   for (const EntryChange& change : changes) TRY(rows.apply(change, context.state, tally));
//   tally.settle(context.state);      // once nothing can fail any more
//
// The connection's thread only.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/keystore.h"
#include "store/sqlite/database.h"
#include "store/sqlite/schema.h"

namespace keyward::store {

// What a job will have changed in the state's counts.
class EntryTally final {
 public:
  void add(KeyRef ref, std::int64_t entries);
  void saw_blob(std::size_t bytes);
  void settle(KeystoreState& state) const;

 private:
  std::vector<std::pair<KeyRef, std::int64_t>> changes_;  // Of two keys at most.
  std::uint64_t blob_bytes_max_ = 0;
};

class EntryRows final {
 public:
  static Result<EntryRows> create(Database& database);

  // Within the transaction that is open. `conflict` unless the version that it replaces is there
  // and the entry is under the key that new entries are written under.
  Result<void> apply(const EntryChange& change, const KeystoreState& state, EntryTally& tally);

 private:
  struct Found {
    std::int64_t id = 0;
    KeyRef ref = 0;
    std::uint64_t version = 0;  // 0: there is none.
  };
  struct Statements {
    Statement find;
    Statement insert_name;
    Statement insert_payload;
    Statement update_payload;
    Statement delete_name;
    Statement delete_payload;
  };
  EntryRows(Statements statements, sqlite3* database)
      : statements_(std::move(statements)), database_(database) {}

  Result<Found> find(const EntryName& name);
  Result<void> insert(const EntryName& name, KeyRef ref, const SealedEntry& entry);
  Result<void> update(const Found& found, KeyRef ref, const SealedEntry& entry);
  Result<void> erase(const Found& found);

  Statements statements_;
  sqlite3* database_;
};

}  // namespace keyward::store
