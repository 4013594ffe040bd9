// The file control by which a Database asks the Vfs below it. Other VFSs answer SQLITE_NOTFOUND.
#pragma once

namespace keyward::store {

// xFileControl opcode, argument bool*: has a sync of this database failed? SQLite leaves opcodes
// above 100 to applications.
inline constexpr int kFileControlSyncFailed = 0x4b570001;

}  // namespace keyward::store
