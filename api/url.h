// Percent-encoding and query strings (RFC 3986), for paths and queries of the API.
//
//   "/api/v1/domains/S3/entries/" + percent_encode(name.text())
//   Query query = TRY(Query::parse("after=a%20b&limit=10"));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace keyward::api {

// Everything but unreserved characters (letters, digits, "-._~") becomes %XX, so that the result is
// one segment of a path, or one value of a query.
std::string percent_encode(std::string_view text);
// `invalid_argument` for a "%" that no two hexadecimal digits follow.
Result<std::string> percent_decode(std::string_view text);

class Query final {
 public:
  // `invalid_argument` for a name that stands there twice or bad encoding.
  static Result<Query> parse(std::string_view text);

  // None when absent; "" for "?name" and "?name=".
  std::optional<std::string_view> find(std::string_view name) const;
  // "?lost", "?lost=", "?lost=true", "?lost=1" are true; "=false", "=0" and absence false.
  Result<bool> flag(std::string_view name) const;
  // `invalid_argument` for what is no decimal number.
  Result<std::optional<std::uint64_t>> number(std::string_view name) const;
  // Against Route::query, "after,limit:number,lost:flag": `invalid_argument` names a parameter that
  // is not in it, or is not of its type.
  Result<void> check(std::string_view known) const;

 private:
  std::vector<std::pair<std::string, std::string>> values_;
};

}  // namespace keyward::api
