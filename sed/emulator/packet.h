// The three envelopes of a TCG payload (Core 3.2.3): ComPacket, Packet, data SubPacket.
//
//   ParsedComPacket parsed = parse_com_packet(payload, com_id, limits);
//   Bytes reply = build_com_packet(com_id, {.host_session = h, .tper_session = t, .data = tokens});
//
// Pure functions over bytes.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace keyward::sed::emulator {

inline constexpr std::size_t kComPacketHeaderBytes = 20;
inline constexpr std::size_t kPacketHeaderBytes = 24;
inline constexpr std::size_t kSubPacketHeaderBytes = 12;
inline constexpr std::size_t kEnvelopeBytes =
    kComPacketHeaderBytes + kPacketHeaderBytes + kSubPacketHeaderBytes;

// Both numbers are 0 on the control session.
struct SessionPacket {
  std::uint32_t tper_session = 0;
  std::uint32_t host_session = 0;
  Bytes data;
};

struct ParsedComPacket {
  enum class Outcome : std::uint8_t {
    good,
    discard,        // Nothing answers it.
    break_session,  // It names a session, and is not well-formed or over that session's limits.
  };
  Outcome outcome = Outcome::discard;
  SessionPacket packet{};
};

// One Packet with one data SubPacket is taken, as the emulated TPers announce (MaxPackets and
// MaxSubpackets are 1); credit control SubPackets are passed over.
ParsedComPacket parse_com_packet(ByteView payload, std::uint16_t com_id,
                                 std::uint32_t max_com_packet, std::uint32_t max_packet);

Bytes build_com_packet(std::uint16_t com_id, const SessionPacket& packet);

// A header without payload: `outstanding` and `min_transfer` as Core 3.3.10.2.1 has them.
Bytes empty_com_packet(std::uint16_t com_id, std::uint32_t outstanding, std::uint32_t min_transfer);

// Big-endian fields, for all that lies in front of the tokens.
std::uint64_t read_field(ByteView bytes, std::size_t at, std::size_t size);
void append_field(std::uint64_t value, std::size_t size, Bytes& out);

}  // namespace keyward::sed::emulator
