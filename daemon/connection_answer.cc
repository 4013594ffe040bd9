#include <fmt/format.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/status.hpp>
#include <utility>

#include "daemon/connection.h"

namespace keyward::daemon {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::size_t kSmallSecret = 4 * 1024;
constexpr std::size_t kLingerBytesMax = 8 * 1024 * 1024;
constexpr std::chrono::milliseconds kLingerTime{2'000};

// A domain of which each read is recorded before it is answered waits for its disk.
bool waits_for_audit(const Config& config, const Request& request) {
  if (config.read_audit_of.empty()) return config.read_audit == engine::ReadAudit::each;
  const Result<Domain> domain = Domain::parse(request.parameters[0]);
  if (!domain) return false;
  const auto found = config.read_audit_of.find(*domain);
  const auto choice = found == config.read_audit_of.end() ? config.read_audit : found->second;
  return choice == engine::ReadAudit::each;
}

void render_header(std::string& out, const Response& response, std::size_t size, bool keep_alive) {
  out.clear();
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\nCache-Control: no-store\r\n",
                 response.status, std::string_view(reason.data(), reason.size()));
  if (!response.content_type.empty())
    fmt::format_to(std::back_inserter(out), "Content-Type: {}\r\nContent-Length: {}\r\n",
                   response.content_type, size);
  if (response.version)
    fmt::format_to(std::back_inserter(out), "ETag: \"{}\"\r\n", *response.version);
  out += response.extra_headers;
  if (!keep_alive) out += "Connection: close\r\n";
  out += "\r\n";
}

}  // namespace

void Connection::dispatch() {
  if (request_.route->name == "event.stream") return begin_stream();
  const HandlerEntry* entry = handler_of(*request_.route);
  const bool blocks =
      request_.route->name == "entry.get" && waits_for_audit(shared_.services.config, request_);
  if (blocks || entry->runs_on == RunsOn::writers) return handle_on(*shared_.writers, *entry);
  if (entry->runs_on == RunsOn::long_calls) return handle_on(*shared_.long_calls, *entry);
  answer(entry->handle(shared_.services, request_));
}

void Connection::handle_on(ThreadPool& pool, const HandlerEntry& entry) {
  enter(State::handling, {});
  pool.run([self = shared_from_this(), &entry] {
    auto result =
        std::make_shared<Result<Response>>(entry.handle(self->shared_.services, self->request_));
    asio::post(self->loop_, [self, result] {
      if (self->state_ != State::closed) self->answer(std::move(*result));
    });
  });
}

void Connection::acquire(std::size_t bytes, std::move_only_function<void()> then) {
  share_ = {};
  enter(State::waiting, shared_.limits.body_timeout);
  struct Grant {
    ByteBudget::Share share;
    std::move_only_function<void()> then;
  };
  shared_.budget.acquire(bytes, [self = shared_from_this(), wait = ++wait_,
                                 then = std::move(then)](ByteBudget::Share share) mutable {
    auto grant = std::make_shared<Grant>(Grant{std::move(share), std::move(then)});
    asio::post(self->loop_, [self, wait, grant] {
      if (self->state_ == State::closed || self->wait_ != wait) return;
      self->share_ = std::move(grant->share);
      grant->then();
    });
  });
}

void Connection::answer(Result<Response> result) {
  Response response = result ? std::move(*result) : problem_response(result.error());
  const std::size_t size = response.secret ? response.secret->size() : 0;
  if (size > kSmallSecret && share_.bytes() < size && request_.route->name == "entry.get") {
    // Read it again when there is room to keep it until the client has taken it.
    response.secret.reset();
    return acquire(size, [this] { dispatch(); });
  }
  write_answer(std::move(response));
}

void Connection::write_answer(Response response) {
  if (body_unread_) keep_alive_ = false;
  if (finishing_) keep_alive_ = false;
  request_.secret.reset();
  shared_.services.metrics.count_answer(request_.route, response.status);
  response_ = std::move(response);
  const ByteView body =
      response_.secret ? response_.secret->reveal() : std::as_bytes(std::span(response_.body));
  render_header(response_header_, response_, body.size(), keep_alive_);
  enter(State::writing, shared_.limits.write_timeout);
  const std::array<asio::const_buffer, 2> buffers{asio::buffer(response_header_),
                                                  asio::const_buffer(body.data(), body.size())};
  asio::async_write(socket_, buffers,
                    [self = shared_from_this()](const error_code& error, std::size_t) {
                      if (self->state_ == State::closed) return;
                      if (error) return self->cut();
                      self->on_written();
                    });
}

void Connection::on_written() {
  response_ = Response{};
  share_ = {};
  if (keep_alive_) return await_request();
  if (!body_unread_) return cut();
  // A client that still sends would lose the answer if the socket were closed on it.
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  lingered_ = 0;
  enter(State::lingering, kLingerTime);
  linger();
}

void Connection::linger() {
  lingered_ += end_ - begin_;
  begin_ = end_ = 0;
  if (lingered_ > kLingerBytesMax) return cut();
  read_input(&Connection::linger);
}

}  // namespace keyward::daemon
