#include "store/sqlite/schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "store/sqlite/format.h"

namespace keyward::store {

// payload has no constraints: with one, SQLite would keep a second copy of every page that a
// statement changes until the statement ends. What they would check is checked when it is read.
const std::string_view kKeystoreSchema = R"sql(
CREATE TABLE store(
  one INTEGER PRIMARY KEY CHECK(one = 1),
  store BLOB NOT NULL,
  domain TEXT NOT NULL,
  generation INTEGER NOT NULL,
  next_ref INTEGER NOT NULL,
  blob_bytes_max INTEGER NOT NULL);
CREATE TABLE keys(
  ref INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  state INTEGER NOT NULL,
  created INTEGER NOT NULL,
  commitment BLOB NOT NULL,
  wanted_mac BLOB NOT NULL,
  encryptions_reserved INTEGER NOT NULL,
  entries INTEGER NOT NULL);
CREATE TABLE copies(
  ref INTEGER NOT NULL,
  position INTEGER NOT NULL,
  custodian TEXT NOT NULL,
  blob BLOB NOT NULL,
  PRIMARY KEY(ref, position)) WITHOUT ROWID;
CREATE TABLE holders(
  ref INTEGER NOT NULL,
  excepted INTEGER NOT NULL,
  position INTEGER NOT NULL,
  custodian TEXT NOT NULL,
  PRIMARY KEY(ref, excepted, position)) WITHOUT ROWID;
CREATE TABLE wanted(
  position INTEGER PRIMARY KEY,
  custodian TEXT NOT NULL,
  identity TEXT NOT NULL);
CREATE TABLE names(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE payload(id INTEGER PRIMARY KEY, mk INTEGER, version INTEGER, blob BLOB);
)sql";

const std::string_view kRekeySchema = R"sql(
CREATE TABLE rekey(
  one INTEGER PRIMARY KEY CHECK(one = 1),
  job BLOB NOT NULL,
  from_key BLOB NOT NULL,
  to_key BLOB NOT NULL,
  phase INTEGER NOT NULL,
  paused INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  started INTEGER NOT NULL,
  actor TEXT NOT NULL,
  error TEXT NOT NULL,
  next_try INTEGER);
CREATE TABLE rekey_without(position INTEGER PRIMARY KEY, custodian TEXT NOT NULL);
CREATE TABLE rekey_cursor(
  one INTEGER PRIMARY KEY CHECK(one = 1),
  position INTEGER NOT NULL,
  entries INTEGER NOT NULL);
INSERT INTO rekey_cursor VALUES(1, -9223372036854775808, 0);
)sql";

