// What the helper process gives up before the vendor's module is loaded into it.
//
//   TRY(enter_sandbox());          // first lines of main
//   TRY(forbid_system_calls(…));   // before the module is loaded
//
// Call before a thread is started.
#pragma once

#include "base/result.h"

namespace keyward::hsm::pkcs11 {

enum class Network : bool { forbidden, allowed };

// No core dump, no ptrace, no new privileges, no descriptors but 0 to 3, and an end that follows
// the parent's: the call that runs is finished (a token's files are not left half written), one
// that hangs is cut off after some seconds.
Result<void> enter_sandbox();

// No exec, no debugging of others, and without `network` no sockets. A list of what is forbidden,
// since what a vendor's module may need cannot be listed.
Result<void> forbid_system_calls(Network network);

}  // namespace keyward::hsm::pkcs11
