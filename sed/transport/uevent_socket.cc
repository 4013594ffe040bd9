#include "sed/transport/uevent_socket.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

namespace keyward::sed {
namespace {

constexpr std::size_t kMessageBytes = 8192;
constexpr unsigned kKernelsGroup = 1;

std::unexpected<Error> failed(std::string_view function) {
  const int number = errno;
  const bool denied = number == EPERM || number == EACCES;
  return fail(denied ? ErrorCode::not_permitted : ErrorCode::unsupported,
              std::string(function) + " (uevents): " + std::generic_category().message(number),
              function, static_cast<std::uint64_t>(number));
}

}  // namespace

// "add@/devices/…\0ACTION=add\0…SUBSYSTEM=block\0…".
bool is_block_uevent(ByteView message) {
  std::string_view text(reinterpret_cast<const char*>(message.data()), message.size());
  while (!text.empty()) {
    const std::size_t end = text.find('\0');
    if (text.substr(0, end) == "SUBSYSTEM=block") return true;
    if (end == std::string_view::npos) return false;
    text.remove_prefix(end + 1);
  }
  return false;
}

Result<UeventSocket> UeventSocket::open() {
  Descriptor socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  if (!socket.is_open()) return failed("socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelsGroup;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed("bind");
  return UeventSocket(std::move(socket));
}

bool UeventSocket::wait(int stop) {
  for (;;) {
    std::array<pollfd, 2> polled{{{socket_.get(), POLLIN, 0}, {stop, POLLIN, 0}}};
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return false;
    if (polled[1].revents != 0) return false;
    if (polled[0].revents == 0) continue;
    std::array<std::byte, kMessageBytes> buffer;
    sockaddr_nl sender{};
    socklen_t sender_size = sizeof sender;
    const ssize_t got = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0,
                                   reinterpret_cast<sockaddr*>(&sender), &sender_size);
    // The kernel had more to say than fits: so look at everything.
    if (got < 0 && errno == ENOBUFS) return true;
    if (got < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (got > 0 && sender.nl_pid == 0 &&
        is_block_uevent(ByteView(buffer).first(static_cast<std::size_t>(got))))
      return true;
  }
}

}  // namespace keyward::sed
