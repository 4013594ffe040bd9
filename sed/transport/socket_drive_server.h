// SocketDriveServer lends the drives of a bus to other processes, over a Unix socket: emulated ones
// to a test that runs in several processes, or to a daemon beside the one that has them.
//
//   auto server = TRY(SocketDriveServer::start(bus, clock, "/run/drives.sock"));
//
// Whoever may open the socket has the drives: its mode is 0600. One thread for each connection, 512
// at most; a connection has one drive, exclusively, as an open of the bus does. The destructor ends
// all connections. Borrows bus and clock.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "sed/transport/drive_bus.h"

namespace keyward::sed {

class SocketDriveServer final {
 public:
  // `already_exists` when another process listens there; what a dead one left is taken over.
  static Result<std::unique_ptr<SocketDriveServer>> start(DriveBus& bus, Clock& clock,
                                                          std::string path);
  ~SocketDriveServer();

  const std::string& path() const { return path_; }

 private:
  struct Connection {
    Descriptor socket;
    bool is_over = false;
    std::jthread thread{};
  };

  SocketDriveServer(DriveBus& bus, Clock& clock, std::string path, Descriptor listener)
      : bus_(bus), clock_(clock), path_(std::move(path)), listener_(std::move(listener)) {}

  void accept_all(std::stop_token stop);
  void add(Descriptor socket);
  void serve(int socket);

  DriveBus& bus_;
  Clock& clock_;
  std::string path_;
  Descriptor listener_;
  std::mutex mutex_;
  bool is_stopping_ = false;
  std::list<Connection> connections_;
  std::jthread acceptor_;
};

}  // namespace keyward::sed
