// A Connection is one queue of one host: the TCP connection on which its commands come and are
// answered, one after the other (NVMe/TCP 1.0, 3.3 to 3.5).
//
//   Connection connection(std::move(socket), target);
//   connection.serve();   // until the peer goes, breaks the protocol, or stop() is called
//
// serve() belongs to one thread; stop() is for any.
#pragma once

#include <map>
#include <memory>

#include "sed/nvme_tcp/pdu.h"
#include "sed/nvme_tcp/target.h"
#include "sed/nvme_tcp/tcp_stream.h"

namespace keyward::sed::nvme {

class Connection final {
 public:
  Connection(Descriptor socket, Target& target);

  void serve();
  void stop() const { stream_.shut_down(); }

 private:
  // A command whose data have been asked for and are on their way.
  struct Transfer {
    Command command;
    Bytes data;
  };
  enum class Go { on, end };

  bool greet();
  Go next_pdu();
  Go end_with(FatalError error, ByteView pdu);
  bool read_pdu(CommonHeader& header, Go& go);
  TcpStream::Limit idle_limit() const;

  Go take_capsule(const CommandCapsule& capsule);
  Go take_data(const H2cData& part, ByteView pdu);
  // What the command's SGL says against the rules, or success.
  Status check(const Command& command, ByteView in_capsule) const;
  Go ask_for_data(const Command& command);
  Go execute(const Command& command, ByteView data);
  Outcome connect(const Command& command, ByteView data);
  Go answer(const Command& command, const Outcome& outcome);
  bool is_known(std::uint16_t command_id) const;

  TcpStream stream_;
  Target& target_;
  Bytes pdu_;  // The one that is being looked at.
  std::uint32_t data_alignment_ = 4;
  std::chrono::steady_clock::time_point handshake_end_;

  std::shared_ptr<Controller> controller_;  // From Connect on.
  std::uint16_t queue_id_ = 0;
  std::uint16_t queue_entries_ = 2;
  std::uint16_t queue_head_ = 0;
  std::map<std::uint16_t, Transfer> transfers_;  // By command id, which is their tag too.
};

}  // namespace keyward::sed::nvme
