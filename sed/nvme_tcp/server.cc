#include "sed/nvme_tcp/server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

namespace keyward::sed::nvme {
namespace {

// An address of either family, as the socket calls take it.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;
  bool is_loopback = false;

  sockaddr* address() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<Endpoint> endpoint(const ServerOptions& options) {
  Endpoint result;
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
      ::inet_pton(AF_INET, options.address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(options.port);
    result.size = sizeof(*v4);
    result.is_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return result;
  }
  if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
      ::inet_pton(AF_INET6, options.address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(options.port);
    result.size = sizeof(*v6);
    result.is_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
    return result;
  }
  return fail(ErrorCode::invalid_argument,
              fmt::format("{} is no IPv4 or IPv6 address", printable(options.address)));
}

std::unexpected<Error> system_failure(std::string_view call, const std::string& where) {
  const int error = errno;
  return fail(ErrorCode::io,
              fmt::format("{}: {}: {}", call, where,
                          std::error_code(error, std::system_category()).message()),
              call, static_cast<std::uint64_t>(error));
}

Result<Descriptor> listen_at(Endpoint& at, const std::string& where) {
  Descriptor listener(::socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener.is_open()) return system_failure("socket", where);
  const int on = 1;
  static_cast<void>(::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
  if (::bind(listener.get(), at.address(), at.size) != 0) return system_failure("bind", where);
  if (::listen(listener.get(), SOMAXCONN) != 0) return system_failure("listen", where);
  return listener;
}

std::uint16_t port_of(const Descriptor& listener) {
  Endpoint at;
  at.size = sizeof(at.storage);
  if (::getsockname(listener.get(), at.address(), &at.size) != 0) return 0;
  // The port is in the same place in both families.
  return ntohs(reinterpret_cast<sockaddr_in*>(&at.storage)->sin_port);
}

}  // namespace

Result<ServerOptions> parse_listen(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is no address and port, such as 127.0.0.1:4420 or [::1]:4420",
                            printable(text)));
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view address = text.substr(0, colon), port = text.substr(colon + 1);
  const bool bracketed = address.size() > 2 && address.front() == '[' && address.back() == ']';
  if (bracketed) address = address.substr(1, address.size() - 2);
  if (bracketed != address.contains(':')) return wrong();
  ServerOptions options{.address = std::string(address)};
  const char* end = port.data() + port.size();
  const auto parsed = std::from_chars(port.data(), end, options.port);
  if (port.empty() || parsed.ec != std::errc{} || parsed.ptr != end || !endpoint(options))
    return wrong();
  return options;
}

Result<std::unique_ptr<Server>> Server::start(Target& target, const ServerOptions& options) {
  Endpoint at = TRY(endpoint(options));
  if (!at.is_loopback && !options.allow_remote)
    return fail(ErrorCode::not_permitted,
                fmt::format("{} can be reached from other machines, and whoever reaches it may use "
                            "the drives; --allow-remote permits that",
                            options.address));
  Descriptor listener =
      TRY(listen_at(at, fmt::format("{} port {}", options.address, options.port)));
  const std::uint16_t port = port_of(listener);
  return std::unique_ptr<Server>(
      new Server(target, std::move(listener), port, options.connections_max));
}

Server::Server(Target& target, Descriptor listener, std::uint16_t port, unsigned connections_max)
    : target_(target),
      listener_(std::move(listener)),
      port_(port),
      connections_max_(connections_max),
      acceptor_([this](std::stop_token stop) { accept_all(std::move(stop)); }) {}

Server::~Server() {
  acceptor_.request_stop();
  ::shutdown(listener_.get(), SHUT_RDWR);  // Which ends an accept that waits.
  acceptor_.join();
  for (Client& client : clients_) client.connection.stop();
  for (Client& client : clients_) client.thread.join();
}

std::size_t Server::connections() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(clients_, [](const Client& client) { return !client.done; }));
}

void Server::accept_all(std::stop_token stop) {
  constexpr std::chrono::milliseconds kPause{100};
  const std::unique_ptr<Clock> clock = real_clock();
  while (!stop.stop_requested()) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const int error = errno;
    if (stop.stop_requested()) return;
    remove_finished();
    if (socket.is_open()) {
      admit(std::move(socket));
    } else if (error != EINTR && error != ECONNABORTED) {
      log(LogLevel::warning, "nvme-tcp: accept: {}",
          std::error_code(error, std::system_category()).message());
      clock->sleep_until(stop, clock->monotonic() + kPause);
    }
  }
}

void Server::admit(Descriptor socket) {
  const std::lock_guard lock(mutex_);
  if (clients_.size() >= connections_max_) {
    log(LogLevel::warning, "nvme-tcp: {} connections are open: one more was closed",
        clients_.size());
    return;
  }
  Client& client = clients_.emplace_back(std::move(socket), target_);
  try {
    client.thread = std::thread([&client] {
      client.connection.serve();
      client.connection.stop();
      client.done = true;
    });
  } catch (const std::system_error& error) {
    log(LogLevel::warning, "nvme-tcp: a connection was closed: no thread for it: {}", error.what());
    clients_.pop_back();
  }
}

void Server::remove_finished() {
  const std::lock_guard lock(mutex_);
  std::erase_if(clients_, [](Client& client) {
    if (!client.done) return false;
    client.thread.join();
    return true;
  });
}

}  // namespace keyward::sed::nvme
