// The seccomp filter of a program that is to see device nodes: which of its system calls wait for
// the DeviceServer, and which do not exist for it.
//
//   const Bytes program = TRY(make_filter());            // before fork
//   Descriptor listener = TRY(install_filter(program));  // in the child, before exec
//
// All that take a descriptor are asked about for every descriptor: a program may move one that it
// was given to any number.
#pragma once

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"

namespace keyward::sed {

// A program of struct sock_filter for this machine.
Result<Bytes> make_filter();

// For this thread and all that it starts, for good; sets no_new_privs. The descriptor is the
// DeviceServer's end. `busy` when the process already has such a filter. Allocates nothing.
Result<Descriptor> install_filter(ByteView program);

}  // namespace keyward::sed
