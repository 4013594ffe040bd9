// Core 3.2.3, and what drives in the field answered.
#include "sed/tcg/packet.h"

#include <gtest/gtest.h>

#include "sed/tcg/hex_fixture.h"

namespace keyward::sed::tcg {
namespace {

ErrorCode refusal(const Bytes& bytes) {
  const Result<ComPacket> parsed = parse_com_packet(bytes);
  return parsed ? ErrorCode{} : parsed.error().code;
}

// The control session's SyncSession of a Samsung PM961 (DTA sedutil issue 524).
const char kPm961[] =
    "00000000 10040000 00000000 00000000 0000004C 00000000 00000000 00000000"
    "00000000 00000000 00000034 00000000 00000000 00000025 F8A80000 00000000"
    "00FFA800 00000000 00FF03F0 84000000 69840000 1002F1F9 F0000000 F1000000";

TEST(Packet, EnvelopesAreBuiltByTheField) {
  TokenWriter request;
  request.control(Control::call).bytes(hex("00000000000000FF"));
  Bytes out(com_packet_bytes(request.size()), std::byte{0xEE});
  write_com_packet({0x1004, 0x0002}, {0x1002, 0x69}, request, out);
  Bytes expected =
      hex("00000000 1004 0002 00000000 00000000 00000030"           // ComPacket: 24 + 12 + 12.
          "00001002 00000069 00000000 0000 0000 00000000 00000018"  // Packet: 12 + 12.
          "000000000000 0000 0000000A F8A8000000 00000000FF 0000");
  expected.resize(512);
  EXPECT_EQ(to_hex(out), to_hex(expected));
}

TEST(Packet, BuffersAreWholeBlocks) {
  EXPECT_EQ(com_packet_bytes(0), 512u);
  EXPECT_EQ(com_packet_bytes(456), 512u);
  EXPECT_EQ(com_packet_bytes(457), 1024u);
}

TEST(Packet, TheAnswerOfARealDriveIsTakenApart) {
  Bytes answer = hex(kPm961);
  answer.resize(2048);  // What lies after it in the buffer.
  const ComPacket parsed = parse_com_packet(answer).value();
  EXPECT_EQ(parsed.com_id, (ComId{0x1004, 0}));
  EXPECT_EQ(parsed.outstanding, 0u);
  ASSERT_EQ(parsed.packets.size(), 1u);
  EXPECT_EQ(parsed.packets[0].session, (SessionNumbers{0, 0}));
  EXPECT_EQ(parsed.packets[0].tokens,
            hex("F8 A800000000000000FF A8000000000000FF03 F0 8400000069 8400001002 F1 F9"
                "F0 00 00 00 F1"));
}

// A Crucial M550 counts no padding (DTA sedutil issue 300).
TEST(Packet, PaddingAfterTheLastSubPacketMayBeMissing) {
  const ComPacket parsed =
      parse_com_packet(hex("00000000 10000000 00000000 00000000 00000049 00000000 00000000 00000000"
                           "00000000 00000000 00000031 00000000 00000000 00000025 F8A80000 00000000"
                           "00FFA800 00000000 00FF03F0 84000000 69840000 0000F1F9 F0010000 F1"))
          .value();
  ASSERT_EQ(parsed.packets.size(), 1u);
  EXPECT_EQ(parsed.packets[0].tokens.size(), 0x25u);
}

TEST(Packet, NothingToSayAndNotYetAreTold) {
  const ComPacket nothing =
      parse_com_packet(hex("00000000 07FE0000 00000000 00000000 00000000")).value();
  EXPECT_TRUE(nothing.packets.empty());
  EXPECT_EQ(nothing.outstanding, 0u);
  const ComPacket not_yet =
      parse_com_packet(hex("00000000 07FE0000 00000001 00000200 00000000")).value();
  EXPECT_EQ(not_yet.outstanding, 1u);
  EXPECT_EQ(not_yet.min_transfer, 512u);
}

TEST(Packet, CreditIsPassedOverAndDataIsJoined) {
  const ComPacket parsed =
      parse_com_packet(hex("00000000 10000000 00000000 00000000 00000048"
                           "00000001 00000002 00000000 00000000 00000000 00000030"
                           "000000000000 8001 00000004 00000010"
                           "000000000000 0000 00000001 F0 000000"
                           "000000000000 0000 00000001 F1 000000"))
          .value();
  ASSERT_EQ(parsed.packets.size(), 1u);
  EXPECT_EQ(parsed.packets[0].session, (SessionNumbers{1, 2}));
  EXPECT_EQ(parsed.packets[0].tokens, hex("F0F1"));
}

TEST(Packet, SeveralPacketsKeepTheirSessions) {
  const ComPacket parsed =
      parse_com_packet(hex("00000000 10000000 00000000 00000000 00000040"
                           "00000001 00000002 00000000 00000000 00000000 00000010"
                           "000000000000 0000 00000001 FA 000000"
                           "00000000 00000000 00000000 00000000 00000000 00000000"))
          .value();
  ASSERT_EQ(parsed.packets.size(), 2u);
  EXPECT_EQ(parsed.packets[0].tokens, hex("FA"));
  EXPECT_TRUE(parsed.packets[1].tokens.empty());
}

TEST(Packet, LengthsThatContradictEachOtherAreRefused) {
  EXPECT_EQ(refusal({}), ErrorCode::protocol);
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 000000")), ErrorCode::protocol);
  // A ComPacket longer than the buffer, a Packet longer than it, a SubPacket longer than that.
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 00000018")), ErrorCode::protocol);
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 00000018"
                        "00000000 00000000 00000000 00000000 00000000 00000001 00")),
            ErrorCode::protocol);
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 00000024"
                        "00000000 00000000 00000000 00000000 00000000 0000000C"
                        "000000000000 0000 FFFFFFFF")),
            ErrorCode::protocol);
  // A header that is cut off, and an unknown kind.
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 00000017"
                        "00000000 00000000 00000000 00000000 00000000 000000")),
            ErrorCode::protocol);
  EXPECT_EQ(refusal(hex("00000000 10000000 00000000 00000000 00000024"
                        "00000000 00000000 00000000 00000000 00000000 0000000C"
                        "000000000000 8002 00000000")),
            ErrorCode::protocol);
}

TEST(Packet, EveryPrefixOfAnAnswerIsRefusedOrWhole) {
  const Bytes answer = hex(kPm961);
  for (std::size_t size = 0; size < answer.size(); ++size)
    EXPECT_EQ(refusal(Bytes(answer.begin(), answer.begin() + static_cast<std::ptrdiff_t>(size))),
              ErrorCode::protocol)
        << size;
}

}  // namespace
}  // namespace keyward::sed::tcg
