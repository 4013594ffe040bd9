#include "store/sqlite/sqlite_keystore_entries.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::store {
namespace {

Result<void> run_once(Statement& statement) {
  StatementReset reset(statement);
  return statement.run();
}

std::string quoted(const EntryName& name) { return fmt::format("\"{}\"", printable(name.text())); }

Result<void> check_change(const EntryChange& change, const KeystoreState& state) {
  if (!change.entry) {
    if (change.replaces != 0) return {};
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("erasing entry {} needs the version that is to go", quoted(change.name)));
  }
  if (change.entry->version != change.replaces + 1 || change.entry->blob.empty()) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("entry {} has version {} after {}, and {} bytes; versions go up by one "
                            "and a blob is never empty",
                            quoted(change.name), change.entry->version, change.replaces,
                            change.entry->blob.size()));
  }
  if (change.entry->key == state.table.write_key().id) return {};
  return fail(ErrorCode::conflict,
              fmt::format("entry {} is under key {}, but new entries are written under {}; encrypt "
                          "it again",
                          quoted(change.name), change.entry->key.to_text(),
                          state.table.write_key().id.to_text()));
}

}  // namespace

void EntryTally::add(KeyRef ref, std::int64_t entries) {
  const auto known = std::ranges::find(changes_, ref, &std::pair<KeyRef, std::int64_t>::first);
  if (known == changes_.end())
    changes_.emplace_back(ref, entries);
  else
    known->second += entries;
}

void EntryTally::saw_blob(std::size_t bytes) {
  blob_bytes_max_ = std::max<std::uint64_t>(blob_bytes_max_, bytes);
}

void EntryTally::settle(KeystoreState& state) const {
  state.blob_bytes_max = std::max(state.blob_bytes_max, blob_bytes_max_);
  for (const auto& [ref, change] : changes_) {
    const auto account = std::ranges::find(state.accounts, ref, &KeyAccount::ref);
    if (account == state.accounts.end()) continue;
    const auto before = static_cast<std::int64_t>(account->entries);
    account->entries = static_cast<std::uint64_t>(std::max<std::int64_t>(0, before + change));
  }
}

Result<EntryRows> EntryRows::create(Database& database) {
  Statements statements{
      TRY(database.prepare("SELECT n.id, p.mk, p.version FROM names n "
                           "LEFT JOIN payload p ON p.id = n.id WHERE n.name = ?1")),
      TRY(database.prepare("INSERT INTO names(name) VALUES(?1)")),
      TRY(database.prepare("INSERT INTO payload VALUES(?1, ?2, ?3, ?4)")),
      TRY(database.prepare("UPDATE payload SET mk=?2, version=?3, blob=?4 WHERE id=?1")),
      TRY(database.prepare("DELETE FROM names WHERE id=?1")),
      TRY(database.prepare("DELETE FROM payload WHERE id=?1"))};
  return EntryRows(std::move(statements), database.handle());
}

Result<EntryRows::Found> EntryRows::find(const EntryName& name) {
  StatementReset reset(statements_.find);
  TRY(statements_.find.bind(1, name.text()));
  if (!TRY(statements_.find.step())) return Found{};
  if (statements_.find.is_null(1)) {
    return fail(ErrorCode::corrupt, fmt::format("entry {} has a name but no content; restore the "
                                                "keystore from a backup",
                                                quoted(name)));
  }
  return Found{statements_.find.integer(0), statements_.find.integer(1),
               static_cast<std::uint64_t>(statements_.find.integer(2))};
}

Result<void> EntryRows::apply(const EntryChange& change, const KeystoreState& state,
                              EntryTally& tally) {
  TRY(check_change(change, state));
  const Found found = TRY(find(change.name));
  if (found.version != change.replaces) {
    return fail(ErrorCode::conflict,
                fmt::format("entry {} is at version {}, not {}; read it again", quoted(change.name),
                            found.version, change.replaces));
  }
  if (found.version != 0) tally.add(found.ref, -1);
  if (!change.entry) return erase(found);
  const KeyRef ref = state.account(change.entry->key)->ref;
  tally.add(ref, 1);
  tally.saw_blob(change.entry->blob.size());
  if (found.version != 0) return update(found, ref, *change.entry);
  return insert(change.name, ref, *change.entry);
}

Result<void> EntryRows::insert(const EntryName& name, KeyRef ref, const SealedEntry& entry) {
  TRY(statements_.insert_name.bind(1, name.text()));
  TRY(run_once(statements_.insert_name));
  TRY(statements_.insert_payload.bind(1, sqlite3_last_insert_rowid(database_)));
  TRY(statements_.insert_payload.bind(2, ref));
  TRY(statements_.insert_payload.bind(3, static_cast<std::int64_t>(entry.version)));
  TRY(statements_.insert_payload.bind_borrowed(4, entry.blob));
  return run_once(statements_.insert_payload);
}

Result<void> EntryRows::update(const Found& found, KeyRef ref, const SealedEntry& entry) {
  TRY(statements_.update_payload.bind(1, found.id));
  TRY(statements_.update_payload.bind(2, ref));
  TRY(statements_.update_payload.bind(3, static_cast<std::int64_t>(entry.version)));
  TRY(statements_.update_payload.bind_borrowed(4, entry.blob));
  return run_once(statements_.update_payload);
}

Result<void> EntryRows::erase(const Found& found) {
  TRY(statements_.delete_name.bind(1, found.id));
  TRY(run_once(statements_.delete_name));
  TRY(statements_.delete_payload.bind(1, found.id));
  return run_once(statements_.delete_payload);
}

}  // namespace keyward::store
