#include <algorithm>

#include "api/routes.h"
#include "api/url.h"
#include "base/check.h"
#include "base/text.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

void check_encoding(std::string_view text) {
  const std::string encoded = api::percent_encode(text);
  const Result<std::string> decoded = api::percent_decode(encoded);
  CHECK(decoded && *decoded == text, "what was encoded decodes to something else");
  CHECK(encoded.find_first_of("/?&=#+ ") == std::string::npos, "an encoded text has delimiters");
  const auto query = api::Query::parse("first=1&text=" + encoded + "&last");
  CHECK(query && query->find("text") == text && query->find("last") == "",
        "a parameter's value reads back as another");
}

void check_query(std::string_view text) {
  const auto query = api::Query::parse(text);
  if (!query) {
    CHECK(query.error().code == ErrorCode::invalid_argument, "a bad query is invalid_argument");
    CHECK(is_printable_utf8(query.error().message), "a text for no terminal");
    return;
  }
  for (const api::Route& route : api::routes()) static_cast<void>(query->check(route.query));
}

void check_path(std::string_view path) {
  const std::vector<api::Method> methods = api::methods_of(path);
  for (const api::Method method : {api::Method::get, api::Method::put, api::Method::post,
                                   api::Method::patch, api::Method::remove}) {
    const auto match = api::match_route(path, method);
    CHECK(match.has_value() == (std::ranges::find(methods, method) != methods.end()),
          "a path takes a method and has no route for it");
    if (!match) continue;
    CHECK(match->route->method == method, "a route of another method");
    for (const std::string_view parameter : match->parameters)
      CHECK(parameter.find('/') == std::string_view::npos, "a parameter of several segments");
  }
}

}  // namespace

void fuzz_url(ByteView input) {
  const std::string_view text = text_of(input);
  check_encoding(text);
  const std::size_t mark = text.find('?');
  check_path(text.substr(0, mark));
  check_query(mark == std::string_view::npos ? text : text.substr(mark + 1));
  if (const Result<std::string> decoded = api::percent_decode(text)) check_encoding(*decoded);
}

}  // namespace keyward::fuzz
