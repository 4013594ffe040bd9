#include "sed/nvme_tcp/tcp_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "sed/nvme_tcp/limits.h"

namespace keyward::sed::nvme {
namespace {

using std::chrono::steady_clock;

steady_clock::time_point deadline_of(TcpStream::Limit limit) {
  return limit ? steady_clock::now() + *limit : steady_clock::time_point::max();
}

int poll_milliseconds(steady_clock::time_point deadline) {
  if (deadline == steady_clock::time_point::max()) return -1;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX));
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

TcpStream::TcpStream(Descriptor socket) : socket_(std::move(socket)) {
  const int on = 1;  // Small answers are what it sends: none waits for the next.
  static_cast<void>(::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
}

TcpStream::End TcpStream::wait(short events, steady_clock::time_point deadline) const {
  for (;;) {
    pollfd ready{.fd = socket_.get(), .events = events, .revents = 0};
    const int count = ::poll(&ready, 1, poll_milliseconds(deadline));
    if (count > 0) return End::none;
    if (count < 0 && errno != EINTR) return End::closed;
    if (steady_clock::now() >= deadline) return End::timed_out;
  }
}

TcpStream::End TcpStream::read(MutableByteView buffer, Limit limit) {
  const auto deadline = deadline_of(limit);
  while (!buffer.empty()) {
    const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
      buffer = buffer.subspan(static_cast<std::size_t>(got));
      continue;
    }
    if (got == 0 || !would_block()) return End::closed;
    if (const End end = wait(POLLIN, deadline); end != End::none) return end;
  }
  return End::none;
}

TcpStream::End TcpStream::write(ByteView bytes) {
  const auto deadline = deadline_of(kPduLimit);
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (!would_block()) return End::closed;
    if (const End end = wait(POLLOUT, deadline); end != End::none) return end;
  }
  return End::none;
}

void TcpStream::finish() {
  ::shutdown(socket_.get(), SHUT_WR);
  const auto deadline = deadline_of(kDrainLimit);
  std::array<std::byte, 4096> thrown_away;
  while (steady_clock::now() < deadline) {
    const ssize_t got = ::recv(socket_.get(), thrown_away.data(), thrown_away.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && !would_block())) return;
    if (got < 0 && wait(POLLIN, deadline) != End::none) return;
  }
}

void TcpStream::shut_down() const { ::shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace keyward::sed::nvme
