#include "cli/api_client.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cstring>
#include <limits>
#include <optional>

#include "api/problem.h"
#include "base/text.h"

namespace keyward::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Socket = asio::local::stream_protocol::socket;

// An answer's text is at most a long list; a secret at most 1 MiB.
constexpr std::uint64_t kAnswerBytesMax = 64u << 20;

// What Beast reads ahead may hold part of a secret: wipe it when it is freed.
template <typename T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <typename U>
  WipingAllocator(const WipingAllocator<U>&) {}  // NOLINT: allocators convert.
  T* allocate(std::size_t count) { return std::allocator<T>().allocate(count); }
  void deallocate(T* object, std::size_t count) {
    explicit_bzero(object, count * sizeof(T));
    std::allocator<T>().deallocate(object, count);
  }
  bool operator==(const WipingAllocator&) const { return true; }
};
using Buffer = beast::basic_flat_buffer<WipingAllocator<char>>;

http::verb verb_of(api::Method method) {
  switch (method) {
    case api::Method::get:
      return http::verb::get;
    case api::Method::put:
      return http::verb::put;
    case api::Method::post:
      return http::verb::post;
    case api::Method::patch:
      return http::verb::patch;
    case api::Method::remove:
      return http::verb::delete_;
  }
  return http::verb::get;
}

std::unexpected<Error> broken(const std::string& path, const boost::system::error_code& code) {
  const bool timeout = code == asio::error::timed_out;
  return fail(timeout ? ErrorCode::timeout : ErrorCode::unavailable,
              fmt::format("the connection to keywardd at {} broke: {}. Whether the request took "
                          "effect is not known: look before you repeat it.",
                          path, code.message()),
              "recv");
}

// The daemon's own words where it sent a problem document, else the status.
std::unexpected<Error> problem_of(unsigned status, std::string_view body) {
  if (auto problem = api::from_json<api::Problem>(body)) {
    return std::unexpected(api::to_error(*problem));
  }
  return fail(ErrorCode::protocol,
              fmt::format("keywardd answered HTTP status {} without an explanation.", status));
}

}  // namespace

