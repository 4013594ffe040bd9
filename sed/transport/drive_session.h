// DriveSession answers the requests of one connection of SocketDriveServer: any bytes at all.
//
//   DriveSession session(bus);
//   DriveReply reply = session.answer(frame);
//
// One drive for a connection, from its `open` to the end. One thread.
#pragma once

#include <memory>

#include "sed/transport/drive_bus.h"
#include "sed/transport/drive_frames.h"

namespace keyward::sed {

struct DriveReply {
  Bytes frame;
  bool is_last = false;  // The request made no sense: nothing more is read.
};

class DriveSession final {
 public:
  explicit DriveSession(DriveBus& bus) : bus_(bus) {}

  DriveReply answer(ByteView request);

 private:
  // What comes behind the status.
  Result<Bytes> run(DriveRequest request, FrameReader& fields);
  Result<Bytes> list();
  Result<Bytes> open(const std::string& node);
  Result<Bytes> identify(std::uint8_t page);
  Result<Bytes> receive(Protocol protocol, std::uint16_t specific, std::size_t size);
  Result<Bytes> read(std::uint64_t first, std::size_t size);
  Result<BlockAccess*> blocks();

  DriveBus& bus_;
  std::unique_ptr<SecurityTransport> transport_;
};

}  // namespace keyward::sed
