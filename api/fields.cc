#include "api/fields.h"

namespace keyward::api::detail {

std::unexpected<Error> wrong_kind(std::string_view where, std::string_view wanted,
                                  const Json& found) {
  const std::string subject =
      where.empty() ? "The body" : fmt::format("The member \"{}\"", printable(where));
  const std::string is = found.kind == Json::Kind::text
                             ? fmt::format("\"{}\"", printable(found.text))
                             : std::string(json_kind(found));
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} should be {}, but is {}.", subject, wanted, is));
}

std::unexpected<Error> missing_member(std::string_view where, std::string_view name) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("The member \"{}{}{}\" is missing.", printable(where),
                          where.empty() ? "" : ".", name));
}

std::unexpected<Error> unknown_member(std::string_view where, std::string_view name) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("The member \"{}{}{}\" is not known here. Look for a spelling mistake.",
                          printable(where), where.empty() ? "" : ".", printable(name)));
}

}  // namespace keyward::api::detail
