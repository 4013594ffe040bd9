#include "sed/transport/socket_drive_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/text.h"
#include "sed/transport/drive_session.h"
#include "sed/transport/unix_socket.h"

namespace keyward::sed {
namespace {

constexpr std::size_t kConnectionsMax = 512;
// For the rest of a frame that has begun, and for a peer that does not read.
constexpr std::chrono::seconds kFrameTime{30};
constexpr std::chrono::milliseconds kAcceptPause{100};

std::unexpected<Error> failed(std::string_view function, const std::string& path) {
  const int number = errno;
  return fail(
      ErrorCode::io,
      fmt::format("{} {}: {}", function, printable(path), std::generic_category().message(number)),
      function, static_cast<std::uint64_t>(number));
}

Result<void> clear_path(const std::string& path) {
  if (connect_unix(path))
    return fail(ErrorCode::already_exists,
                fmt::format("{}: another process listens there", printable(path)));
  struct stat status {};
  // A file of another kind is left alone; bind() then says that it is there.
  if (::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) ::unlink(path.c_str());
  return {};
}

// False at the end of the connection.
bool await_request(int socket) {
  pollfd polled{socket, POLLIN, 0};
  while (::poll(&polled, 1, -1) < 0)
    if (errno != EINTR) return false;
  return (polled.revents & POLLIN) != 0;
}

}  // namespace

Result<std::unique_ptr<SocketDriveServer>> SocketDriveServer::start(DriveBus& bus, Clock& clock,
                                                                    std::string path) {
  const sockaddr_un address = TRY(unix_address(path));
  TRY(clear_path(path));
  Descriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.is_open()) return failed("socket", path);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed("bind", path);
  // Nobody can connect before listen().
  if (::chmod(path.c_str(), 0600) != 0) return failed("chmod", path);
  if (::listen(listener.get(), SOMAXCONN) != 0) return failed("listen", path);
  std::unique_ptr<SocketDriveServer> server(
      new SocketDriveServer(bus, clock, std::move(path), std::move(listener)));
  server->acceptor_ =
      std::jthread([raw = server.get()](std::stop_token stop) { raw->accept_all(stop); });
  return server;
}

SocketDriveServer::~SocketDriveServer() {
  ::unlink(path_.c_str());
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    for (Connection& connection : connections_) ::shutdown(connection.socket.get(), SHUT_RDWR);
  }
  acceptor_.request_stop();
  ::shutdown(listener_.get(), SHUT_RDWR);  // Ends accept().
  acceptor_.join();
  connections_.clear();
}

void SocketDriveServer::accept_all(std::stop_token stop) {
  while (!stop.stop_requested()) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.is_open()) {
      // Out of descriptors, most likely: those who wait may be served a little later.
      if (errno != EINTR && errno != ECONNABORTED)
        clock_.sleep_until(stop, clock_.monotonic() + kAcceptPause);
      continue;
    }
    const std::lock_guard lock(mutex_);
    std::erase_if(connections_, [](const Connection& connection) { return connection.is_over; });
    // Too many: closing it tells the other side.
    if (!is_stopping_ && connections_.size() < kConnectionsMax) add(std::move(socket));
  }
}

void SocketDriveServer::add(Descriptor socket) {
  set_unix_timeouts(socket.get(), kFrameTime);
  Connection& connection = connections_.emplace_back(Connection{std::move(socket)});
  connection.thread = std::jthread([this, &connection] {
    serve(connection.socket.get());
    const std::lock_guard lock(mutex_);
    connection.is_over = true;
    ::shutdown(connection.socket.get(), SHUT_RDWR);
  });
}

void SocketDriveServer::serve(int socket) {
  DriveSession session(bus_);
  while (await_request(socket)) {
    const Result<SecretBytes> request = receive_frame(socket);
    if (!request) return;
    const DriveReply reply = session.answer(request->reveal());
    if (!send_frame(socket, reply.frame, {}) || reply.is_last) return;
  }
}

}  // namespace keyward::sed
