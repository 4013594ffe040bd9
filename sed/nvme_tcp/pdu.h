// The PDUs of NVMe/TCP (NVM Express TCP Transport Specification 1.0, 3.6): what a host sends is
// parsed here, what a controller answers is built here. Digests are never in use: the ICResp
// declines them.
//
//   const CommonHeader header = parse_header(first_8_bytes).value();   // or a FatalError
//   read exactly header.plen - 8 more
//   const CommandCapsule capsule = parse_capsule(header, pdu);
//
// The header alone says how long a PDU may be, so no peer makes us hold more than
// kPduBytesMax. Numbers are little-endian. Pure functions.
#pragma once

#include <cstdint>
#include <expected>

#include "base/bytes.h"
#include "sed/nvme_tcp/command.h"

namespace keyward::sed::nvme {

enum class PduType : std::uint8_t {
  ic_req = 0x00,
  ic_resp = 0x01,
  h2c_term_req = 0x02,
  c2h_term_req = 0x03,
  command = 0x04,
  response = 0x05,
  h2c_data = 0x06,
  c2h_data = 0x07,
  r2t = 0x09,
};

inline constexpr std::size_t kCommonHeaderBytes = 8;
inline constexpr std::uint32_t kIcBytes = 128;
// What one command moves at most; as MDTS says. Also the most that one H2CData carries.
inline constexpr std::uint32_t kTransferBytesMax = 128u << 10;
inline constexpr std::uint32_t kInCapsuleBytesMax = 8192;
inline constexpr std::uint32_t kPduBytesMax = 24 + kTransferBytesMax;

// Why a connection ends, as the C2HTermReq says it: 3.6.2.4.
enum class FatalStatus : std::uint16_t {
  invalid_header_field = 1,
  sequence_error = 2,
  data_out_of_range = 4,
  unsupported_parameter = 6,
};
struct FatalError {
  FatalStatus status;
  std::uint32_t field = 0;  // Its offset in the PDU, where a field is at fault.
};
template <typename T>
using Parsed = std::expected<T, FatalError>;

struct CommonHeader {
  PduType type;
  std::uint8_t flags;
  std::uint8_t hlen;
  std::uint8_t pdo;    // Where the data begins, when there are any.
  std::uint32_t plen;  // Of the whole PDU.
};
// Of 8 bytes. Everything that is not a host's PDU, or has a length that its type cannot have, is
// refused.
Parsed<CommonHeader> parse_header(ByteView bytes);

struct IcReq {
  std::uint32_t data_alignment;  // Of C2HData, in bytes: 4 to 128.
  std::uint32_t r2t_max;         // Outstanding for one command.
};
struct CommandCapsule {
  Command command;
  ByteView data;
};
struct H2cData {
  std::uint16_t command_id;
  std::uint16_t tag;
  std::uint32_t offset;
  bool last;
  ByteView data;
};
// `pdu` has `header.plen` bytes, the common header's included. The views are into it.
Parsed<IcReq> parse_ic_req(const CommonHeader& header, ByteView pdu);
CommandCapsule parse_capsule(const CommonHeader& header, ByteView pdu);
Parsed<H2cData> parse_h2c_data(const CommonHeader& header, ByteView pdu);

Bytes build_ic_resp();
Bytes build_response(const Completion& completion);
Bytes build_r2t(std::uint16_t command_id, std::uint16_t tag, std::uint32_t length);
// The one PDU that carries all of a command's data. The command's response follows it.
Bytes build_c2h_data(std::uint16_t command_id, ByteView data, std::uint32_t alignment);
// `pdu`: the one at fault, of which the first bytes go along.
Bytes build_term_req(FatalError error, ByteView pdu);

}  // namespace keyward::sed::nvme
