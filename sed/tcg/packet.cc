#include "sed/tcg/packet.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "sed/tcg/byte_reader.h"

namespace keyward::sed::tcg {
namespace {

constexpr std::uint16_t kData = 0x0000;
constexpr std::uint16_t kCreditControl = 0x8001;
constexpr std::size_t kBlockBytes = 512;

std::size_t padding(std::size_t size) { return (4 - size % 4) % 4; }

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::protocol, fmt::format("the drive's answer is malformed: {}", what));
}

Result<Bytes> parse_sub_packets(ByteReader reader) {
  Bytes tokens;
  while (reader.left() > 0) {
    reader.skip(6);
    const std::uint16_t kind = reader.u16();
    const std::uint32_t length = reader.u32();
    const ByteView content = reader.take(length);
    if (reader.ran_out()) return malformed("a SubPacket is longer than its Packet");
    if (kind == kData)
      tokens.insert(tokens.end(), content.begin(), content.end());
    else if (kind != kCreditControl)
      return malformed(fmt::format("a SubPacket of unknown kind {:04X}h", kind));
    reader.skip(padding(length));  // It may be missing at the end.
  }
  return tokens;
}

}  // namespace

std::size_t com_packet_bytes(std::size_t tokens) {
  return (kEnvelopeBytes + tokens + padding(tokens) + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

void write_com_packet(const ComId& com_id, const SessionNumbers& session,
                      const TokenWriter& request, MutableByteView out) {
  const std::size_t size = request.size();
  CHECK(out.size() == com_packet_bytes(size), "a buffer of another size than its ComPacket");
  const std::size_t sub_packet = kSubPacketHeaderBytes + size + padding(size);
  Bytes head;
  head.reserve(kEnvelopeBytes);
  append_big_endian(0, 4, head);
  append_big_endian(com_id.number, 2, head);
  append_big_endian(com_id.extension, 2, head);
  append_big_endian(0, 8, head);  // OutstandingData and MinTransfer are the drive's.
  append_big_endian(kPacketHeaderBytes + sub_packet, 4, head);
  append_big_endian(session.tper, 4, head);
  append_big_endian(session.host, 4, head);
  append_big_endian(0, 8, head);  // SeqNumber, reserved, AckType: not used with synchronous ComIDs.
  append_big_endian(0, 4, head);  // Acknowledgement.
  append_big_endian(sub_packet, 4, head);
  append_big_endian(0, 6, head);
  append_big_endian(kData, 2, head);
  append_big_endian(size, 4, head);
  std::ranges::copy(head, out.begin());
  request.copy_to(out.subspan(kEnvelopeBytes));
  std::ranges::fill(out.subspan(kEnvelopeBytes + size), std::byte{0});
}

Result<ComPacket> parse_com_packet(ByteView bytes) {
  ByteReader reader(bytes);
  ComPacket parsed;
  reader.skip(4);
  parsed.com_id = {reader.u16(), reader.u16()};
  parsed.outstanding = reader.u32();
  parsed.min_transfer = reader.u32();
  const std::uint32_t length = reader.u32();
  ByteReader body(reader.take(length));
  if (reader.ran_out()) return malformed("it is shorter than its ComPacket");
  while (body.left() > 0) {
    Packet packet;
    packet.session = {body.u32(), body.u32()};
    body.skip(4 + 2 + 2 + 4);  // SeqNumber, reserved, AckType, Acknowledgement.
    const std::uint32_t packet_length = body.u32();
    const ByteView content = body.take(packet_length);
    if (body.ran_out()) return malformed("a Packet is longer than its ComPacket");
    packet.tokens = TRY(parse_sub_packets(ByteReader(content)));
    parsed.packets.push_back(std::move(packet));
  }
  return parsed;
}

}  // namespace keyward::sed::tcg
