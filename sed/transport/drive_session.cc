#include "sed/transport/drive_session.h"

#include <fmt/format.h>

namespace keyward::sed {
namespace {

std::unexpected<Error> malformed() {
  return fail(ErrorCode::protocol, "the request makes no sense");
}

Result<Bytes> nothing(const Result<void>& done) {
  if (!done) return std::unexpected(done.error());
  return Bytes{};
}

Bytes render(const Error& error) {
  return FrameWriter().u8(wire_code(error.code)).u64(error.native).text(error.message).take();
}

bool has_drive(DriveRequest request) {
  return request != DriveRequest::list && request != DriveRequest::open;
}

}  // namespace

DriveReply DriveSession::answer(ByteView request) {
  FrameReader fields(request);
  const auto number = static_cast<DriveRequest>(fields.u8());
  if (has_drive(number) && transport_ == nullptr)
    return {render({ErrorCode::conflict, "no drive is open on this connection"}), true};
  const Result<Bytes> done = run(number, fields);
  if (!done) return {render(done.error()), done.error().code == ErrorCode::protocol};
  Bytes frame(1);
  frame.insert(frame.end(), done->begin(), done->end());
  return {std::move(frame)};
}

Result<Bytes> DriveSession::run(DriveRequest request, FrameReader& fields) {
  // All fields are read before anything is done: a request that is cut short does nothing.
  switch (request) {
    case DriveRequest::list:
      return fields.is_whole() ? list() : malformed();
    case DriveRequest::open: {
      const std::uint8_t version = fields.u8();
      const std::string node = fields.text();
      if (!fields.is_whole()) return malformed();
      if (version != kDriveProtocolVersion)
        return fail(ErrorCode::unsupported,
                    fmt::format("this side speaks version {} of the drive socket's protocol",
                                kDriveProtocolVersion));
      return open(node);
    }
    case DriveRequest::identify: {
      const std::uint8_t page = fields.u8();
      return fields.is_whole() ? identify(page) : malformed();
    }
    case DriveRequest::send: {
      const auto protocol = static_cast<Protocol>(fields.u8());
      const std::uint16_t specific = fields.u16();
      const ByteView payload = fields.rest();
      return fields.is_whole() ? nothing(transport_->send(protocol, specific, payload))
                               : malformed();
    }
    case DriveRequest::receive: {
      const auto protocol = static_cast<Protocol>(fields.u8());
      const std::uint16_t specific = fields.u16();
      const std::uint32_t size = fields.u32();
      return fields.is_whole() ? receive(protocol, specific, size) : malformed();
    }
    case DriveRequest::read: {
      const std::uint64_t first = fields.u64();
      const std::uint32_t size = fields.u32();
      return fields.is_whole() ? read(first, size) : malformed();
    }
    case DriveRequest::write: {
      const std::uint64_t first = fields.u64();
      const ByteView sectors = fields.rest();
      if (!fields.is_whole()) return malformed();
      return nothing(TRY(blocks())->write(first, sectors));
    }
    case DriveRequest::reread_partitions:
      if (!fields.is_whole()) return malformed();
      return nothing(TRY(blocks())->reread_partitions());
  }
  return malformed();
}

Result<Bytes> DriveSession::list() {
  const std::vector<DriveAddress> addresses = TRY(bus_.list());
  FrameWriter out;
  out.u16(addresses.size());
  for (const DriveAddress& address : addresses)
    out.text(address.node).text(address.controller).text(address.in_use);
  return out.take();
}

Result<Bytes> DriveSession::open(const std::string& node) {
  if (transport_ != nullptr)
    return fail(ErrorCode::conflict, "a drive is open on this connection already");
  transport_ = TRY(bus_.open({node, "", ""}));
  const DriveIdentity& identity = transport_->identity();
  BlockAccess* sectors = transport_->blocks();
  return FrameWriter()
      .text(identity.wwn)
      .text(identity.serial)
      .text(identity.model)
      .text(identity.firmware)
      .u32(sectors == nullptr ? 0 : sectors->sector_bytes())
      .u64(sectors == nullptr ? 0 : sectors->sector_count())
      .take();
}

Result<Bytes> DriveSession::identify(std::uint8_t page) {
  if (page > static_cast<std::uint8_t>(IdentifyPage::nvme_namespace))
    return fail(ErrorCode::unsupported, "there is no such identify page");
  return transport_->identify(static_cast<IdentifyPage>(page));
}

Result<Bytes> DriveSession::receive(Protocol protocol, std::uint16_t specific, std::size_t size) {
  if (size == 0 || size > kFrameDataBytesMax)
    return fail(ErrorCode::invalid_argument, "the drive socket moves 1 byte to 1 MiB");
  Bytes answer(size);
  answer.resize(TRY(transport_->receive(protocol, specific, answer)));
  return answer;
}

Result<Bytes> DriveSession::read(std::uint64_t first, std::size_t size) {
  BlockAccess* sectors = TRY(blocks());
  if (size == 0 || size > kFrameDataBytesMax)
    return fail(ErrorCode::invalid_argument, "the drive socket moves 1 byte to 1 MiB");
  Bytes data(size);
  TRY(sectors->read(first, data));
  return data;
}

Result<BlockAccess*> DriveSession::blocks() {
  BlockAccess* sectors = transport_->blocks();
  if (sectors == nullptr) return fail(ErrorCode::unsupported, "the drive shows no sectors");
  return sectors;
}

}  // namespace keyward::sed
