// ApiClient speaks to keywardd over its Unix socket.
//
//   ApiClient client(socket_path);
//   auto rows = TRY(client.get<std::vector<api::DomainStatus>>("/api/v1/domains"));
//   SecretBytes secret = TRY(client.get_secret("/api/v1/domains/S3/entries/token"));
//
// One keep-alive connection, made at the first call. An answer that is a problem document (RFC
// 9457) comes out as its Error. Bodies that are secrets go from SecretBytes to the socket and back;
// what the kernel hands over in between lies in memory that is wiped when it is freed. One thread
// at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include "api/fields.h"
#include "api/routes.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::cli {

class ApiClient final {
 public:
  explicit ApiClient(std::string socket_path);
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  // The answer's body as text. `unavailable` when the daemon does not answer.
  Result<std::string> call(api::Method method, std::string_view target,
                           std::string_view json_body = {});
  template <typename T>
  Result<T> get(std::string_view target) {
    return api::from_json<T>(TRY(call(api::Method::get, target)));
  }
  template <typename T, typename Body>
  Result<T> send(api::Method method, std::string_view target, const Body& body) {
    return api::from_json<T>(TRY(call(method, target, api::to_json(body))));
  }

  Result<SecretBytes> get_secret(std::string_view target);
  // `condition` is a whole header line's name and value, or empty: {"If-None-Match", "*"}.
  Result<std::string> send_secret(api::Method method, std::string_view target, ByteView secret,
                                  std::string_view condition_name = {},
                                  std::string_view condition = {});

  // Reads a server-sent event stream until it ends or `each` (given one event's data) answers
  // false.
  Result<void> stream(std::string_view target, const std::function<bool(std::string_view)>& each);

 private:
  class Connection;
  Result<Connection*> connection();

  std::string socket_path_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace keyward::cli
