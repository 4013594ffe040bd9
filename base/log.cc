#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <string>

#include "base/text.h"

namespace keyward {
namespace {

using Sink = std::function<void(LogLevel, std::string_view)>;

std::atomic<LogLevel> level_limit{LogLevel::info};

// Held while a sink runs, so that one that was replaced is never called again. Leaked, because
// threads may log while statics are destroyed.
std::mutex& sink_mutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}
Sink& current_sink() {
  static Sink& sink = *new Sink;
  return sink;
}

// One write(2) for a line, so that lines of several threads or processes do not mix.
void write_to_stderr(LogLevel level, std::string_view text) {
  const std::string line = fmt::format("<{}>{}\n", static_cast<int>(level), text);
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t put = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;  // There is nowhere left to say so.
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
}

}  // namespace

void log_line(LogLevel level, std::string_view text) {
  if (level > level_limit.load(std::memory_order_relaxed)) return;
  const std::string line = escape_controls(text);
  const std::lock_guard lock(sink_mutex());
  if (const Sink& sink = current_sink()) {
    sink(level, line);
  } else {
    write_to_stderr(level, line);
  }
}

void set_log_level(LogLevel level_max) { level_limit.store(level_max, std::memory_order_relaxed); }

void set_log_sink(std::function<void(LogLevel, std::string_view)> sink) {
  const std::lock_guard lock(sink_mutex());
  current_sink() = std::move(sink);
}

}  // namespace keyward
