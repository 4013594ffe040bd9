// Log lines go to stderr, one line each, with the priority prefix that the journal understands
// (sd-daemon(3)): "<4>rekey S3: the token is gone".
//
//   log(LogLevel::warning, "custodian {} is unhealthy: {}", id.text, error.message);
//
// Control characters are escaped, so that a name cannot forge a line. Never pass a secret: nothing
// here takes SecretBytes. Safe from any thread.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

namespace keyward {

// The numbers are syslog's.
enum class LogLevel : std::uint8_t { error = 3, warning = 4, notice = 5, info = 6, debug = 7 };

void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

// Lines above this level are dropped; `info` at the start.
void set_log_level(LogLevel level_max);
// Tests read the lines instead; nullptr restores stderr.
void set_log_sink(std::function<void(LogLevel, std::string_view)> sink);

}  // namespace keyward
