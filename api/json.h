// Json is one JSON value as a plain tree, so that no header needs a JSON library.
//
//   Json body = TRY(parse_json(text));
//   std::string text = dump_json(body);
//
// It is strict on the way in: UTF-8, no duplicate members, no more than kJsonDepthMax levels, no
// number that does not fit. Values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyward::api {

inline constexpr std::size_t kJsonDepthMax = 16;

struct JsonMember;

// Not a std::variant: GCC 12 warns falsely of its uninitialized members when one is moved.
struct Json {
  enum class Kind : std::uint8_t { null, boolean, whole, number, text, list, object };
  using List = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // In the order of the text.

  Json();
  explicit Json(bool value);
  explicit Json(std::uint64_t value);
  explicit Json(double value);
  explicit Json(std::string value);
  explicit Json(List value);
  explicit Json(Object value);
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();

  // Only the member that `kind` names counts. Whole numbers from 0 are `whole`, others `number`.
  Kind kind = Kind::null;
  bool boolean = false;
  std::uint64_t whole = 0;
  double number = 0;
  std::string text;
  List list;
  Object object;
};

struct JsonMember {
  std::string name;
  Json value;
};

// `invalid_argument` says at which byte it breaks, and why.
Result<Json> parse_json(std::string_view text);
// One line. Bytes that are not UTF-8 become U+FFFD.
std::string dump_json(const Json& json);
// "text", "a number", "a list": for error messages.
std::string_view json_kind(const Json& json);

}  // namespace keyward::api
