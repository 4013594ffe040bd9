// SocketTransport speaks to a drive of another process, which serves it by SocketDriveServer.
//
//   for (const DriveAddress& address : TRY(SocketTransport::list("/run/drives.sock"))) …
//   auto transport = TRY(SocketTransport::open("/run/drives.sock", "/dev/sda"));
//
// The drive's own errors arrive as they were. After a time-out or an answer that makes no sense the
// connection is closed, as a late answer would be taken for another one's: all later calls are
// `unavailable`.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/secret_bytes.h"
#include "sed/transport/drive_bus.h"

namespace keyward::sed {

class SocketTransport final : public SecurityTransport, private BlockAccess {
 public:
  static Result<std::vector<DriveAddress>> list(
      const std::string& socket, std::chrono::milliseconds timeout = std::chrono::seconds{60});
  static Result<std::unique_ptr<SocketTransport>> open(
      const std::string& socket, const std::string& node,
      std::chrono::milliseconds timeout = std::chrono::seconds{60});

  const DriveIdentity& identity() const override { return identity_; }
  Result<Bytes> identify(IdentifyPage page) override;
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override;
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override;
  BlockAccess* blocks() override { return sector_bytes_ == 0 ? nullptr : this; }

 private:
  explicit SocketTransport(Descriptor socket) : socket_(std::move(socket)) {}

  Result<void> open_drive(const std::string& node);
  // The whole answer of a request that has succeeded; its fields follow the status byte.
  Result<SecretBytes> ask(const Bytes& head, ByteView body = {});
  // The same, of a request whose answer has no fields.
  Result<void> tell(const Bytes& head, ByteView body = {});
  std::unexpected<Error> makes_no_sense();

  std::uint32_t sector_bytes() const override { return sector_bytes_; }
  std::uint64_t sector_count() const override { return sector_count_; }
  Result<void> read(std::uint64_t first_sector, MutableByteView sectors) override;
  Result<void> write(std::uint64_t first_sector, ByteView sectors) override;
  Result<void> reread_partitions() override;

  Descriptor socket_;
  DriveIdentity identity_;
  std::uint32_t sector_bytes_ = 0;
  std::uint64_t sector_count_ = 0;
};

}  // namespace keyward::sed
