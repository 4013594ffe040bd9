// A Connection is one client: it reads requests one after another, has them handled, and answers.
//
//   auto connection = std::make_shared<Connection>(shared, loop, std::move(socket), caller);
//   connection->start();
//
// Lives on the one thread of its loop; what blocks runs on a pool and comes back by a post. Input
// lies in SecretBytes, since a secret may follow its header within one read; a secret's body is
// read straight into its own SecretBytes. Answers without JSON are put together by hand: a get
// costs no more than its system calls.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/secret_bytes.h"
#include "daemon/byte_budget.h"
#include "daemon/entry_importer.h"
#include "daemon/handlers.h"
#include "daemon/message.h"
#include "daemon/services.h"
#include "daemon/thread_pool.h"

namespace keyward::daemon {

// What all connections share. It outlives them.
struct ServerShared {
  Services& services;
  const ServerLimits& limits;
  ByteBudget budget;
  std::unique_ptr<ThreadPool> writers;
  std::unique_ptr<ThreadPool> long_calls;
};

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  using Time = std::chrono::steady_clock::time_point;

  // `on_cut` is called on the loop's thread when the connection has ended; it only posts.
  Connection(ServerShared& shared, boost::asio::io_context& loop, Socket socket,
             engine::Caller caller, SecretBytes input, std::function<void()> on_cut);
  ~Connection();

  // All of these on the loop's thread.
  void start();
  // Cuts the client when it has stalled too long; keeps a stream alive.
  void sweep(Time now);
  // No further request: at once when none is under way, else after its answer.
  void finish();
  void cut();
  bool is_closed() const { return state_ == State::closed; }

  static constexpr std::size_t kInputBytes = 1024;  // Grows up to the header's limit.

 private:
  enum class State : std::uint8_t {
    idle,
    header,
    body,
    waiting,   // For bytes of the budget.
    handling,  // On a pool.
    writing,
    streaming,
    lingering,  // The answer is written; what the client still sends is thrown away.
    closed,
  };
  using HeaderParser = boost::beast::http::request_parser<boost::beast::http::empty_body>;
  using StreamParser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

  // connection.cc: the header.
  void enter(State state, std::chrono::milliseconds limit);
  void read_input(void (Connection::*then)());
  bool make_room();
  ByteView unread() const { return input_.reveal().subspan(begin_, end_ - begin_); }
  void await_request();
  void read_header();
  void begin_request();
  Result<void> read_target();
  void answer_no_route(std::string_view path);
  std::string header(std::string_view name) const;

  // connection_body.cc: bodies and the import's stream.
  void begin_body();
  void refuse_body(std::string message, unsigned status);
  void offer_continue();
  void read_secret(std::size_t size);
  void receive_secret();
  void read_json(std::size_t size);
  void read_exactly(std::byte* to, std::size_t size);
  std::size_t take_unread(std::byte* to, std::size_t size);
  void begin_import();
  void decode_import();
  bool decode_some();
  void feed_import();
  void end_import(const Result<void>& outcome);

  // connection_answer.cc: handling and answers.
  void dispatch();
  void handle_on(ThreadPool& pool, const HandlerEntry& entry);
  void acquire(std::size_t bytes, std::move_only_function<void()> then);
  void answer(Result<Response> result);
  void write_answer(Response response);
  void on_written();
  void linger();

  // connection_stream.cc: server-sent events.
  void begin_stream();
  void sweep_stream(Time now);
  void push(std::string_view text);
  void write_stream();
  void watch_stream();

  ServerShared& shared_;
  boost::asio::io_context& loop_;
  Socket socket_;
  const engine::Caller caller_;
  const std::function<void()> on_cut_;

  State state_ = State::idle;
  Time deadline_{};
  bool timed_out_ = false;
  bool finishing_ = false;
  std::uint64_t wait_ = 0;  // Which wait for the budget is the present one.

  SecretBytes input_;
  std::size_t begin_ = 0;  // Unread bytes of input_.
  std::size_t end_ = 0;

  std::optional<HeaderParser> parser_;
  Request request_;
  bool body_unread_ = false;
  bool keep_alive_ = false;
  ByteBudget::Share share_;

  std::unique_ptr<StreamParser> stream_parser_;
  std::unique_ptr<EntryImporter> importer_;
  std::optional<SecretBytes> chunk_;
  std::size_t chunk_filled_ = 0;

  Response response_;
  std::string response_header_;
  std::size_t lingered_ = 0;

  std::shared_ptr<void> subscription_;
  std::string stream_pending_;
  std::string stream_writing_;
  Time stream_write_began_{};
};

}  // namespace keyward::daemon
