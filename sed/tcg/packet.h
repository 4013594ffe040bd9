// The three envelopes around tokens (Core 3.2.3): ComPacket, Packet, SubPacket.
//
//   write_com_packet({com_id, 0}, {tsn, hsn}, request, buffer);
//   ComPacket answer = TRY(parse_com_packet(received));
//   if (answer.packets.empty() && answer.outstanding > 0) …   // Not yet.
//
// Pure. Errors: `protocol` when lengths contradict each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "sed/tcg/token.h"

namespace keyward::sed::tcg {

inline constexpr std::size_t kComPacketHeaderBytes = 20;
inline constexpr std::size_t kPacketHeaderBytes = 24;
inline constexpr std::size_t kSubPacketHeaderBytes = 12;
inline constexpr std::size_t kEnvelopeBytes =
    kComPacketHeaderBytes + kPacketHeaderBytes + kSubPacketHeaderBytes;

// Static ComIDs have no extension.
struct ComId {
  std::uint16_t number = 0;
  std::uint16_t extension = 0;

  bool operator==(const ComId&) const = default;
};

// Both are 0 on the control session, where sessions are made.
struct SessionNumbers {
  std::uint32_t tper = 0;
  std::uint32_t host = 0;

  bool operator==(const SessionNumbers&) const = default;
};

// The data of all of one Packet's data SubPackets, in order.
struct Packet {
  SessionNumbers session{};
  Bytes tokens{};
};

struct ComPacket {
  ComId com_id{};
  std::uint32_t outstanding = 0;   // Bytes that the drive still has for us; 1: it is not ready.
  std::uint32_t min_transfer = 0;  // The buffer that it wants, 0 when it says nothing.
  std::vector<Packet> packets{};   // Empty: nothing to say yet, or at all.
};

// What write_com_packet() fills, padded to whole blocks as every bus takes them.
std::size_t com_packet_bytes(std::size_t tokens);
// Fills `out`, of com_packet_bytes(request.size()) bytes.
void write_com_packet(const ComId& com_id, const SessionNumbers& session,
                      const TokenWriter& request, MutableByteView out);

// `bytes` is a whole buffer, with whatever lies after the ComPacket. Credit control SubPackets are
// passed over, and padding after the last SubPacket may be missing.
Result<ComPacket> parse_com_packet(ByteView bytes);

}  // namespace keyward::sed::tcg
