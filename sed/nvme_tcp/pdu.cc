#include "sed/nvme_tcp/pdu.h"

#include <algorithm>

namespace keyward::sed::nvme {
namespace {

constexpr std::uint8_t kDigestFlags = 0x03, kLastFlag = 0x04;
constexpr std::uint8_t kCommandHeader = 72, kDataHeader = 24;
constexpr std::uint32_t kTermBytesMax = 152;
constexpr std::uint32_t kTypeField = 0, kFlagsField = 1, kHlenField = 2, kPdoField = 3,
                        kPlenField = 4;

struct Shape {
  PduType type;
  std::uint8_t hlen;
  std::uint32_t plen_max;
  bool carries_data;
  bool needs_data;
};
// What a host sends.
constexpr Shape kShapes[] = {
    {PduType::ic_req, kIcBytes, kIcBytes, false, false},
    {PduType::h2c_term_req, kDataHeader, kTermBytesMax, false, false},
    {PduType::command, kCommandHeader, kCommandHeader + kInCapsuleBytesMax, true, false},
    {PduType::h2c_data, kDataHeader, kDataHeader + kTransferBytesMax, true, true},
};

std::unexpected<FatalError> bad_field(std::uint32_t offset) {
  return std::unexpected(FatalError{FatalStatus::invalid_header_field, offset});
}

Bytes new_pdu(PduType type, std::uint8_t hlen, std::uint32_t plen) {
  Bytes pdu(plen);
  put_field(pdu, 0, static_cast<std::uint8_t>(type), 1);
  put_field(pdu, 2, hlen, 1);
  put_field(pdu, 4, plen, 4);
  return pdu;
}

ByteView data_of(const CommonHeader& header, ByteView pdu) {
  return header.plen > header.hlen ? pdu.subspan(header.pdo) : ByteView{};
}

}  // namespace

Parsed<CommonHeader> parse_header(ByteView bytes) {
  const CommonHeader header{
      .type = static_cast<PduType>(get_field(bytes, 0, 1)),
      .flags = static_cast<std::uint8_t>(get_field(bytes, 1, 1)),
      .hlen = static_cast<std::uint8_t>(get_field(bytes, 2, 1)),
      .pdo = static_cast<std::uint8_t>(get_field(bytes, 3, 1)),
      .plen = static_cast<std::uint32_t>(get_field(bytes, 4, 4)),
  };
  const auto shape = std::ranges::find(kShapes, header.type, &Shape::type);
  if (shape == std::end(kShapes)) return bad_field(kTypeField);
  if ((header.flags & kDigestFlags) != 0) return bad_field(kFlagsField);
  if (header.hlen != shape->hlen) return bad_field(kHlenField);
  if (header.plen < header.hlen + (shape->needs_data ? 1u : 0u) || header.plen > shape->plen_max)
    return bad_field(kPlenField);
  // The ICResp asks for no alignment, so that data follow their header at once.
  if (shape->carries_data && header.plen > header.hlen && header.pdo != header.hlen)
    return bad_field(kPdoField);
  return header;
}

Parsed<IcReq> parse_ic_req(const CommonHeader&, ByteView pdu) {
  constexpr std::uint64_t kUnitsMax = 31;
  if (get_field(pdu, 8, 2) != 0)
    return std::unexpected(FatalError{FatalStatus::unsupported_parameter, 8});
  const std::uint64_t units = get_field(pdu, 10, 1);
  if (units > kUnitsMax) return bad_field(10);
  const std::uint64_t r2t_last = get_field(pdu, 12, 4);
  return IcReq{
      .data_alignment = static_cast<std::uint32_t>((units + 1) * 4),
      .r2t_max = static_cast<std::uint32_t>(std::min<std::uint64_t>(r2t_last + 1, 0xFFFFFFFF))};
}

CommandCapsule parse_capsule(const CommonHeader& header, ByteView pdu) {
  return {parse_command(pdu.subspan(kCommonHeaderBytes, kCommandBytes)), data_of(header, pdu)};
}

Parsed<H2cData> parse_h2c_data(const CommonHeader& header, ByteView pdu) {
  const H2cData data{
      .command_id = static_cast<std::uint16_t>(get_field(pdu, 8, 2)),
      .tag = static_cast<std::uint16_t>(get_field(pdu, 10, 2)),
      .offset = static_cast<std::uint32_t>(get_field(pdu, 12, 4)),
      .last = (header.flags & kLastFlag) != 0,
      .data = data_of(header, pdu),
  };
  if (get_field(pdu, 16, 4) != data.data.size()) return bad_field(16);
  return data;
}

// Protocol version 0, no alignment of data, no digests.
Bytes build_ic_resp() {
  Bytes pdu = new_pdu(PduType::ic_resp, kIcBytes, kIcBytes);
  put_field(pdu, 12, kTransferBytesMax, 4);
  return pdu;
}

Bytes build_response(const Completion& completion) {
  Bytes pdu = new_pdu(PduType::response, kDataHeader, kDataHeader);
  put_field(pdu, 8, completion.result, 8);
  put_field(pdu, 16, completion.queue_head, 2);
  put_field(pdu, 18, completion.queue_id, 2);
  put_field(pdu, 20, completion.command_id, 2);
  // Bit 0 is the phase tag, which fabrics have no use for.
  put_field(pdu, 22,
            static_cast<std::uint64_t>(completion.status.code << 1 | completion.status.type << 9),
            2);
  return pdu;
}

Bytes build_r2t(std::uint16_t command_id, std::uint16_t tag, std::uint32_t length) {
  Bytes pdu = new_pdu(PduType::r2t, kDataHeader, kDataHeader);
  put_field(pdu, 8, command_id, 2);
  put_field(pdu, 10, tag, 2);
  put_field(pdu, 16, length, 4);
  return pdu;
}

Bytes build_c2h_data(std::uint16_t command_id, ByteView data, std::uint32_t alignment) {
  const std::uint32_t start = (kDataHeader + alignment - 1) / alignment * alignment;
  const auto size = static_cast<std::uint32_t>(data.size());
  Bytes pdu = new_pdu(PduType::c2h_data, kDataHeader, start + size);
  put_field(pdu, 1, kLastFlag, 1);
  put_field(pdu, 3, start, 1);
  put_field(pdu, 8, command_id, 2);
  put_field(pdu, 16, size, 4);
  std::ranges::copy(data, pdu.begin() + start);
  return pdu;
}

Bytes build_term_req(FatalError error, ByteView pdu) {
  const ByteView part = pdu.first(std::min<std::size_t>(pdu.size(), kTermBytesMax - kDataHeader));
  Bytes term = new_pdu(PduType::c2h_term_req, kDataHeader,
                       kDataHeader + static_cast<std::uint32_t>(part.size()));
  put_field(term, 8, static_cast<std::uint16_t>(error.status), 2);
  put_field(term, 10, error.field, 4);
  std::ranges::copy(part, term.begin() + kDataHeader);
  return term;
}

}  // namespace keyward::sed::nvme
