#include "sed/transport/socket_transport.h"

#include <algorithm>

#include "base/text.h"
#include "sed/transport/drive_frames.h"
#include "sed/transport/unix_socket.h"

namespace keyward::sed {
namespace {

FrameWriter request(DriveRequest number) {
  FrameWriter frame;
  frame.u8(static_cast<std::uint8_t>(number));
  return frame;
}

ByteView fields_of(const SecretBytes& answer) { return answer.reveal().subspan(1); }

}  // namespace

Result<std::vector<DriveAddress>> SocketTransport::list(const std::string& socket,
                                                        std::chrono::milliseconds timeout) {
  SocketTransport connection(TRY(connect_unix(socket)));
  set_unix_timeouts(connection.socket_.get(), timeout);
  const SecretBytes answer = TRY(connection.ask(request(DriveRequest::list).take()));
  FrameReader fields(fields_of(answer));
  std::vector<DriveAddress> addresses;
  for (std::uint16_t left = fields.u16(); left > 0 && fields.is_complete(); --left) {
    std::string node = fields.text(), controller = fields.text(), in_use = fields.text();
    addresses.push_back({std::move(node), std::move(controller), std::move(in_use)});
  }
  if (!fields.is_whole()) return connection.makes_no_sense();
  return addresses;
}

Result<std::unique_ptr<SocketTransport>> SocketTransport::open(const std::string& socket,
                                                               const std::string& node,
                                                               std::chrono::milliseconds timeout) {
  std::unique_ptr<SocketTransport> transport(new SocketTransport(TRY(connect_unix(socket))));
  set_unix_timeouts(transport->socket_.get(), timeout);
  TRY(transport->open_drive(node));
  return transport;
}

Result<void> SocketTransport::open_drive(const std::string& node) {
  const SecretBytes answer =
      TRY(ask(request(DriveRequest::open).u8(kDriveProtocolVersion).text(node).take()));
  FrameReader fields(fields_of(answer));
  identity_.wwn = fields.text();
  identity_.serial = fields.text();
  identity_.model = fields.text();
  identity_.firmware = fields.text();
  sector_bytes_ = fields.u32();
  sector_count_ = fields.u64();
  // Larger sectors than one frame holds could not be read.
  if (!fields.is_whole() || sector_bytes_ > kFrameDataBytesMax) return makes_no_sense();
  return {};
}

Result<Bytes> SocketTransport::identify(IdentifyPage page) {
  const SecretBytes answer =
      TRY(ask(request(DriveRequest::identify).u8(static_cast<std::uint8_t>(page)).take()));
  const ByteView bytes = fields_of(answer);
  return Bytes(bytes.begin(), bytes.end());
}

Result<void> SocketTransport::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  return tell(
      request(DriveRequest::send).u8(static_cast<std::uint8_t>(protocol)).u16(specific).take(),
      payload);
}

Result<std::size_t> SocketTransport::receive(Protocol protocol, std::uint16_t specific,
                                             MutableByteView buffer) {
  if (buffer.size() > kFrameDataBytesMax)
    return fail(ErrorCode::invalid_argument, "the drive socket moves 1 MiB at most");
  const SecretBytes answer = TRY(ask(request(DriveRequest::receive)
                                         .u8(static_cast<std::uint8_t>(protocol))
                                         .u16(specific)
                                         .u32(buffer.size())
                                         .take()));
  const ByteView bytes = fields_of(answer);
  if (bytes.size() > buffer.size()) return makes_no_sense();
  std::ranges::copy(bytes, buffer.begin());
  return bytes.size();
}

Result<void> SocketTransport::read(std::uint64_t first_sector, MutableByteView sectors) {
  const std::size_t part_max = kFrameDataBytesMax / sector_bytes_ * sector_bytes_;
  do {
    const MutableByteView part = sectors.first(std::min(sectors.size(), part_max));
    const SecretBytes answer =
        TRY(ask(request(DriveRequest::read).u64(first_sector).u32(part.size()).take()));
    if (fields_of(answer).size() != part.size()) return makes_no_sense();
    std::ranges::copy(fields_of(answer), part.begin());
    first_sector += part.size() / sector_bytes_;
    sectors = sectors.subspan(part.size());
  } while (!sectors.empty());
  return {};
}

Result<void> SocketTransport::write(std::uint64_t first_sector, ByteView sectors) {
  const std::size_t part_max = kFrameDataBytesMax / sector_bytes_ * sector_bytes_;
  do {
    const ByteView part = sectors.first(std::min(sectors.size(), part_max));
    TRY(tell(request(DriveRequest::write).u64(first_sector).take(), part));
    first_sector += part.size() / sector_bytes_;
    sectors = sectors.subspan(part.size());
  } while (!sectors.empty());
  return {};
}

Result<void> SocketTransport::reread_partitions() {
  return tell(request(DriveRequest::reread_partitions).take());
}

Result<void> SocketTransport::tell(const Bytes& head, ByteView body) {
  const SecretBytes answer = TRY(ask(head, body));
  if (!fields_of(answer).empty()) return makes_no_sense();
  return {};
}

Result<SecretBytes> SocketTransport::ask(const Bytes& head, ByteView body) {
  if (!socket_.is_open())
    return fail(ErrorCode::unavailable, "the drive socket was closed after an earlier error");
  // What is too long was not sent: the connection stays as it is.
  if (head.size() + body.size() > kFrameBytesMax)
    return fail(ErrorCode::invalid_argument, "the drive socket moves 1 MiB at most");
  const Result<void> sent = send_frame(socket_.get(), head, body);
  Result<SecretBytes> answer =
      sent ? receive_frame(socket_.get()) : Result<SecretBytes>(std::unexpected(sent.error()));
  if (!answer) {
    socket_ = Descriptor();
    return answer;
  }
  FrameReader fields(answer->reveal());
  const std::uint8_t status = fields.u8();
  if (status == 0) return answer;
  const std::uint64_t native = fields.u64();
  const std::string message = fields.text();
  if (!fields.is_whole()) return makes_no_sense();
  return fail(code_of_wire(status), escape_controls(message), "drive socket", native);
}

std::unexpected<Error> SocketTransport::makes_no_sense() {
  socket_ = Descriptor();
  return fail(ErrorCode::protocol, "the drive socket: the answer makes no sense");
}

}  // namespace keyward::sed
