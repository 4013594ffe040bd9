// Random bytes of the operating system's generator, getrandom(2). Never fails: a system without one
// stops the process. Any thread.
#pragma once

#include "base/bytes.h"

namespace keyward {

void os_random_fill(MutableByteView bytes);

}  // namespace keyward
