#include <algorithm>

#include "base/check.h"
#include "sed/nvme_tcp/pdu.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed::nvme;

// The views that parsing gives lie inside of the PDU, behind its header.
void check_view(const CommonHeader& header, ByteView pdu, ByteView data) {
  CHECK(data.size() == header.plen - header.hlen, "all that is behind the header is data");
  if (!data.empty())
    CHECK(data.data() == pdu.data() + header.hlen, "data begin where the header ends");
}

void check_connect(const Command& command, ByteView data) {
  const auto request = parse_connect(command, data);
  if (!request) {
    CHECK(request.error().status != status::kSuccess, "a refusal says that it is one");
    return;
  }
  CHECK(data.size() == kConnectDataBytes, "a Connect has data of one size");
  CHECK(request->queue_entries >= 2, "a queue has room for a command");
  const auto same = [&](std::size_t at, std::string_view name) {
    return !name.empty() && name.size() < 224 && text_of(data.subspan(at, name.size())) == name &&
           data[at + name.size()] == std::byte{0};
  };
  CHECK(same(256, request->subsystem) && same(512, request->host), "a name is its field's");
}

void check_capsule(const CommonHeader& header, ByteView pdu) {
  const CommandCapsule capsule = parse_capsule(header, pdu);
  check_view(header, pdu, capsule.data);
  // The entry again, as far as it is looked at.
  Bytes entry(kCommandBytes);
  put_field(entry, 0, capsule.command.opcode, 1);
  put_field(entry, 1, capsule.command.flags, 1);
  put_field(entry, 2, capsule.command.id, 2);
  put_field(entry, 4, capsule.command.nsid, 4);
  put_field(entry, 24, capsule.command.sgl_address, 8);
  put_field(entry, 32, capsule.command.sgl_length, 4);
  put_field(entry, 39, capsule.command.sgl_type, 1);
  for (unsigned n = 10; n < 16; ++n) put_field(entry, 4 * n, capsule.command.cdw(n), 4);
  const ByteView sent = pdu.subspan(kCommonHeaderBytes, kCommandBytes);
  for (const auto& [from, to] : {std::pair(0, 8), std::pair(24, 36), std::pair(39, 64)})
    CHECK(std::equal(entry.begin() + from, entry.begin() + to, sent.begin() + from),
          "a command's fields are written out again as they came");
  check_connect(capsule.command, capsule.data);
}

void check_pdu(const CommonHeader& header, ByteView pdu) {
  CHECK(header.plen <= kPduBytesMax, "no PDU is longer than that");
  if (header.type == PduType::command) check_capsule(header, pdu);
  if (header.type == PduType::ic_req) {
    const auto request = parse_ic_req(header, pdu);
    if (!request) return;
    CHECK(request->data_alignment >= 4 && request->data_alignment <= 128, "1 to 32 dwords");
    const Bytes answer = build_c2h_data(1, pdu.first(8), request->data_alignment);
    const std::uint64_t start = get_field(answer, 3, 1);
    CHECK(start % request->data_alignment == 0 && start + 8 == answer.size(),
          "data are where the host wants them");
  }
  if (header.type == PduType::h2c_data)
    if (const auto data = parse_h2c_data(header, pdu)) check_view(header, pdu, data->data);
}

}  // namespace

// One PDU after the other, as a connection reads them.
void fuzz_nvme_tcp(ByteView input) {
  while (input.size() >= kCommonHeaderBytes) {
    const auto header = parse_header(input.first(kCommonHeaderBytes));
    if (!header) {
      const Bytes end = build_term_req(header.error(), input.first(kCommonHeaderBytes));
      CHECK(get_field(end, 4, 4) == end.size(), "a C2HTermReq says its length");
      return;
    }
    if (header->plen > input.size()) return;
    check_pdu(*header, input.first(header->plen));
    input = input.subspan(header->plen);
  }
}

}  // namespace keyward::fuzz
