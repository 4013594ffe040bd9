// Request and Response are what a handler gets and gives: HTTP without its wire.
//
//   Result<Response> view_key(Services& services, const Request& request);
//
// A secret travels in `secret`, never in `body`. Values that move; one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "api/routes.h"
#include "api/url.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"

namespace keyward::daemon {

struct Request {
  const api::Route* route = nullptr;
  std::vector<std::string> parameters;  // Of the path, decoded.
  api::Query query;
  std::string if_match;  // Headers, "" when absent.
  std::string if_none_match;
  std::string body;  // JSON.
  std::optional<SecretBytes> secret{};
  engine::Caller caller;
};

struct Response {
  unsigned status = 200;
  std::string content_type;  // "" with no body.
  std::string body;
  std::optional<SecretBytes> secret{};     // Instead of `body`.
  std::optional<std::uint64_t> version{};  // The ETag.
  std::string extra_headers{};             // Whole lines, with their CRLF.
};

template <typename T>
Response json_response(const T& object, unsigned status = 200) {
  return {.status = status, .content_type = "application/json", .body = api::to_json(object)};
}
// With the code's status of the error table, or another one.
Response problem_response(const Error& error);
Response problem_response(const Error& error, unsigned status);

}  // namespace keyward::daemon
