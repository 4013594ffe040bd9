#include "tests/support/http_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

namespace keyward::testing {

HttpClient::HttpClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}

HttpClient::~HttpClient() { disconnect(); }

void HttpClient::disconnect() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  buffer_.clear();
}

bool HttpClient::connect() {
  if (socket_ >= 0) return true;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
  socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return true;
  }
  disconnect();
  return false;
}

bool HttpClient::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::optional<HttpAnswer> HttpClient::call(std::string_view method, std::string_view target,
                                           std::string_view body) {
  if (!connect()) return std::nullopt;
  std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: keyward\r\n", method, target);
  if (!body.empty() || method == "PUT" || method == "POST") {
    request += fmt::format("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
                           body.size());
  }
  request += "\r\n";
  request += body;
  std::optional<HttpAnswer> answer;
  if (send_all(request)) answer = read_answer();
  if (!answer) disconnect();
  return answer;
}

std::optional<HttpAnswer> HttpClient::read_answer() {
  HttpAnswer answer;
  std::size_t body_begin = std::string::npos;
  std::size_t body_size = 0;
  bool close_after = false;
  for (;;) {
    if (body_begin == std::string::npos) {
      if (const std::size_t end = buffer_.find("\r\n\r\n"); end != std::string::npos) {
        body_begin = end + 4;
        if (buffer_.size() < 12) return std::nullopt;
        std::from_chars(buffer_.data() + 9, buffer_.data() + 12, answer.status);
        for (std::size_t line = 0; line < end;) {
          const std::size_t next = buffer_.find("\r\n", line);
          const std::string_view header(buffer_.data() + line, next - line);
          if (header.size() > 15 && ::strncasecmp(header.data(), "content-length:", 15) == 0) {
            std::string_view value = header.substr(15);
            while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
            std::from_chars(value.data(), value.data() + value.size(), body_size);
          }
          if (header.size() == 17 && ::strncasecmp(header.data(), "connection: close", 17) == 0) {
            close_after = true;
          }
          line = next + 2;
        }
      }
    }
    if (body_begin != std::string::npos && buffer_.size() >= body_begin + body_size) break;
    char chunk[16384];
    const ssize_t got = ::recv(socket_, chunk, sizeof chunk, 0);
    if (got <= 0) return std::nullopt;
    buffer_.append(chunk, static_cast<std::size_t>(got));
  }
  answer.body = buffer_.substr(body_begin, body_size);
  buffer_.erase(0, body_begin + body_size);
  if (close_after) disconnect();
  return answer;
}

}  // namespace keyward::testing
