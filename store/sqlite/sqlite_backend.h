// The back end in a state directory: control.db, keystores/<DOMAIN>.db, and the lock that makes one
// process its owner.
//
//   auto backend = TRY(open_sqlite_backend("/var/lib/keyward", clock));
//   for (const Domain& domain : TRY(backend->domains())) TRY(backend->open(domain));
//
// The directory is made if it is not there (its parent must be), for its owner alone. What a crash
// left half removed is removed when it is opened. New keystores get the format that control.db has:
// so until `upgrade commit`, an older program can still be put back. Safe from any thread; it
// outlives its keystores. A keystore that is removed must not be open.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "store/control_store.h"
#include "store/sqlite/format.h"
#include "store/sqlite/vfs.h"

namespace keyward::store {

struct SqliteBackendOptions {
  // Of a state directory that is new. Below the current one, for fleets in which older programs are
  // still at work, and for tests of the upgrade.
  std::uint32_t first_format = kFormatCurrent.format;
  VfsHook* hook = nullptr;  // For tests.
};

// `busy` names the process that owns the directory.
Result<std::unique_ptr<Backend>> open_sqlite_backend(const std::string& directory, Clock& clock,
                                                     const SqliteBackendOptions& options = {});

}  // namespace keyward::store
