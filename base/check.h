// CHECK stops the process when an invariant of our own is broken, in release builds too: going on
// with a state that cannot be would risk keys.
//
//   CHECK(table.check().has_value(), "a transition made a table that is not valid");
//
// It is for bugs only. What the world does wrong is answered with an Error.
#pragma once

namespace keyward::detail {
[[noreturn]] void check_failed(const char* expression, const char* message, const char* file,
                               int line) noexcept;
}  // namespace keyward::detail

#define CHECK(condition, message)     \
  ((condition) ? static_cast<void>(0) \
               : ::keyward::detail::check_failed(#condition, message, __FILE__, __LINE__))
