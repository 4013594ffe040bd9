#include "sed/transport/unix_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <system_error>

#include "base/text.h"

namespace keyward::sed {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}: a socket's path has 1 to {} bytes", printable(path),
                            sizeof address.sun_path - 1));
  path.copy(address.sun_path, path.size());
  return address;
}

Result<Descriptor> connect_unix(const std::string& path) {
  const sockaddr_un address = TRY(unix_address(path));
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.is_open() &&
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return socket;
  const int number = errno;
  const bool denied = number == EACCES || number == EPERM;
  return fail(
      denied ? ErrorCode::not_permitted : ErrorCode::unavailable,
      fmt::format("connect {}: {}", printable(path), std::generic_category().message(number)),
      "connect", static_cast<std::uint64_t>(number));
}

void set_unix_timeouts(int socket, std::chrono::milliseconds timeout) {
  timeval time{};
  time.tv_sec = static_cast<time_t>(timeout.count() / 1000);
  time.tv_usec = static_cast<suseconds_t>(timeout.count() % 1000 * 1000);
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    ::setsockopt(socket, SOL_SOCKET, option, &time, sizeof time);
}

}  // namespace keyward::sed
