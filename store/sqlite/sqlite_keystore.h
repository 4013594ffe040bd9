// The keystore on SQLite: one file, owned by one process.
//
//   auto keystore = TRY(create_sqlite_keystore({.path = path, .clock = clock}, table, {&record,
//   1})); auto keystore = TRY(open_sqlite_keystore({.path = path, .clock = clock}));
//
// One thread writes (writer.h), a pool of connections reads (sqlite_keystore_readers.h), and the
// key table is kept in memory beside them. Everything else is in keystore.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "store/audit_trail.h"
#include "store/key_table.h"
#include "store/keystore.h"

namespace keyward::store {

struct SqliteKeystoreOptions {
  std::string path;
  Clock& clock;                        // Outlives the keystore.
  std::string vfs_name = "unix-excl";  // A Vfs's name(); the Vfs outlives the keystore.
  std::size_t readers_max = 4;         // At once; more wait their turn.
};

// `not_found`; `busy` when another process has it open; `unsupported` for a newer format;
// `corrupt`. What a crash left in the WAL is brought home and synced first. An older format is
// opened as it is. After a failed sync, in this process or an earlier one, it is checked as a whole
// and writes nothing until somebody with the keys trusts it (self_check.h).
Result<std::unique_ptr<Keystore>> open_sqlite_keystore(const SqliteKeystoreOptions& options);

// A file of that name is there whole or not at all. `already_exists` changes nothing. `format` is
// for tests of the upgrade: 0 is the current one.
Result<std::unique_ptr<Keystore>> create_sqlite_keystore(const SqliteKeystoreOptions& options,
                                                         const KeyTable& first,
                                                         std::span<const AuditRecord> records,
                                                         std::uint32_t format = 0);

// Brings the file to the current format in one transaction, and answers whether there was anything
// to do. It may be open meanwhile, by this process: the open keystore takes notice by itself.
Result<bool> upgrade_sqlite_keystore(const SqliteKeystoreOptions& options,
                                     std::span<const AuditRecord> records);

}  // namespace keyward::store
