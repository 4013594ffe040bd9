#include "base/check.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace keyward::detail {

// Allocates nothing and takes no lock: the state is broken, and the caller may hold any.
void check_failed(const char* expression, const char* message, const char* file,
                  int line) noexcept {
  char text[512];
  const int size = std::snprintf(text, sizeof text, "<2>bug: %s (%s) at %s:%d\n", message,
                                 expression, file, line);
  if (size > 0) {
    const std::size_t length = static_cast<std::size_t>(size) < sizeof text
                                   ? static_cast<std::size_t>(size)
                                   : sizeof text - 1;
    static_cast<void>(!::write(STDERR_FILENO, text, length));
  }
  std::abort();
}

}  // namespace keyward::detail
