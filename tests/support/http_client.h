// A blocking HTTP/1.1 client on one keep-alive Unix-socket connection, small enough that 16 of them
// load the daemon rather than themselves.
//
//   HttpClient client("/run/keyward/keyward.sock");
//   std::optional<HttpAnswer> answer = client.call("GET", "/api/v1/version", {});
//
// For tests only: nullopt means that the connection broke, and the next call makes a new one. One
// thread at a time.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace keyward::testing {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

class HttpClient final {
 public:
  explicit HttpClient(std::string socket_path);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  std::optional<HttpAnswer> call(std::string_view method, std::string_view target,
                                 std::string_view body);

 private:
  bool connect();
  void disconnect();
  bool send_all(std::string_view bytes);
  std::optional<HttpAnswer> read_answer();

  std::string socket_path_;
  int socket_ = -1;
  std::string buffer_;
};

}  // namespace keyward::testing
