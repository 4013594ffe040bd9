#include "daemon/connection.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <limits>
#include <utility>

#include "base/text.h"

namespace keyward::daemon {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

std::optional<api::Method> method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return api::Method::get;
    case http::verb::put:
      return api::Method::put;
    case http::verb::post:
      return api::Method::post;
    case http::verb::patch:
      return api::Method::patch;
    case http::verb::delete_:
      return api::Method::remove;
    default:
      return std::nullopt;
  }
}

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Connection::Connection(ServerShared& shared, asio::io_context& loop, Socket socket,
                       engine::Caller caller, SecretBytes input, std::function<void()> on_cut)
    : shared_(shared),
      loop_(loop),
      socket_(std::move(socket)),
      caller_(std::move(caller)),
      on_cut_(std::move(on_cut)),
      input_(std::move(input)) {
  ++shared_.services.metrics.connections_open;
}

Connection::~Connection() {
  if (state_ != State::closed) --shared_.services.metrics.connections_open;
}

void Connection::start() { await_request(); }

void Connection::enter(State state, std::chrono::milliseconds limit) {
  if (state_ == State::closed) return;
  state_ = state;
  deadline_ = limit.count() == 0 ? Time::max() : std::chrono::steady_clock::now() + limit;
}

void Connection::cut() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  subscription_.reset();
  error_code ignored;
  socket_.close(ignored);
  --shared_.services.metrics.connections_open;
  on_cut_();
}

void Connection::finish() {
  finishing_ = true;
  if (state_ == State::idle || state_ == State::streaming || state_ == State::lingering) cut();
}

void Connection::sweep(Time now) {
  if (state_ == State::closed) return;
  if (state_ == State::streaming) return sweep_stream(now);
  if (now < deadline_) return;
  const State was = state_;
  if (was != State::idle && was != State::lingering) ++shared_.services.metrics.timeouts;
  if (was == State::header || was == State::body) {
    timed_out_ = true;
    error_code ignored;
    socket_.cancel(ignored);
  } else if (was == State::waiting) {
    ++wait_;
    keep_alive_ = false;
    answer(fail(ErrorCode::busy,
                "Too many bytes of secrets are being sent and received. Try again later."));
  } else {
    cut();
  }
}

void Connection::read_input(void (Connection::*then)()) {
  const auto room = input_.reveal_mutable().subspan(end_);
  socket_.async_read_some(asio::buffer(room.data(), room.size()), [self = shared_from_this(), then](
                                                                      const error_code& error,
                                                                      std::size_t size) {
    if (self->state_ == State::closed) return;
    if (std::exchange(self->timed_out_, false)) {
      self->keep_alive_ = false;
      self->body_unread_ = true;
      return self->write_answer(problem_response(
          {ErrorCode::timeout, "The request did not arrive in time, so it was given up."}, 408));
    }
    if (error) return self->cut();
    self->end_ += size;
    ((*self).*then)();
  });
}

// Moves what is unread to the front, and grows when that is not enough. False at the header's
// limit.
bool Connection::make_room() {
  const std::size_t size = end_ - begin_;
  if (begin_ > 0) {
    std::memmove(input_.reveal_mutable().data(), input_.reveal().data() + begin_, size);
    begin_ = 0;
    end_ = size;
  }
  if (end_ < input_.size()) return true;
  const std::size_t larger = std::min(input_.size() * 2, shared_.limits.header_bytes_max);
  if (larger <= input_.size()) return false;
  Result<SecretBytes> grown = SecretBytes::allocate(larger);
  if (!grown) return false;
  std::memcpy(grown->reveal_mutable().data(), input_.reveal().data(), size);
  input_ = std::move(*grown);
  return true;
}

void Connection::await_request() {
  if (finishing_) return cut();
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(shared_.limits.header_bytes_max));
  // Ours come with messages of their own. (boost::none would mean 0: Boost 1.74 compares a length
  // with the optional itself.)
  parser_->body_limit(std::numeric_limits<std::uint64_t>::max());
  request_ = Request{};
  body_unread_ = false;
  share_ = {};
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ > begin_) {
    enter(State::header, shared_.limits.header_timeout);
    return read_header();
  }
  enter(State::idle, shared_.limits.idle_timeout);
  read_input(&Connection::read_header);
}

void Connection::read_header() {
  if (state_ == State::idle) enter(State::header, shared_.limits.header_timeout);
  error_code error;
  begin_ += parser_->put(asio::buffer(unread().data(), unread().size()), error);
  keep_alive_ = false;
  if (error == http::error::need_more) {
    if (make_room()) return read_input(&Connection::read_header);
    error = http::error::header_limit;
  }
  if (!error) return begin_request();
  body_unread_ = true;
  if (error == http::error::header_limit)
    return write_answer(problem_response(
        {ErrorCode::invalid_argument, fmt::format("The request's header is longer than {} bytes.",
                                                  shared_.limits.header_bytes_max)},
        431));
  write_answer(problem_response(
      {ErrorCode::invalid_argument, "This is no HTTP/1.1 request: " + error.message() + "."}));
}

std::string Connection::header(std::string_view name) const {
  const auto found = parser_->get().find({name.data(), name.size()});
  return found == parser_->get().end() ? std::string() : std::string(view(found->value()));
}

void Connection::begin_request() {
  keep_alive_ = parser_->keep_alive();
  // Until the body is read to its end, an answer is the last one on this connection.
  body_unread_ = parser_->chunked() || parser_->content_length().value_or(0) > 0;
  if (Result<void> read = read_target(); !read) return write_answer(problem_response(read.error()));
  if (request_.route == nullptr) {
    const std::string_view target = view(parser_->get().target());
    return answer_no_route(target.substr(0, target.find('?')));
  }
  begin_body();
}

// The route stays null where none fits.
Result<void> Connection::read_target() {
  const std::string_view target = view(parser_->get().target());
  const std::size_t mark = target.find('?');
  const std::optional<api::Method> method = method_of(parser_->get().method());
  if (!method) return {};
  const std::optional<api::RouteMatch> match = api::match_route(target.substr(0, mark), *method);
  if (!match) return {};
  for (std::string_view parameter : match->parameters)
    request_.parameters.push_back(TRY(api::percent_decode(parameter)));
  if (mark != std::string_view::npos)
    request_.query = TRY(api::Query::parse(target.substr(mark + 1)));
  if (match->route->method != api::Method::get) {
    request_.if_match = header("If-Match");
    request_.if_none_match = header("If-None-Match");
  }
  TRY(request_.query.check(match->route->query));
  request_.caller = caller_;
  request_.route = match->route;
  return {};
}

void Connection::answer_no_route(std::string_view path) {
  const std::vector<api::Method> methods = api::methods_of(path);
  // To HEAD, a body would be taken for the next answer.
  keep_alive_ = false;
  if (methods.empty())
    return write_answer(problem_response(
        {ErrorCode::not_found,
         fmt::format("There is no {} in this API. See `keywardd --openapi`.", printable(path))}));
  std::string allowed;
  for (api::Method method : methods)
    allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", api::method_name(method));
  Response response = problem_response(
      {ErrorCode::invalid_argument, fmt::format("{} takes {} only.", printable(path), allowed)},
      405);
  response.extra_headers = fmt::format("Allow: {}\r\n", allowed);
  write_answer(std::move(response));
}

}  // namespace keyward::daemon