namespace {

std::unexpected<Error> broken_row(std::string_view what) {
  return fail(ErrorCode::corrupt,
              fmt::format("a row of the key table makes no sense: {}; restore the keystore from a "
                          "backup",
                          what));
}

std::int64_t to_integer(std::uint64_t value) { return static_cast<std::int64_t>(value); }
std::int64_t to_integer(UtcTime time) { return time.time_since_epoch().count(); }
UtcTime time_of(std::int64_t value) { return UtcTime(std::chrono::milliseconds(value)); }

template <std::size_t N>
Result<std::array<std::byte, N>> array_of(ByteView blob, std::string_view what) {
  if (blob.size() != N)
    return broken_row(fmt::format("{} has {} bytes, not {}", what, blob.size(), N));
  std::array<std::byte, N> bytes;
  std::ranges::copy(blob, bytes.begin());
  return bytes;
}

template <typename Enum>
Result<Enum> enum_of(std::int64_t value, Enum last, std::string_view what) {
  if (value < 0 || value > static_cast<std::int64_t>(last))
    return broken_row(fmt::format("{} is {}", what, value));
  return static_cast<Enum>(value);
}

// ---- From rows ----

Result<std::vector<CustodianId>> load_custodians(Statement& query) {
  std::vector<CustodianId> custodians;
  while (TRY(query.step())) custodians.push_back({std::string(query.text(0))});
  return custodians;
}

Result<std::vector<CustodianId>> load_holders(Database& database, KeyRef ref, bool excepted) {
  Statement query = TRY(database.prepare(
      "SELECT custodian FROM holders WHERE ref=?1 AND excepted=?2 ORDER BY position"));
  TRY(query.bind(1, ref));
  TRY(query.bind(2, std::int64_t{excepted}));
  return load_custodians(query);
}

Result<std::vector<SealedKey>> load_copies(Database& database, KeyRef ref) {
  Statement query =
      TRY(database.prepare("SELECT custodian, blob FROM copies WHERE ref=?1 ORDER BY position"));
  TRY(query.bind(1, ref));
  std::vector<SealedKey> copies;
  while (TRY(query.step())) {
    const ByteView blob = query.blob(1);
    copies.push_back({{std::string(query.text(0))}, Bytes(blob.begin(), blob.end())});
  }
  return copies;
}

Result<void> load_keys(Database& database, KeystoreState& state) {
  Statement query = TRY(database.prepare(
      "SELECT ref, id, state, created, commitment, wanted_mac, encryptions_reserved, entries "
      "FROM keys ORDER BY ref"));
  while (TRY(query.step())) {
    KeyRow row;
    const KeyRef ref = query.integer(0);
    row.id.bytes = TRY((array_of<16>(query.blob(1), "a key's id")));
    row.state = TRY(enum_of(query.integer(2), KeyState::retiring, "a key's state"));
    row.created = time_of(query.integer(3));
    row.commitment = TRY((array_of<32>(query.blob(4), "a commitment")));
    row.wanted_mac = TRY((array_of<32>(query.blob(5), "the custodians' MAC")));
    row.encryptions_reserved = static_cast<std::uint64_t>(query.integer(6));
    row.copies = TRY(load_copies(database, ref));
    row.holders = TRY(load_holders(database, ref, false));
    row.except = TRY(load_holders(database, ref, true));
    state.accounts.push_back({row.id, ref, static_cast<std::uint64_t>(query.integer(7))});
    state.table.keys.push_back(std::move(row));
  }
  return {};
}

Result<void> load_wanted(Database& database, KeystoreState& state) {
  Statement query =
      TRY(database.prepare("SELECT custodian, identity FROM wanted ORDER BY position"));
  while (TRY(query.step())) {
    state.table.wanted.push_back({{std::string(query.text(0))}, std::string(query.text(1))});
  }
  return {};
}

Result<void> load_rekey(Database& database, KeystoreState& state) {
  Statement cursor = TRY(database.prepare("SELECT position, entries FROM rekey_cursor"));
  if (!TRY(cursor.step())) return broken_row("the rekey has no cursor");
  state.cursor = cursor.integer(0);
  state.rekey_entries = static_cast<std::uint64_t>(cursor.integer(1));
  Statement query = TRY(
      database.prepare("SELECT job, from_key, to_key, phase, paused, cancelled, started, actor, "
                       "error, next_try FROM rekey"));
  if (!TRY(query.step())) return {};
  RekeyRow row;
  row.job.bytes = TRY((array_of<16>(query.blob(0), "the rekey's id")));
  row.from.bytes = TRY((array_of<16>(query.blob(1), "the old key's id")));
  row.to.bytes = TRY((array_of<16>(query.blob(2), "the new key's id")));
  row.phase = TRY(enum_of(query.integer(3), RekeyPhase::destroy, "the rekey's phase"));
  row.paused = query.integer(4) != 0;
  row.cancelled = query.integer(5) != 0;
  row.started = time_of(query.integer(6));
  row.actor = query.text(7);
  row.error = query.text(8);
  if (!query.is_null(9)) row.next_try = time_of(query.integer(9));
  Statement without =
      TRY(database.prepare("SELECT custodian FROM rekey_without ORDER BY position"));
  row.without = TRY(load_custodians(without));
  state.table.rekey = std::move(row);
  return {};
}

// ---- To rows ----

Result<void> run_once(Statement& statement) {
  StatementReset reset(statement);
  return statement.run();
}

Result<void> insert_store(Database& database, const KeystoreState& state) {
  Statement insert = TRY(database.prepare("INSERT INTO store VALUES(1, ?1, ?2, ?3, ?4, ?5)"));
  TRY(insert.bind(1, ByteView(state.table.store.bytes)));
  TRY(insert.bind(2, state.table.domain.text()));
  TRY(insert.bind(3, to_integer(state.table.generation)));
  TRY(insert.bind(4, state.next_ref));
  TRY(insert.bind(5, to_integer(state.blob_bytes_max)));
  return insert.run();
}

Result<void> insert_holders(Database& database, KeyRef ref,
                            const std::vector<CustodianId>& custodians, bool excepted) {
  Statement insert = TRY(database.prepare("INSERT INTO holders VALUES(?1, ?2, ?3, ?4)"));
  for (std::size_t i = 0; i < custodians.size(); ++i) {
    TRY(insert.bind(1, ref));
    TRY(insert.bind(2, std::int64_t{excepted}));
    TRY(insert.bind(3, to_integer(i)));
    TRY(insert.bind(4, custodians[i].text));
    TRY(run_once(insert));
  }
  return {};
}

Result<void> insert_copies(Database& database, KeyRef ref, const std::vector<SealedKey>& copies) {
  Statement insert = TRY(database.prepare("INSERT INTO copies VALUES(?1, ?2, ?3, ?4)"));
  for (std::size_t i = 0; i < copies.size(); ++i) {
    TRY(insert.bind(1, ref));
    TRY(insert.bind(2, to_integer(i)));
    TRY(insert.bind(3, copies[i].custodian.text));
    TRY(insert.bind(4, ByteView(copies[i].blob)));
    TRY(run_once(insert));
  }
  return {};
}

Result<void> insert_key(Database& database, const KeyRow& row, const KeyAccount& account) {
  Statement insert =
      TRY(database.prepare("INSERT INTO keys VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  TRY(insert.bind(1, account.ref));
  TRY(insert.bind(2, ByteView(row.id.bytes)));
  TRY(insert.bind(3, static_cast<std::int64_t>(row.state)));
  TRY(insert.bind(4, to_integer(row.created)));
  TRY(insert.bind(5, ByteView(row.commitment)));
  TRY(insert.bind(6, ByteView(row.wanted_mac)));
  TRY(insert.bind(7, to_integer(row.encryptions_reserved)));
  TRY(insert.bind(8, to_integer(account.entries)));
  TRY(insert.run());
  TRY(insert_copies(database, account.ref, row.copies));
  TRY(insert_holders(database, account.ref, row.holders, false));
  return insert_holders(database, account.ref, row.except, true);
}

Result<void> insert_wanted(Database& database, const std::vector<WantedCustodian>& wanted) {
  Statement insert = TRY(database.prepare("INSERT INTO wanted VALUES(?1, ?2, ?3)"));
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    TRY(insert.bind(1, to_integer(i)));
    TRY(insert.bind(2, wanted[i].id.text));
    TRY(insert.bind(3, wanted[i].identity));
    TRY(run_once(insert));
  }
  return {};
}

Result<void> insert_without(Database& database, const std::vector<CustodianId>& without) {
  Statement insert = TRY(database.prepare("INSERT INTO rekey_without VALUES(?1, ?2)"));
  for (std::size_t i = 0; i < without.size(); ++i) {
    TRY(insert.bind(1, to_integer(i)));
    TRY(insert.bind(2, without[i].text));
    TRY(run_once(insert));
  }
  return {};
}

Result<void> insert_rekey(Database& database, const RekeyRow& row) {
  Statement insert =
      TRY(database.prepare("INSERT INTO rekey VALUES(1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"));
  TRY(insert.bind(1, ByteView(row.job.bytes)));
  TRY(insert.bind(2, ByteView(row.from.bytes)));
  TRY(insert.bind(3, ByteView(row.to.bytes)));
  TRY(insert.bind(4, static_cast<std::int64_t>(row.phase)));
  TRY(insert.bind(5, std::int64_t{row.paused}));
  TRY(insert.bind(6, std::int64_t{row.cancelled}));
  TRY(insert.bind(7, to_integer(row.started)));
  TRY(insert.bind(8, row.actor));
  TRY(insert.bind(9, row.error));
  if (row.next_try) TRY(insert.bind(10, to_integer(*row.next_try)));
  TRY(insert.run());
  return insert_without(database, row.without);
}

// ---- Accounts ----

Result<void> keep_entries_open(const KeyAccount& account, const KeyTable& next) {
  if (account.entries == 0) return {};
  const KeyRow* row = next.find(account.id);
  if (row != nullptr && (row->state == KeyState::pending || row->state == KeyState::current))
    return {};
  return fail(ErrorCode::conflict,
              fmt::format("{} entries are still under key {}, so it can be neither retired nor "
                          "forgotten; re-encrypt them first",
                          account.entries, account.id.to_text()));
}

bool cursor_starts_anew(const KeyTable& before, const KeyTable& next) {
  if (!next.rekey || next.rekey->phase != RekeyPhase::reencrypt) return false;
  if (!before.rekey || before.rekey->phase != RekeyPhase::reencrypt) return true;
  return before.rekey->from != next.rekey->from || before.rekey->to != next.rekey->to;
}

bool counts_anew(const KeyTable& before, const KeyTable& next) {
  return !before.rekey || before.rekey->phase == RekeyPhase::prepare ||
         before.rekey->from != next.rekey->from;
}

}  // namespace

const KeyAccount* KeystoreState::account(const KeyId& id) const {
  const auto found = std::ranges::find(accounts, id, &KeyAccount::id);
  return found == accounts.end() ? nullptr : &*found;
}

KeyAccount* KeystoreState::account(const KeyId& id) {
  const auto found = std::ranges::find(accounts, id, &KeyAccount::id);
  return found == accounts.end() ? nullptr : &*found;
}

const KeyAccount* KeystoreState::account(KeyRef ref) const {
  const auto found = std::ranges::find(accounts, ref, &KeyAccount::ref);
  return found == accounts.end() ? nullptr : &*found;
}

std::uint64_t KeystoreState::entries() const {
  std::uint64_t total = 0;
  for (const KeyAccount& account : accounts) total += account.entries;
  return total;
}

KeystoreState first_state(const KeyTable& table, std::uint32_t format) {
  KeystoreState state{.table = table, .accounts = {}, .format = format};
  for (const KeyRow& row : table.keys) state.accounts.push_back({row.id, state.next_ref++});
  return state;
}

Result<KeystoreState> replace_table(const KeystoreState& state, const KeyTable& next) {
  for (const KeyAccount& account : state.accounts) TRY(keep_entries_open(account, next));
  KeystoreState after = state;
  after.table = next;
  after.table.generation = state.table.generation + 1;
  after.accounts.clear();
  for (const KeyRow& row : next.keys) {
    const KeyAccount* known = state.account(row.id);
    after.accounts.push_back(known != nullptr ? *known : KeyAccount{row.id, after.next_ref++});
  }
  if (!cursor_starts_anew(state.table, next)) return after;
  after.cursor = kCursorStart;
  if (counts_anew(state.table, next))
    after.rekey_entries = after.account(next.rekey->from)->entries;
  return after;
}

Result<KeystoreState> load_state(Database& database) {
  Statement query = TRY(database.prepare(
      "SELECT store, domain, generation, next_ref, blob_bytes_max FROM store WHERE one=1"));
  if (!TRY(query.step())) return broken_row("the store has no name");
  Result<Domain> domain = Domain::parse(query.text(1));
  if (!domain) return broken_row("the domain's name");
  KeystoreState state{.table = {.store = {},
                                .domain = *domain,
                                .generation = static_cast<std::uint64_t>(query.integer(2)),
                                .keys = {},
                                .wanted = {},
                                .rekey = {}},
                      .accounts = {}};
  state.table.store.bytes = TRY((array_of<16>(query.blob(0), "the store's id")));
  state.next_ref = query.integer(3);
  state.blob_bytes_max = static_cast<std::uint64_t>(query.integer(4));
  state.format = TRY(read_format(database)).format;
  TRY(load_keys(database, state));
  TRY(load_wanted(database, state));
  if (state.format >= kFormatCurrent.format) TRY(load_rekey(database, state));
  TRY(state.table.check());
  return state;
}

Result<void> insert_state(Database& database, const KeystoreState& state) {
  TRY(insert_store(database, state));
  for (const KeyRow& row : state.table.keys) TRY(insert_key(database, row, *state.account(row.id)));
  TRY(insert_wanted(database, state.table.wanted));
  if (state.table.rekey) TRY(insert_rekey(database, *state.table.rekey));
  return {};
}

Result<void> rewrite_state(Database& database, const KeystoreState& state) {
  TRY(database.execute(
      "DELETE FROM store; DELETE FROM keys; DELETE FROM copies; DELETE FROM holders; "
      "DELETE FROM wanted"));
  if (state.format >= kFormatCurrent.format)
    TRY(database.execute("DELETE FROM rekey; DELETE FROM rekey_without"));
  return insert_state(database, state);
}

Result<CounterRows> CounterRows::create(Database& database, std::uint32_t format) {
  Statement entries = TRY(database.prepare("UPDATE keys SET entries=?2 WHERE ref=?1"));
  Statement blob_bytes = TRY(database.prepare("UPDATE store SET blob_bytes_max=?1 WHERE one=1"));
  std::optional<Statement> cursor;
  if (format >= kFormatCurrent.format) {
    cursor.emplace(
        TRY(database.prepare("UPDATE rekey_cursor SET position=?1, entries=?2 WHERE one=1")));
  }
  return CounterRows(std::move(entries), std::move(blob_bytes), std::move(cursor));
}

Result<void> CounterRows::save(const KeystoreState& state, const KeystoreState* before) {
  for (const KeyAccount& account : state.accounts) {
    const KeyAccount* old = before == nullptr ? nullptr : before->account(account.ref);
    if (old != nullptr && *old == account) continue;
    TRY(entries_.bind(1, account.ref));
    TRY(entries_.bind(2, to_integer(account.entries)));
    TRY(run_once(entries_));
  }
  if (before == nullptr || before->blob_bytes_max != state.blob_bytes_max) {
    TRY(blob_bytes_.bind(1, to_integer(state.blob_bytes_max)));
    TRY(run_once(blob_bytes_));
  }
  const bool moved = before == nullptr || before->cursor != state.cursor ||
                     before->rekey_entries != state.rekey_entries;
  if (!cursor_ || !moved) return {};
  TRY(cursor_->bind(1, state.cursor));
  TRY(cursor_->bind(2, to_integer(state.rekey_entries)));
  return run_once(*cursor_);
}

}  // namespace keyward::store
