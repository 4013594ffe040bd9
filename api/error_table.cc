#include "api/error_table.h"

#include <array>

#include "api/problem.h"
#include "base/check.h"

namespace keyward::api {
namespace {

constexpr auto kTable = std::to_array<ErrorTraits>({
    {ErrorCode::invalid_argument, kExitUsage, 400, "The request cannot work"},
    {ErrorCode::not_permitted, kExitNotPermitted, 403, "Not permitted"},
    {ErrorCode::auth_failed, kExitFailed, 502, "A device refused Keyward's credential"},
    {ErrorCode::locked_out, kExitFailed, 502, "A device no longer listens"},
    {ErrorCode::not_found, kExitNotFound, 404, "Not found"},
    {ErrorCode::already_exists, kExitBusy, 409, "It exists already"},
    {ErrorCode::conflict, kExitBusy, 409, "The state does not allow it now"},
    {ErrorCode::busy, kExitBusy, 503, "Somebody else is at it"},
    {ErrorCode::unavailable, kExitUnavailable, 503, "It cannot be reached now"},
    {ErrorCode::timeout, kExitUnavailable, 504, "No answer in time"},
    {ErrorCode::cancelled, kExitFailed, 503, "Cancelled"},
    {ErrorCode::exhausted, kExitFailed, 507, "No room left"},
    {ErrorCode::unsupported, kExitFailed, 501, "Not supported"},
    {ErrorCode::corrupt, kExitFailed, 500, "Stored bytes fail their checks"},
    {ErrorCode::protocol, kExitFailed, 502, "A peer breaks its protocol"},
    {ErrorCode::io, kExitFailed, 500, "The operating system reports an error"},
});

constexpr bool in_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (kTable[i].code != static_cast<ErrorCode>(i)) return false;
  return true;
}
static_assert(in_order(), "error_traits() takes a code as an index");
static_assert(kTable.back().code == ErrorCode::io, "a code without a row");

}  // namespace

std::span<const ErrorTraits> error_table() { return kTable; }

const ErrorTraits& error_traits(ErrorCode code) {
  const auto index = static_cast<std::size_t>(code);
  CHECK(index < kTable.size(), "an ErrorCode without a row in the error table");
  return kTable[index];
}

int exit_code(ErrorCode code) { return error_traits(code).exit_code; }
unsigned http_status(ErrorCode code) { return error_traits(code).http_status; }

std::string problem_type(ErrorCode code) {
  return "urn:keyward:problem:" + std::string(error_code_name(code));
}

std::optional<ErrorCode> error_code_of(std::string_view name) {
  for (const ErrorTraits& traits : kTable)
    if (error_code_name(traits.code) == name) return traits.code;
  return std::nullopt;
}

Problem make_problem(const Error& error, unsigned status) {
  return {problem_type(error.code), std::string(error_traits(error.code).title), status,
          error.message, std::string(error_code_name(error.code))};
}

Problem make_problem(const Error& error) { return make_problem(error, http_status(error.code)); }

Error to_error(const Problem& problem) {
  return {error_code_of(problem.code).value_or(ErrorCode::protocol), problem.detail};
}

}  // namespace keyward::api
