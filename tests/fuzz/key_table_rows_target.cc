#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>

#include "base/check.h"
#include "base/text.h"
#include "store/key_table_test_support.h"
#include "store/sqlite/database.h"
#include "store/sqlite/format.h"
#include "store/sqlite/schema.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace store;

// Each writes ?1, into the rows of key ?2 where the table has several.
constexpr auto kChanges = std::to_array<std::string_view>({
    "UPDATE store SET store=?1 WHERE ?2",
    "UPDATE store SET domain=?1 WHERE ?2",
    "UPDATE store SET generation=?1 WHERE ?2",
    "UPDATE store SET next_ref=?1 WHERE ?2",
    "UPDATE store SET blob_bytes_max=?1 WHERE ?2",
    "UPDATE keys SET ref=?1 WHERE ref=?2",
    "UPDATE keys SET id=?1 WHERE ref=?2",
    "UPDATE keys SET state=?1 WHERE ref=?2",
    "UPDATE keys SET created=?1 WHERE ref=?2",
    "UPDATE keys SET commitment=?1 WHERE ref=?2",
    "UPDATE keys SET wanted_mac=?1 WHERE ref=?2",
    "UPDATE keys SET encryptions_reserved=?1 WHERE ref=?2",
    "UPDATE keys SET entries=?1 WHERE ref=?2",
    "UPDATE copies SET custodian=?1 WHERE ref=?2",
    "UPDATE copies SET blob=?1 WHERE ref=?2",
    "INSERT INTO copies VALUES(?2, 7, ?1, x'00')",
    "INSERT INTO holders VALUES(?2, 0, 7, ?1)",
    "INSERT INTO holders VALUES(?2, 1, 7, ?1)",
    "UPDATE holders SET custodian=?1 WHERE ref=?2 AND position=0",
    "UPDATE wanted SET custodian=?1 WHERE ?2 AND position=0",
    "UPDATE wanted SET identity=?1 WHERE ?2",
    "UPDATE rekey SET job=?1 WHERE ?2",
    "UPDATE rekey SET from_key=?1 WHERE ?2",
    "UPDATE rekey SET to_key=?1 WHERE ?2",
    "UPDATE rekey SET phase=?1 WHERE ?2",
    "UPDATE rekey SET cancelled=?1 WHERE ?2",
    "UPDATE rekey SET started=?1 WHERE ?2",
    "UPDATE rekey SET actor=?1 WHERE ?2",
    "UPDATE rekey SET error=?1 WHERE ?2",
    "UPDATE rekey SET next_try=?1 WHERE ?2",
    "UPDATE rekey_cursor SET position=?1 WHERE ?2",
    "UPDATE rekey_cursor SET entries=?1 WHERE ?2",
    "DELETE FROM keys WHERE ref=?2 OR ref=?1",
    "DELETE FROM copies WHERE ref=?2 OR custodian=?1",
    "DELETE FROM holders WHERE ref=?2 OR custodian=?1",
    "DELETE FROM wanted WHERE ?2 AND ?1 IS NOT NULL",
    "DELETE FROM rekey WHERE ?2 AND ?1 IS NOT NULL",
    "DELETE FROM rekey_cursor WHERE ?2 AND ?1 IS NOT NULL",
    "DELETE FROM store WHERE ?2 AND ?1 IS NOT NULL",
});

template <typename T>
T must(Result<T> result) {
  CHECK(result.has_value(), "a step that has nothing to do with the input failed");
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// An empty keystore's file in a directory of its own, for the life of the process.
class Store final {
 public:
  Store() {
    for (const std::filesystem::path base : {"/dev/shm", "/tmp"}) {
      std::string name = (base / "keyward-fuzz-XXXXXX").string();
      if (directory_.empty() && ::mkdtemp(name.data()) != nullptr) directory_ = name;
    }
    database_.emplace(must(Database::open(directory_ + "/S3.db", {.create = true})));
    must(database_->execute(kKeystoreSchema));
    must(database_->execute(kRekeySchema));
    must(write_format(*database_, kFormatCurrent));
  }
  ~Store() {
    database_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  Database& database() { return *database_; }

 private:
  std::string directory_;
  std::optional<Database> database_;
};

KeyTable table_of(unsigned choice) {
  switch (choice % 5) {
    case 0:
      return key_table_testing::idle_table();
    case 1:
      return key_table_testing::preparing_table();
    case 2:
      return key_table_testing::reencrypting_table();
    case 3:
      return must(cancel(key_table_testing::verifying_table()));
    default:
      return key_table_testing::destroying_table();
  }
}

Result<void> bind_value(Statement& statement, Input& input) {
  switch (input.byte() % 6) {
    case 0:
      return statement.bind_null(1);
    case 1:
      return statement.bind(1, static_cast<std::int64_t>(input.byte()));
    case 2: {
      std::uint64_t value = 0;
      for (int i = 0; i < 8; ++i) value = value << 8 | input.byte();
      return statement.bind(1, static_cast<std::int64_t>(value));
    }
    case 3:
      return statement.bind(1, text_of(input.take(input.byte())));
    case 4:  // Of the size that ids have; their bytes are what follows, or zero.
      return statement.bind(1, ByteView(Bytes(input.byte() % 2 == 0 ? 16 : 32,
                                              static_cast<std::byte>(input.byte()))));
    default:
      return statement.bind(1, input.take(input.byte()));
  }
}

// What the schema itself refuses changes nothing.
void change_rows(Database& database, Input& input) {
  for (int count = 0; count < 16 && !input.rest().empty(); ++count) {
    Statement change = must(database.prepare(kChanges[input.byte() % kChanges.size()]));
    must(change.bind(2, kFirstKeyRef + static_cast<std::int64_t>(input.byte() % 2)));
    must(bind_value(change, input));
    static_cast<void>(change.run());
  }
}

void check_times(const KeyTable& table) {
  for (const KeyRow& row : table.keys) static_cast<void>(to_iso8601(row.created));
  if (!table.rekey) return;
  static_cast<void>(to_iso8601(table.rekey->started));
  if (table.rekey->next_try) static_cast<void>(to_iso8601(*table.rekey->next_try));
}

}  // namespace

void fuzz_key_table_rows(ByteView bytes) {
  static Store store;
  Database& database = store.database();
  const Transaction rolled_back = must(Transaction::begin(database));
  Input input(bytes);
  must(insert_state(database, first_state(table_of(input.byte()), kFormatCurrent.format)));
  change_rows(database, input);
  const Result<KeystoreState> state = load_state(database);
  if (!state) {
    CHECK(state.error().code == ErrorCode::corrupt, "rows that make no sense are corrupt");
    CHECK(is_printable_utf8(state.error().message), "a text for no terminal");
    return;
  }
  CHECK(state->table.check().has_value(), "a key table was loaded that cannot be");
  check_times(state->table);
  must(rewrite_state(database, *state));
  const KeystoreState again = must(load_state(database));
  CHECK(again == *state, "a key table reads back as another");
}

}  // namespace keyward::fuzz
