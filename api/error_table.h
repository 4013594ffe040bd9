// The one table of what each ErrorCode means outside: the exit code of `keyward`, the HTTP status,
// and the problem's title.
//
//   return exit_code(error.code);
//   response.status(http_status(error.code));
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace keyward::api {

// The exit codes that scripts may rely on.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNotPermitted = 3;
inline constexpr int kExitNotFound = 4;
inline constexpr int kExitBusy = 5;  // Or conflict.
inline constexpr int kExitUnavailable = 6;

struct ErrorTraits {
  ErrorCode code;
  int exit_code;
  unsigned http_status;
  std::string_view title;
};

// All of them, in the order of the enum.
std::span<const ErrorTraits> error_table();
const ErrorTraits& error_traits(ErrorCode code);
int exit_code(ErrorCode code);
unsigned http_status(ErrorCode code);
// "urn:keyward:problem:not_found".
std::string problem_type(ErrorCode code);
// The inverse of error_code_name(). None for a name that is not known.
std::optional<ErrorCode> error_code_of(std::string_view name);

}  // namespace keyward::api