// One connection. Beast's types stay in this file.
class ApiClient::Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const std::string& path) {
    auto connection = std::make_unique<Connection>(path);
    if (path.size() >= sizeof(sockaddr_un{}.sun_path)) {
      return fail(ErrorCode::invalid_argument,
                  fmt::format("the socket's path is too long ({} bytes): {}", path.size(), path));
    }
    boost::system::error_code code;
    connection->socket_.connect(path, code);
    if (code) {
      return fail(ErrorCode::unavailable,
                  fmt::format("connect: keywardd does not answer at {}: {}. Is it running "
                              "(systemctl status keywardd)? --socket names another place.",
                              path, code.message()),
                  "connect", static_cast<std::uint64_t>(code.value()));
    }
    return connection;
  }

  explicit Connection(std::string path) : path_(std::move(path)), socket_(context_) {}

  // Sends a request whose body stays in the caller's memory.
  Result<void> send(api::Method method, std::string_view target, std::string_view body,
                    std::string_view content_type, std::string_view condition_name = {},
                    std::string_view condition = {}) {
    http::request<http::span_body<const char>> request(verb_of(method),
                                                       {target.data(), target.size()}, 11);
    request.set(http::field::host, "keyward");
    if (!condition_name.empty()) {
      request.set(beast::string_view(condition_name.data(), condition_name.size()),
                  beast::string_view(condition.data(), condition.size()));
    }
    request.body() = {body.data(), body.size()};
    if (!content_type.empty()) {
      request.set(http::field::content_type,
                  beast::string_view(content_type.data(), content_type.size()));
      request.content_length(body.size());
    }
    boost::system::error_code code;
    http::write(socket_, request, code);
    // A server may refuse a body before it has read it all: its answer is what counts.
    if (code && code != asio::error::broken_pipe && code != asio::error::connection_reset) {
      return broken(path_, code);
    }
    return {};
  }

  Result<std::string> read_text() {
    http::response_parser<http::string_body> parser;
    parser.body_limit(kAnswerBytesMax);
    boost::system::error_code code;
    http::read(socket_, buffer_, parser, code);
    if (code) return broken(path_, code);
    usable_ = parser.get().keep_alive();
    if (parser.get().result_int() >= 300) {
      return problem_of(parser.get().result_int(), parser.get().body());
    }
    return std::move(parser.get().body());
  }

  Result<SecretBytes> read_secret() {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(kAnswerBytesMax);
    boost::system::error_code code;
    http::read_header(socket_, buffer_, parser, code);
    if (code) return broken(path_, code);
    usable_ = parser.get().keep_alive();
    const std::size_t size = static_cast<std::size_t>(parser.content_length().value_or(0));
    SecretBytes body = TRY(SecretBytes::allocate(std::max<std::size_t>(size, 1)));
    parser.get().body().data = body.reveal_mutable().data();
    parser.get().body().size = size;
    parser.get().body().more = false;
    http::read(socket_, buffer_, parser, code);
    if (code && code != http::error::need_buffer) return broken(path_, code);
    if (parser.get().result_int() >= 300) {
      const ByteView bytes = body.reveal();
      return problem_of(parser.get().result_int(),
                        {reinterpret_cast<const char*>(bytes.data()), size});
    }
    return body;
  }

  // Hands over each line of the body as it comes, for server-sent events.
  Result<void> read_lines(const std::function<bool(std::string_view)>& each) {
    http::response_parser<http::buffer_body> parser;
    // (boost::none would mean 0: Boost 1.74 compares a length with the optional itself.)
    parser.body_limit(std::numeric_limits<std::uint64_t>::max());
    boost::system::error_code code;
    http::read_header(socket_, buffer_, parser, code);
    if (code) return broken(path_, code);
    usable_ = false;
    std::string pending;
    char chunk[4096];
    while (!parser.is_done()) {
      parser.get().body().data = chunk;
      parser.get().body().size = sizeof chunk;
      http::read_some(socket_, buffer_, parser, code);
      if (code && code != http::error::need_buffer) return broken(path_, code);
      pending.append(chunk, sizeof chunk - parser.get().body().size);
      for (std::size_t end; (end = pending.find('\n')) != std::string::npos;) {
        if (!each(std::string_view(pending).substr(0, end))) return {};
        pending.erase(0, end + 1);
      }
    }
    if (parser.get().result_int() >= 300) {
      return problem_of(parser.get().result_int(), pending);
    }
    return {};
  }

  bool usable() const { return usable_; }

 private:
  std::string path_;
  asio::io_context context_;
  Socket socket_;
  Buffer buffer_;
  bool usable_ = true;
};

ApiClient::ApiClient(std::string socket_path) : socket_path_(std::move(socket_path)) {}
ApiClient::~ApiClient() = default;

Result<ApiClient::Connection*> ApiClient::connection() {
  if (!connection_ || !connection_->usable()) connection_ = TRY(Connection::open(socket_path_));
  return connection_.get();
}

Result<std::string> ApiClient::call(api::Method method, std::string_view target,
                                    std::string_view json_body) {
  Connection* connection = TRY(this->connection());
  TRY(connection->send(method, target, json_body, json_body.empty() ? "" : "application/json"));
  auto answer = connection->read_text();
  if (!answer && answer.error().origin == "recv") connection_.reset();
  return answer;
}

Result<SecretBytes> ApiClient::get_secret(std::string_view target) {
  Connection* connection = TRY(this->connection());
  TRY(connection->send(api::Method::get, target, {}, {}));
  return connection->read_secret();
}

Result<std::string> ApiClient::send_secret(api::Method method, std::string_view target,
                                           ByteView secret, std::string_view condition_name,
                                           std::string_view condition) {
  Connection* connection = TRY(this->connection());
  TRY(connection->send(method, target,
                       {reinterpret_cast<const char*>(secret.data()), secret.size()},
                       "application/octet-stream", condition_name, condition));
  return connection->read_text();
}

Result<void> ApiClient::stream(std::string_view target,
                               const std::function<bool(std::string_view)>& each) {
  Connection* connection = TRY(this->connection());
  TRY(connection->send(api::Method::get, target, {}, {}));
  return connection->read_lines([&](std::string_view line) {
    if (!line.starts_with("data:")) return true;
    line.remove_prefix(5);
    while (line.starts_with(' ')) line.remove_prefix(1);
    while (line.ends_with('\r')) line.remove_suffix(1);
    return each(line);
  });
}

}  // namespace keyward::cli
