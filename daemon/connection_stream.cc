#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <utility>

#include "daemon/connection.h"
#include "daemon/event_text.h"

namespace keyward::daemon {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::chrono::milliseconds kKeepAlive{15'000};
// A client that falls so far behind is cut: it comes again with Last-Event-ID.
constexpr std::size_t kPendingMax = 1024 * 1024;
constexpr std::size_t kBacklogMax = 1'000;

std::optional<std::uint64_t> read_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

void Connection::begin_stream() {
  Result<std::optional<std::uint64_t>> after = request_.query.number("after");
  if (!after) return answer(std::unexpected(after.error()));
  if (const auto last = read_number(header("Last-Event-ID")); last && !*after) *after = last;

  shared_.services.metrics.count_answer(request_.route, 200);
  enter(State::streaming, kKeepAlive);
  // Subscribed first: an event that is raised in between comes twice rather than not at all. The
  // subscriber holds no connection, since the last holder would end its own subscription.
  subscription_ = shared_.services.events.subscribe(
      [&loop = loop_, weak = weak_from_this()](const engine::Event& event) {
        asio::post(loop, [weak, text = to_server_sent_event(event)]() mutable {
          if (const auto self = weak.lock()) self->push(text);
        });
      });
  std::string first =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
      "Connection: close\r\n\r\n";
  if (*after)
    for (const engine::Event& event : shared_.services.events.list(**after, kBacklogMax))
      first += to_server_sent_event(event);
  push(first);
  begin_ = end_ = 0;
  watch_stream();
}

// A comment keeps the connection open, and finds out whether somebody is there.
void Connection::sweep_stream(Time now) {
  if (!stream_writing_.empty() && now - stream_write_began_ > shared_.limits.write_timeout)
    return cut();
  if (now >= deadline_) push(": \n\n");
}

void Connection::push(std::string_view text) {
  if (state_ != State::streaming) return;
  enter(State::streaming, kKeepAlive);
  stream_pending_ += text;
  if (stream_pending_.size() > kPendingMax) return cut();
  if (stream_writing_.empty()) write_stream();
}

void Connection::write_stream() {
  stream_writing_ = std::exchange(stream_pending_, {});
  if (stream_writing_.empty()) return;
  stream_write_began_ = std::chrono::steady_clock::now();
  asio::async_write(socket_, asio::buffer(stream_writing_),
                    [self = shared_from_this()](const error_code& error, std::size_t) {
                      if (self->state_ == State::closed) return;
                      if (error) return self->cut();
                      self->write_stream();
                    });
}

// The client has nothing to say; that it has gone is seen by reading.
void Connection::watch_stream() {
  begin_ = end_ = 0;
  read_input(&Connection::watch_stream);
}

}  // namespace keyward::daemon
