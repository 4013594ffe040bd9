#include "sed/emulator/packet.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::uint16_t kKindData = 0x0000;
constexpr std::uint16_t kKindCredit = 0x8001;

std::size_t padding(std::size_t size) { return (4 - size % 4) % 4; }

// The data of the one data SubPacket; none when `body` is not well-formed or holds several.
std::optional<Bytes> only_data(ByteView body) {
  std::optional<Bytes> data;
  while (!body.empty()) {
    if (body.size() < kSubPacketHeaderBytes) return std::nullopt;
    const auto kind = read_field(body, 6, 2);
    const auto length = static_cast<std::size_t>(read_field(body, 8, 4));
    body = body.subspan(kSubPacketHeaderBytes);
    if (length > body.size() || length + padding(length) > body.size()) return std::nullopt;
    if (kind == kKindData) {
      if (data) return std::nullopt;
      data.emplace(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(length));
    } else if (kind != kKindCredit) {
      return std::nullopt;
    }
    body = body.subspan(length + padding(length));
  }
  return data;
}

}  // namespace

std::uint64_t read_field(ByteView bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes.subspan(at, size))
    value = value << 8 | std::to_integer<std::uint64_t>(byte);
  return value;
}

void append_field(std::uint64_t value, std::size_t size, Bytes& out) {
  for (std::size_t n = size; n-- > 0;)
    out.push_back(n < 8 ? static_cast<std::byte>(value >> (8 * n)) : std::byte{0});
}

ParsedComPacket parse_com_packet(ByteView payload, std::uint16_t com_id,
                                 std::uint32_t max_com_packet, std::uint32_t max_packet) {
  ParsedComPacket parsed;
  if (payload.size() < kComPacketHeaderBytes || read_field(payload, 4, 2) != com_id ||
      read_field(payload, 6, 2) != 0)
    return parsed;
  const std::uint64_t length = read_field(payload, 16, 4);
  const ByteView rest = payload.subspan(kComPacketHeaderBytes);
  if (rest.size() < kPacketHeaderBytes) return parsed;
  parsed.packet.tper_session = static_cast<std::uint32_t>(read_field(rest, 0, 4));
  parsed.packet.host_session = static_cast<std::uint32_t>(read_field(rest, 4, 4));
  // From here on the session is known, and what is wrong with the rest ends it.
  const bool control = parsed.packet.tper_session == 0 && parsed.packet.host_session == 0;
  parsed.outcome =
      control ? ParsedComPacket::Outcome::discard : ParsedComPacket::Outcome::break_session;
  if (length > rest.size() || length + kComPacketHeaderBytes > max_com_packet) return parsed;
  const std::uint64_t packet_length = read_field(rest, 20, 4);
  if (packet_length + kPacketHeaderBytes != length ||
      packet_length + kPacketHeaderBytes > max_packet)
    return parsed;
  std::optional<Bytes> data =
      only_data(rest.subspan(kPacketHeaderBytes, static_cast<std::size_t>(packet_length)));
  if (!data) return parsed;
  parsed.packet.data = std::move(*data);
  parsed.outcome = ParsedComPacket::Outcome::good;
  return parsed;
}

Bytes build_com_packet(std::uint16_t com_id, const SessionPacket& packet) {
  const std::size_t size = packet.data.size();
  const std::size_t padded = size + padding(size);
  Bytes out;
  append_field(0, 4, out);
  append_field(com_id, 2, out);
  append_field(0, 2 + 4 + 4, out);  // Extension, OutstandingData, MinTransfer.
  append_field(kPacketHeaderBytes + kSubPacketHeaderBytes + padded, 4, out);
  append_field(packet.tper_session, 4, out);
  append_field(packet.host_session, 4, out);
  append_field(0, 4 + 2 + 2 + 4, out);  // SeqNumber, reserved, AckType, Acknowledgement.
  append_field(kSubPacketHeaderBytes + padded, 4, out);
  append_field(0, 6, out);
  append_field(kKindData, 2, out);
  append_field(size, 4, out);
  out.insert(out.end(), packet.data.begin(), packet.data.end());
  out.resize(out.size() + padding(size));
  return out;
}

Bytes empty_com_packet(std::uint16_t com_id, std::uint32_t outstanding,
                       std::uint32_t min_transfer) {
  Bytes out;
  append_field(0, 4, out);
  append_field(com_id, 2, out);
  append_field(0, 2, out);
  append_field(outstanding, 4, out);
  append_field(min_transfer, 4, out);
  append_field(0, 4, out);
  return out;
}

}  // namespace keyward::sed::emulator
