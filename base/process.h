// What a process that holds keys does first: no core dump, no ptrace by others, enough locked
// memory.
//
//   TRY(harden_process(MemoryLock::required));    // the first line of main, before any key
//
// Call it before a thread is started.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace keyward {

enum class MemoryLock : std::uint8_t {
  required,     // Too little RLIMIT_MEMLOCK is an error.
  best_effort,  // It is a warning; secrets may reach swap. For machines where it cannot be raised.
};

// PR_SET_DUMPABLE 0, RLIMIT_CORE 0, SecretBytes' arena locked. `exhausted` says how much memory may
// be locked, how much is needed, and how to raise it.
Result<void> harden_process(MemoryLock lock);

}  // namespace keyward
