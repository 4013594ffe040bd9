// The API's description in OpenAPI 3.1, made from the table of routes and the structs' fields.
//
//   std::cout << render_openapi();     // `keywardd --openapi`; docs/openapi.yaml is this text
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keyward::api {

std::string render_openapi();
// Every struct that a route may name in `request` or `answer`.
std::vector<std::string_view> schema_names();

}  // namespace keyward::api
