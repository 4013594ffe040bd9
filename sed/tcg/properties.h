// Properties are the sizes that a drive and its host agree on (Core 5.2.2).
//
//   TokenWriter request;
//   write_properties_call(Dialect::opal, request);
//   if (const auto told = parse_properties(Dialect::opal, answer)) properties = told->tper;
//
// Values; pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "sed/tcg/dialect.h"

namespace keyward::sed::tcg {

// The largest ComPacket that we send or take, whatever a drive would: some HBAs move no more at
// once.
inline constexpr std::uint32_t kComPacketBytesMax = 65536;

// What a drive's TPer says that it takes; constant for one firmware. The initial values are what
// may be sent unasked (Opal 4.1.1.1).
struct Properties {
  std::uint32_t com_packet_bytes_max = 2048;
  std::uint32_t packet_bytes_max = 2028;
  std::uint32_t token_bytes_max = 1992;
  std::uint32_t response_bytes_max = 2048;  // Of the ComPackets that it sends.
  std::uint32_t sessions_max = 1;
  std::uint32_t authentications_max = 2;  // In one session; Anybody counts.
  std::uint32_t transactions_max = 1;

  bool operator==(const Properties&) const = default;
  Bytes render() const;  // 28 bytes.
  // None when it makes no sense.
  static std::optional<Properties> parse(ByteView bytes);
};

// Enterprise's are half of Opal's (Core table 168).
Properties least_properties(Dialect dialect);

// The call of Properties that tells what we take.
void write_properties_call(Dialect dialect, TokenWriter& out);

struct PropertiesAnswer {
  Properties tper{};
  std::uint32_t host_com_packet_bytes_max = 0;  // What the drive will send us at most.
};

// What is missing keeps its least value. None when the answer is malformed or a refusal.
std::optional<PropertiesAnswer> parse_properties(Dialect dialect, ByteView tokens);

}  // namespace keyward::sed::tcg
