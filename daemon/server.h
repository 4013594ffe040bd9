// The Server listens on the Unix socket and serves the API.
//
//   std::unique_ptr<Server> server = TRY(Server::start(services, config.socket, config.limits));
//   server->stop();      // answers what is under way, for at most two seconds
//
// Two threads read sockets, each with connections of its own; a pool makes changes durable and
// another runs long calls. Who connects is judged by the kernel's credentials of the peer, before a
// byte is read. Safe from any thread.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "daemon/services.h"

namespace keyward::daemon {

class Server final {
 public:
  // `conflict` when another process listens there; a socket that nobody listens on is replaced.
  static Result<std::unique_ptr<Server>> start(Services& services, const std::string& socket_path,
                                               const ServerLimits& limits);
  ~Server();  // Stops.

  void stop();
  // Whether every thread of it has come round since the last call. True the first time.
  bool is_responsive();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyward::daemon
