// The tables of a keystore's file, and the key table's way to and from its rows.
//
//   TRY(db.execute(kKeystoreSchema)); TRY(db.execute(kRekeySchema));   // format 2
//   TRY(insert_state(db, state));
//   KeystoreState state = TRY(load_state(db));
//
// Names and payloads are two tables: a rekey rewrites the second only. An entry's key stands in its
// row as a number of constant width (KeyRef), so that SQLite overwrites the row in place when it
// changes. There is no index on it: that would cost a rekey a quarter more. The functions belong to
// the connection's thread.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/key_table.h"
#include "store/sqlite/database.h"

namespace keyward::store {

// Stands for a KeyId in the entries' rows. From kFirstKeyRef up, so that SQLite always stores four
// bytes; never used twice in one store.
using KeyRef = std::int64_t;
inline constexpr KeyRef kFirstKeyRef = 0x01000001;
// Before every row.
inline constexpr std::int64_t kCursorStart = std::numeric_limits<std::int64_t>::min();

// Format 1 has these tables.
extern const std::string_view kKeystoreSchema;
// Format 2 has these too: without them no rekey can be written down.
extern const std::string_view kRekeySchema;

// How many entries are under one key: kept in the transactions that change it.
struct KeyAccount {
  KeyId id;
  KeyRef ref = 0;
  std::uint64_t entries = 0;
  bool operator==(const KeyAccount&) const = default;
};

// All of a keystore but its entries and its audit trail. A value.
struct KeystoreState {
  KeyTable table;
  std::vector<KeyAccount> accounts;  // One for each of table.keys.
  KeyRef next_ref = kFirstKeyRef;
  std::uint64_t blob_bytes_max = 0;  // The biggest blob that was ever written.
  std::uint32_t format = 0;
  std::int64_t cursor = 0;          // The last row that the rekey has passed.
  std::uint64_t rekey_entries = 0;  // Under rekey->from when it began.

  const KeyAccount* account(const KeyId& id) const;
  KeyAccount* account(const KeyId& id);
  const KeyAccount* account(KeyRef ref) const;
  std::uint64_t entries() const;
  bool operator==(const KeystoreState&) const = default;
};

// A state for a table that is new to the store: no entries, fresh references.
KeystoreState first_state(const KeyTable& table, std::uint32_t format);

// The state after `next` has replaced the table: references kept or given out, cursor at the start
// again where from and to have changed. `conflict` when a key that entries are under would be lost
// or retire.
Result<KeystoreState> replace_table(const KeystoreState& state, const KeyTable& next);

// `corrupt` names the row that makes no sense.
Result<KeystoreState> load_state(Database& database);

// Both within the transaction that is open.
Result<void> insert_state(Database& database, const KeystoreState& state);
// Replaces everything that insert_state wrote.
Result<void> rewrite_state(Database& database, const KeystoreState& state);

// The rows that change with the entries, with statements prepared once.
class CounterRows final {
 public:
  static Result<CounterRows> create(Database& database, std::uint32_t format);
  // Writes what differs from `before`; all of it when there is no `before`.
  Result<void> save(const KeystoreState& state, const KeystoreState* before);

 private:
  CounterRows(Statement entries, Statement blob_bytes, std::optional<Statement> cursor)
      : entries_(std::move(entries)),
        blob_bytes_(std::move(blob_bytes)),
        cursor_(std::move(cursor)) {}

  Statement entries_;
  Statement blob_bytes_;
  std::optional<Statement> cursor_;  // None in format 1.
};

}  // namespace keyward::store
