#include "daemon/server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "base/log.h"
#include "daemon/connection.h"

namespace keyward::daemon {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using boost::system::error_code;

namespace {

constexpr std::size_t kLoops = 2;
// Puts that arrive together share one fsync, so there is a thread for each of as many.
constexpr std::size_t kWriters = 16;
constexpr std::size_t kLongCalls = 4;
constexpr std::chrono::milliseconds kSweepMax{1'000};
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::chrono::seconds kStopGrace{2};
constexpr std::size_t kUidsLogged = 64;

struct Loop {
  asio::io_context context{1};
  asio::steady_timer timer{context};
  std::vector<std::shared_ptr<Connection>> connections;
  std::atomic<bool> came_round{true};
  std::jthread thread;
};

Result<void> io_failure(std::string_view what, const std::string& path, const error_code& error) {
  return fail(ErrorCode::io, fmt::format("{} {}: {}", what, path, error.message()), what,
              static_cast<std::uint64_t>(error.value()));
}

// The state directory's lock says nothing about this path: so ask whether somebody answers there.
Result<void> clear_path(const std::string& path) {
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  // Whatever the umask is: others must come as far as the socket to be refused there.
  if (std::filesystem::create_directories(directory, error)) ::chmod(directory.c_str(), 0755);
  asio::io_context context;
  stream_protocol::socket probe(context);
  error_code refused;
  probe.connect(stream_protocol::endpoint(path), refused);
  if (!refused)
    return fail(
        ErrorCode::conflict,
        fmt::format("another process listens on {}. Stop it, or configure another socket", path));
  // A file of another kind refuses too, and is left alone: bind() then says that it is there.
  if (std::filesystem::is_socket(path, error)) ::unlink(path.c_str());
  return {};
}

Result<void> listen_on(stream_protocol::acceptor& acceptor, const std::string& path) {
  TRY(clear_path(path));
  error_code error;
  acceptor.open(stream_protocol(), error);
  if (error) return io_failure("socket", path, error);
  acceptor.bind(stream_protocol::endpoint(path), error);
  if (error) return io_failure("bind", path, error);
  // Anybody may connect; the credentials decide. (Permissions alone could not tell uids apart.)
  if (::chmod(path.c_str(), 0666) != 0)
    return io_failure("chmod", path, {errno, boost::system::system_category()});
  acceptor.listen(SOMAXCONN, error);
  if (error) return io_failure("listen", path, error);
  return {};
}

void drop_closed(Loop& loop) {
  std::erase_if(loop.connections, [](const auto& connection) { return connection->is_closed(); });
}

// Before a byte is read: a short answer always fits into a new socket's buffer.
void refuse(stream_protocol::socket& socket, const Error& problem) {
  const Response response = problem_response(problem);
  const std::string text = fmt::format(
      "HTTP/1.1 {} Refused\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}"
      "Connection: close\r\n\r\n{}",
      response.status, response.content_type, response.body.size(), response.extra_headers,
      response.body);
  error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(text), ignored);
  socket.shutdown(stream_protocol::socket::shutdown_both, ignored);
  socket.close(ignored);
}

}  // namespace

class Server::Impl {
 public:
  Impl(Services& services, std::string path, const ServerLimits& limits)
      : shared_{services, limits, ByteBudget(limits.bytes_in_flight_max),
                std::make_unique<ThreadPool>(kWriters), std::make_unique<ThreadPool>(kLongCalls)},
        path_(std::move(path)),
        acceptor_(loops_[0].context) {}
  ~Impl() { stop(); }

  Result<void> start() {
    TRY(listen_on(acceptor_, path_));
    listening_ = true;
    accept();
    for (Loop& loop : loops_) {
      sweep(loop);
      loop.thread = std::jthread([&loop] { loop.context.run(); });
    }
    return {};
  }

  void stop();
  bool is_responsive();

 private:
  void accept();
  void on_accepted(Loop& loop, stream_protocol::socket socket);
  bool admit(stream_protocol::socket& socket, engine::Caller& caller);
  void note_refused(uid_t uid);
  void sweep(Loop& loop);
  void on_each(void (Connection::*function)());
  bool has_connections() const { return shared_.services.metrics.connections_open.load() > 0; }

