// A Server listens for hosts and gives each connection a thread.
//
//   auto server = TRY(Server::start(target, {.address = "127.0.0.1", .port = 4420}));
//   server->port();      // The port that it got, when it asked for 0.
//   server.reset();      // All connections end.
//
// Nobody has to prove who he is, so it listens on loopback addresses unless it is told otherwise.
// The target must outlive it. Safe from any thread.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "sed/nvme_tcp/connection.h"
#include "sed/nvme_tcp/limits.h"

namespace keyward::sed::nvme {

struct ServerOptions {
  std::string address = "127.0.0.1";  // IPv4 or IPv6, as a number.
  std::uint16_t port = 4420;          // 0: any that is free.
  bool allow_remote = false;
  unsigned connections_max = kConnectionsMax;
};

// "127.0.0.1:4420", "[::1]:4420". `invalid_argument` when it is neither.
Result<ServerOptions> parse_listen(std::string_view text);

class Server final {
 public:
  // `not_permitted` for an address that others can reach, without allow_remote; `io` when it cannot
  // listen there.
  static Result<std::unique_ptr<Server>> start(Target& target, const ServerOptions& options);
  ~Server();

  std::uint16_t port() const { return port_; }
  std::size_t connections() const;

 private:
  struct Client {
    explicit Client(Descriptor socket, Target& target) : connection(std::move(socket), target) {}
    Connection connection;
    std::atomic<bool> done = false;
    std::thread thread{};
  };

  Server(Target& target, Descriptor listener, std::uint16_t port, unsigned connections_max);
  void accept_all(std::stop_token stop);
  void admit(Descriptor socket);
  void remove_finished();

  Target& target_;
  Descriptor listener_;
  const std::uint16_t port_;
  const unsigned connections_max_;
  mutable std::mutex mutex_;
  std::list<Client> clients_;
  std::jthread acceptor_;
};

}  // namespace keyward::sed::nvme
