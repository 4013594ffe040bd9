#include "base/check.h"
#include "base/text.h"
#include "sed/tcg/packet.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

using namespace sed::tcg;

// What a request carries comes out as it was put in.
void check_round_trip(const Packet& packet, const ComId& com_id) {
  TokenWriter request;
  request.bytes(packet.tokens);
  Bytes buffer(com_packet_bytes(request.size()));
  write_com_packet(com_id, packet.session, request, buffer);
  const Result<ComPacket> again = parse_com_packet(buffer);
  CHECK(again && again->packets.size() == 1, "a packet of ours is malformed");
  CHECK(again->com_id == com_id && again->packets[0].session == packet.session,
        "a packet of ours has other numbers");
  Bytes tokens(request.size());
  request.copy_to(tokens);
  CHECK(again->packets[0].tokens == tokens, "a packet of ours has other tokens");
}

}  // namespace

void fuzz_tcg_packet(ByteView input) {
  const Result<ComPacket> parsed = parse_com_packet(input);
  if (!parsed) {
    CHECK(parsed.error().code == ErrorCode::protocol, "a malformed packet is a protocol error");
    CHECK(is_printable_utf8(parsed.error().message), "a text for no terminal");
    return;
  }
  std::size_t taken = kComPacketHeaderBytes;
  for (const Packet& packet : parsed->packets) {
    taken += kPacketHeaderBytes + packet.tokens.size();
    check_round_trip(packet, parsed->com_id);
  }
  CHECK(taken <= input.size(), "more came out than went in");
}

}  // namespace keyward::fuzz