  ServerShared shared_;
  std::string path_;
  std::array<Loop, kLoops> loops_;
  stream_protocol::acceptor acceptor_;
  bool listening_ = false;  // The path is ours.
  std::size_t accepted_ = 0;
  std::set<uid_t> refused_uids_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> drained_{false};  // The grace is over: nothing is waited for any more.
};

void Server::Impl::accept() {
  Loop& loop = loops_[accepted_++ % kLoops];
  acceptor_.async_accept(
      loop.context, [this, &loop](const error_code& error, stream_protocol::socket socket) {
        // A connection may have come in just before the acceptor was closed.
        if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
        if (!error) {
          on_accepted(loop, std::move(socket));
          return accept();
        }
        // Out of descriptors, most likely: those that are open will be closed some time.
        log(LogLevel::error, "accept: {}", error.message());
        auto pause = std::make_shared<asio::steady_timer>(loops_[0].context, kAcceptPause);
        pause->async_wait([this, pause](const error_code& aborted) {
          if (!aborted && acceptor_.is_open()) accept();
        });
      });
}

void Server::Impl::on_accepted(Loop& loop, stream_protocol::socket socket) {
  engine::Caller caller;
  if (!admit(socket, caller)) return;
  Metrics& metrics = shared_.services.metrics;
  Result<SecretBytes> input = SecretBytes::allocate(Connection::kInputBytes);
  if (metrics.connections_open >= shared_.limits.connections_max || !input) {
    ++metrics.connections_refused;
    return refuse(socket,
                  input ? Error{ErrorCode::unavailable,
                                fmt::format("There are {} connections already, which is the limit. "
                                            "Try again later, or raise it: [limits] connections.",
                                            shared_.limits.connections_max)}
                        : input.error());
  }
  auto connection = std::make_shared<Connection>(
      shared_, loop.context, std::move(socket), std::move(caller), std::move(*input),
      [&loop] { asio::post(loop.context, [&loop] { drop_closed(loop); }); });
  asio::post(loop.context, [this, &loop, connection] {
    if (stopped_) return;
    loop.connections.push_back(connection);
    connection->start();
  });
}

bool Server::Impl::admit(stream_protocol::socket& socket, engine::Caller& caller) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const bool known =
      ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  const auto& allowed = shared_.services.config.allow_uids;
  if (known &&
      (peer.uid == 0 || std::find(allowed.begin(), allowed.end(), peer.uid) != allowed.end())) {
    caller = {fmt::format("uid:{}", peer.uid), "unix"};
    return true;
  }
  ++shared_.services.metrics.peers_refused;
  if (known) note_refused(peer.uid);
  refuse(socket, {ErrorCode::not_permitted,
                  known ? fmt::format("The uid {} may not use Keyward. Add it to allow_uids in "
                                      "keyward.toml, or run the command as root.",
                                      peer.uid)
                        : std::string("The system does not tell who connects.")});
  return false;
}

// Once for each, so that nobody can fill the log.
void Server::Impl::note_refused(uid_t uid) {
  if (refused_uids_.size() >= kUidsLogged || !refused_uids_.insert(uid).second) return;
  log(LogLevel::warning, "a process of uid {} tried to connect and was refused", uid);
}

void Server::Impl::sweep(Loop& loop) {
  const ServerLimits& limits = shared_.limits;
  const auto shortest = std::min(
      {limits.header_timeout, limits.body_timeout, limits.idle_timeout, limits.write_timeout});
  loop.timer.expires_after(std::clamp(shortest / 4, std::chrono::milliseconds(10), kSweepMax));
  loop.timer.async_wait([this, &loop](const error_code& error) {
    if (error || drained_) return;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& connection : loop.connections) connection->sweep(now);
    sweep(loop);
  });
}

void Server::Impl::on_each(void (Connection::*function)()) {
  for (Loop& loop : loops_)
    asio::post(loop.context, [&loop, function] {
      const auto connections = loop.connections;
      for (const auto& connection : connections) ((*connection).*function)();
    });
}

void Server::Impl::stop() {
  if (stopped_.exchange(true)) return;
  asio::post(loops_[0].context, [this] {
    error_code ignored;
    acceptor_.close(ignored);
  });
  if (listening_) ::unlink(path_.c_str());
  on_each(&Connection::finish);
  const MonotonicTime until = shared_.services.clock.monotonic() + kStopGrace;
  while (has_connections() && shared_.services.clock.monotonic() < until)
    shared_.services.clock.sleep_until(
        {}, shared_.services.clock.monotonic() + std::chrono::milliseconds(20));
  drained_ = true;
  on_each(&Connection::cut);
  for (Loop& loop : loops_) {
    asio::post(loop.context, [&loop] { loop.timer.cancel(); });
    // With everything closed the loop has nothing to wait for, and ends by itself.
    if (loop.thread.joinable()) loop.thread.join();
  }
  // What still runs on a pool posts to a loop, and who waits for bytes holds a socket of one: so
  // both end before the loops do.
  shared_.writers.reset();
  shared_.long_calls.reset();
  shared_.budget.abandon_waiters();
}

bool Server::Impl::is_responsive() {
  bool all = true;
  for (Loop& loop : loops_) {
    all = loop.came_round.exchange(false) && all;
    asio::post(loop.context, [&loop] { loop.came_round = true; });
  }
  return all;
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;
void Server::stop() { impl_->stop(); }
bool Server::is_responsive() { return impl_->is_responsive(); }

Result<std::unique_ptr<Server>> Server::start(Services& services, const std::string& socket_path,
                                              const ServerLimits& limits) {
  auto impl = std::make_unique<Impl>(services, socket_path, limits);
  TRY(impl->start());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

}  // namespace keyward::daemon
