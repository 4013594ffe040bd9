#include "base/os_random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace keyward {

void os_random_fill(MutableByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t got = ::getrandom(bytes.data(), bytes.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    CHECK(got > 0, "getrandom(2) does not answer");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

}  // namespace keyward
