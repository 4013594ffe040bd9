// Small conversions between values and text, each in one place.
//
//   to_hex(id.bytes)                      // "0badf00d"
//   to_iso8601(clock.now())               // "2026-01-05T02:00:00Z"
//   printable(name)                       // control characters and quotes escaped, for messages
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace keyward {

std::string to_hex(ByteView bytes);  // Lower case.
Result<Bytes> from_hex(std::string_view text);

// UTC, whole seconds: "2026-01-05T02:00:00Z". Times outside the years 1970 to 9999 are clamped.
std::string to_iso8601(UtcTime time);
// The same form only. `invalid_argument` otherwise.
Result<UtcTime> from_iso8601(std::string_view text);

// For error texts: control characters and invalid UTF-8 become \xNN, quotes and backslashes get a
// backslash; what is longer than `bytes_max` bytes is cut there and ends with an ellipsis.
std::string printable(std::string_view text, std::size_t bytes_max = 128);

// The same escapes without a limit and with quotes left alone: for whole lines.
std::string escape_controls(std::string_view text);

// The length of the valid UTF-8 sequence that `text` starts with (RFC 3629), 0 when there is none.
std::size_t utf8_sequence_size(std::string_view text);
// True when all of `text` is UTF-8 without control characters (U+0000–1F, 7F–9F).
bool is_printable_utf8(std::string_view text);

inline ByteView as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace keyward
