// UeventSocket hears from the kernel when block devices come and go (netlink, kobject uevents).
//
//   if (Result<UeventSocket> socket = UeventSocket::open())
//     while (socket->wait(stop_descriptor)) look_again();
//
// Messages of other processes are not heard. One thread waits.
#pragma once

#include "base/bytes.h"
#include "base/file.h"
#include "base/result.h"

namespace keyward::sed {

// True for a message of the kernel about a block device.
bool is_block_uevent(ByteView message);

class UeventSocket final {
 public:
  // `not_permitted` or `unsupported` in a container without such a socket.
  static Result<UeventSocket> open();

  // True when something has happened to a block device, false when `stop` became readable or the
  // socket is of no more use.
  bool wait(int stop);

 private:
  explicit UeventSocket(Descriptor socket) : socket_(std::move(socket)) {}
  Descriptor socket_;
};

}  // namespace keyward::sed
