// A TcpStream is one accepted connection: whole reads and writes with a time limit.
//
//   TcpStream stream(std::move(socket));
//   if (stream.read(header, kPduLimit) != TcpStream::End::none) return;
//
// One thread reads and writes; shut_down() may come from any other and ends both at once.
#pragma once

#include <chrono>
#include <optional>

#include "base/bytes.h"
#include "base/file.h"

namespace keyward::sed::nvme {

class TcpStream final {
 public:
  using Limit = std::optional<std::chrono::milliseconds>;  // Nothing: as long as it takes.
  enum class End { none, closed, timed_out };

  explicit TcpStream(Descriptor socket);

  // Fills `buffer`. The limit is for all of it.
  End read(MutableByteView buffer, Limit limit);
  // All of `bytes`, within kPduLimit.
  End write(ByteView bytes);
  // Says that nothing more comes, and throws away for a moment what the peer still sends: closing
  // at once would reset the connection, and the peer would lose what was written last.
  void finish();
  void shut_down() const;

 private:
  End wait(short events, std::chrono::steady_clock::time_point deadline) const;

  Descriptor socket_;
};

}  // namespace keyward::sed::nvme
