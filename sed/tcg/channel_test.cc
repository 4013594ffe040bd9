// The channel against a drive that says what is written down here: Core 3.3.10, and what drives in
// the field do beside it.
#include "sed/tcg/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sed/tcg/scripted_drive_fixture.h"
#include "sed/tcg/token.h"

namespace keyward::sed::tcg {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;

constexpr std::uint16_t kComId = 0x1000;
const Bytes kAnswer = hex("F0 F1 F9 F0 00 00 00 F1");
const SessionNumbers kSession{0x1002, 0x01};

class ChannelTest : public ::testing::Test {
 protected:
  Channel channel(ChannelOptions options = {}) {
    return Channel::open(drive, clock, found, std::move(options)).value();
  }
  Channel enterprise() {
    found.sscs = {{.ssc = Ssc::enterprise, .base_com_id = 0x07FE, .com_ids = 2}};
    return channel();
  }
  Bytes in_session(const Bytes& tokens = kAnswer) {
    return com_packet(kComId, tokens, kSession.tper, kSession.host);
  }
  // A STACK_RESET's answer (Core 3.3.4.3.2).
  static Bytes reset_answer(std::uint32_t result, std::uint16_t size = 4) {
    Bytes out = hex("1000 0000 00000002 0000");
    append_big_endian(size, 2, out);
    append_big_endian(result, 4, out);
    return out;
  }
  TokenWriter request() {
    TokenWriter writer;
    writer.control(Control::end_of_session);
    return writer;
  }

  ScriptedDrive drive;
  SteppingClock clock;
  Discovery found = [] {
    Discovery discovery;
    discovery.sscs = {{.ssc = Ssc::opal2, .base_com_id = kComId, .com_ids = 1}};
    return discovery;
  }();
};

TEST_F(ChannelTest, OneRequestIsTwoCommands) {
  Channel c = channel();
  drive.answer(in_session());
  const Packet answer = c.exchange(kSession, request()).value();
  EXPECT_EQ(answer.tokens, kAnswer);
  ASSERT_EQ(drive.sent.size(), 1u);
  EXPECT_EQ(drive.sent[0].protocol, Protocol::tcg);
  EXPECT_EQ(drive.sent[0].specific, kComId);
  Bytes expected = com_packet(kComId, hex("FA"), kSession.tper, kSession.host);
  expected.resize(512);
  EXPECT_EQ(to_hex(drive.sent[0].payload), to_hex(expected));
  EXPECT_THAT(drive.buffers, ElementsAre(2048));
  EXPECT_TRUE(clock.waits.empty());
}

TEST_F(ChannelTest, NotYetIsAskedAgainAtLongerAndLongerIntervals) {
  Channel c = channel();
  for (int n = 0; n < 7; ++n) drive.answer(no_answer(kComId, 1, 0));
  drive.answer(in_session());
  EXPECT_TRUE(c.exchange(kSession, request()));
  using namespace std::chrono_literals;
  EXPECT_THAT(clock.waits, ElementsAre(1ms, 2ms, 4ms, 8ms, 16ms, 25ms, 25ms));
  EXPECT_FALSE(c.hangs());
}

TEST_F(ChannelTest, APromisedAnswerIsAwaitedForAMinuteAndThenHangs) {
  Channel c = channel();
  drive.answer(no_answer(kComId, 1, 0));
  drive.last_repeats = true;
  const Result<Packet> answer = c.exchange(kSession, request());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::timeout);
  EXPECT_TRUE(c.hangs());
  EXPECT_EQ(clock.monotonic().time_since_epoch(), std::chrono::seconds(60));
}

TEST_F(ChannelTest, SilenceIsAwaitedForTenSeconds) {
  Channel c = channel();
  const Result<Packet> answer = c.exchange(kSession, request());
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::timeout);
  EXPECT_TRUE(c.hangs());
  EXPECT_EQ(clock.monotonic().time_since_epoch(), std::chrono::seconds(10));
}

TEST_F(ChannelTest, SilenceIsCountedFromTheLastPromise) {
  Channel c = channel();
  for (int n = 0; n < 800; ++n) drive.answer(no_answer(kComId, 1, 0));  // 20 s.
  drive.answer(no_answer(kComId));
  drive.answer(in_session());
  EXPECT_TRUE(c.exchange(kSession, request()));
}

TEST_F(ChannelTest, ABufferThatIsTooSmallGrows) {
  Channel c = channel();
  drive.answer(no_answer(kComId, 5000, 5000));
  drive.answer(in_session());
  EXPECT_TRUE(c.exchange(kSession, request()));
  EXPECT_THAT(drive.buffers, ElementsAre(2048, 5120));
  EXPECT_TRUE(clock.waits.empty());
}

TEST_F(ChannelTest, AnExpectedSizeSavesThat) {
  Channel c = channel();
  drive.answer(in_session());
  EXPECT_TRUE(c.exchange(kSession, request(), 5000));
  EXPECT_THAT(drive.buffers, ElementsAre(5120));
}

TEST_F(ChannelTest, ABufferBeyondReasonIsRefused) {
  Channel c = channel();
  drive.answer(no_answer(kComId, 1u << 31, 1u << 31));
  EXPECT_EQ(c.exchange(kSession, request()).error().code, ErrorCode::protocol);
  EXPECT_TRUE(c.hangs());
}

TEST_F(ChannelTest, AnAnswerInSeveralComPacketsIsJoined) {
  Channel c = channel();
  Bytes first = in_session(hex("F0 F1"));
  first[11] = std::byte{8};  // OutstandingData.
  drive.answer(first);
  drive.answer(in_session(hex("F9 F0 00 00 00 F1")));
  EXPECT_EQ(c.exchange(kSession, request()).value().tokens, kAnswer);
}

TEST_F(ChannelTest, PacketsOfOtherSessionsArePassedOver) {
  Channel c = channel();
  drive.answer(com_packet(kComId, kAnswer, 7, 7));
  drive.answer(in_session(hex("FA")));
  EXPECT_EQ(c.exchange(kSession, request()).value().tokens, hex("FA"));
}

TEST_F(ChannelTest, AWordOfTheControlSessionIsHandedOn) {
  Channel c = channel();
  drive.answer(com_packet(kComId, hex("F8 A0 A0 F0 F1 F9 F0 00 00 00 F1")));
  const Packet answer = c.exchange(kSession, request()).value();
  EXPECT_EQ(answer.session, SessionNumbers{});
}

TEST_F(ChannelTest, AnAnswerForAnotherComIdIsRefused) {
  Channel c = channel();
  drive.answer(com_packet(0x1001, kAnswer, kSession.tper, kSession.host));
  EXPECT_EQ(c.exchange(kSession, request()).error().code, ErrorCode::protocol);
}

TEST_F(ChannelTest, ABusyDriveIsAskedAgainAndNothingIsSentTwice) {
  Channel c = channel();
  drive.fail_send(ErrorCode::busy);
  drive.fail_send(ErrorCode::busy);
  drive.fail_receive(ErrorCode::busy);
  drive.answer(in_session());
  EXPECT_TRUE(c.exchange(kSession, request()));
  EXPECT_EQ(drive.sent.size(), 3u);  // Two that it did not take.
  EXPECT_EQ(drive.received.size(), 2u);
}

TEST_F(ChannelTest, ADriveThatStaysBusyIsGivenUpWithoutHanging) {
  Channel c = channel();
  for (int n = 0; n < 10'000; ++n) drive.fail_send(ErrorCode::busy);
  EXPECT_EQ(c.exchange(kSession, request()).error().code, ErrorCode::busy);
  EXPECT_FALSE(c.hangs());
}

TEST_F(ChannelTest, AnAnswerThatNobodyFetchedIsClearedAwayBeforeASession) {
  Channel c = channel();
  drive.fail_send(ErrorCode::conflict);
  drive.answer(reset_answer(0));
  drive.answer(com_packet(kComId, kAnswer));
  EXPECT_TRUE(c.exchange({}, request()));
  ASSERT_EQ(drive.sent.size(), 3u);
  EXPECT_EQ(drive.sent[1].protocol, Protocol::com_id);
  EXPECT_EQ(drive.sent[1].specific, kComId);
  Bytes expected = hex("1000 0000 00000002");
  expected.resize(512);
  EXPECT_EQ(drive.sent[1].payload, expected);
  EXPECT_EQ(drive.sent[2].payload, drive.sent[0].payload);
}

TEST_F(ChannelTest, InASessionASequenceErrorEndsIt) {
  Channel c = channel();
  drive.fail_send(ErrorCode::conflict);
  EXPECT_EQ(c.exchange(kSession, request()).error().code, ErrorCode::conflict);
  EXPECT_TRUE(c.hangs());
  EXPECT_EQ(drive.sent.size(), 1u);
}

TEST_F(ChannelTest, AfterAHangTheComIdIsClearedFirst) {
  Channel c = channel();
  drive.fail_receive(ErrorCode::timeout);
  EXPECT_EQ(c.exchange(kSession, request()).error().code, ErrorCode::timeout);
  drive.answer(reset_answer(0, 0));  // Pending.
  drive.answer(reset_answer(0));
  drive.answer(com_packet(kComId, kAnswer));
  EXPECT_TRUE(c.exchange({}, request()));
  ASSERT_EQ(drive.sent.size(), 3u);
  EXPECT_EQ(drive.sent[1].protocol, Protocol::com_id);
  EXPECT_FALSE(c.hangs());
}

TEST_F(ChannelTest, AModelThatDiesOfAStackResetIsDrainedInstead) {
  Channel c = channel({.quirks = {.no_stack_reset = true}});
  c.note_hang();
  drive.answer(no_answer(kComId, 3000, 3000));
  drive.answer(com_packet(kComId, kAnswer));
  drive.answer(no_answer(kComId));
  drive.answer(com_packet(kComId, hex("FA")));
  EXPECT_EQ(c.exchange({}, request()).value().tokens, hex("FA"));
  ASSERT_EQ(drive.sent.size(), 1u);
  EXPECT_EQ(drive.sent[0].protocol, Protocol::tcg);
}

TEST_F(ChannelTest, ADriveWithoutStackResetIsDrainedInstead) {
  Channel c = channel();
  c.note_hang();
  drive.fail_send(ErrorCode::invalid_argument);
  drive.answer(no_answer(kComId));
  drive.answer(com_packet(kComId, kAnswer));
  EXPECT_TRUE(c.exchange({}, request()));
}

TEST_F(ChannelTest, ARefusedStackResetIsSaid) {
  Channel c = channel();
  drive.answer(reset_answer(1));
  EXPECT_EQ(c.reset_stack().error().code, ErrorCode::unsupported);
  for (int n = 0; n < 1000; ++n) drive.answer(reset_answer(0, 0));
  EXPECT_EQ(c.reset_stack().error().code, ErrorCode::timeout);
}

TEST_F(ChannelTest, WhatItMayHaveTakenHangs) {
  for (const ErrorCode code : {ErrorCode::timeout, ErrorCode::unavailable, ErrorCode::io}) {
    Channel c = channel();
    drive.fail_send(code);
    EXPECT_EQ(c.exchange(kSession, request()).error().code, code);
    EXPECT_TRUE(c.hangs());
  }
}

TEST_F(ChannelTest, WhatTheDriveDidNotTakeDoesNotHang) {
  Channel c = channel();
  for (const ErrorCode code :
       {ErrorCode::invalid_argument, ErrorCode::unsupported, ErrorCode::not_permitted}) {
    drive.fail_send(code);
    EXPECT_EQ(c.exchange(kSession, request()).error().code, code);
    EXPECT_FALSE(c.hangs());
  }
}

TEST_F(ChannelTest, PropertiesAreLearntOnce) {
  Channel c = channel();
  EXPECT_EQ(c.request_bytes_max(), 1992u - 96u);
  EXPECT_EQ(c.answer_bytes_max(), 1992u - 96u);
  // By Core 5.2.2: sizes as a Western Digital SN730 gives them (DTA sedutil issue 507).
  drive.answer(com_packet(
      kComId, hex("F8 A800000000000000FF A8000000000000FF01 F0 F0"
                  "F2 D010 4D6178436F6D5061636B657453697A65 82 4200 F3"  // MaxComPacketSize
                  "F2 D018 4D6178526573706F6E7365436F6D5061636B657453697A65 82 4200 F3"  // Response
                  "F2 AD 4D61785061636B657453697A65 82 41EC F3"
                  "F2 AF 4D6178496E64546F6B656E53697A65 82 4004 F3"
                  "F2 AB 4D617853657373696F6E73 01 F3"
                  "F2 D012 4D617841757468656E7469636174696F6E73 02 F3"
                  "F1 F2 00 F0 F2 D010 4D6178436F6D5061636B657453697A65 83 010000 F3 F1 F3"
                  "F1 F9 F0 00 00 00 F1")));
  EXPECT_FALSE(c.properties_are_known());
  ASSERT_TRUE(c.negotiate());
  ASSERT_TRUE(c.negotiate());
  EXPECT_EQ(drive.sent.size(), 1u);
  EXPECT_TRUE(c.properties_are_known());
  EXPECT_EQ(c.properties().com_packet_bytes_max, 0x4200u);
  EXPECT_EQ(c.properties().packet_bytes_max, 0x41ECu);
  EXPECT_EQ(c.properties().token_bytes_max, 0x4004u);
  EXPECT_EQ(c.properties().response_bytes_max, 0x4200u);
  EXPECT_EQ(c.properties().authentications_max, 2u);
  EXPECT_EQ(c.request_bytes_max(), 0x4004u - 96u);
  EXPECT_EQ(c.answer_bytes_max(), 0x4200u - 56u - 96u);
  const Bytes tokens(drive.sent[0].payload.begin() + 56, drive.sent[0].payload.end());
  EXPECT_TRUE(
      to_hex(tokens).starts_with(to_hex(hex("F8 A800000000000000FF A8000000000000FF01 F0 F2 00 F0"
                                            "F2 D010 4D6178436F6D5061636B657453697A65 83 010000 F3"
                                            "F2 AD 4D61785061636B657453697A65 82 FFEC F3"
                                            "F2 AF 4D6178496E64"))));
  const std::optional<Properties> again = Properties::parse(c.properties().render());
  EXPECT_EQ(again, c.properties());
}

// A WD HUH721212 repeats none of the host's properties (go-tcg-storage issue 116).
TEST_F(ChannelTest, WithoutOursThePropertiesStillTellTheDrives) {
  Channel c = enterprise();
  EXPECT_EQ(c.request_bytes_max(), 968u - 96u);
  drive.answer(com_packet(0x07FE, hex("F8 A800000000000000FF A8000000000000FF01 F0 F0"
                                      "F2 D010 4D6178436F6D5061636B657453697A65 82 0800 F3"
                                      "F1 F1 F9 F0 00 00 00 F1")));
  ASSERT_TRUE(c.negotiate());
  EXPECT_EQ(c.request_bytes_max(), 2048u - 56u - 96u);
  EXPECT_EQ(c.answer_bytes_max(), 1024u - 56u - 96u);
  const Bytes tokens(drive.sent[0].payload.begin() + 56, drive.sent[0].payload.end());
  EXPECT_TRUE(to_hex(tokens).starts_with(
      to_hex(hex("F8 A800000000000000FF A8000000000000FF01 F0"
                 "F2 AE 486F737450726F70657274696573"))));  // "HostProperties"
}

TEST_F(ChannelTest, WhatTheDriveRepeatsTooSmallIsTheLeast) {
  Channel c = channel();
  drive.answer(com_packet(
      kComId, hex("F8 A800000000000000FF A8000000000000FF01 F0 F0 F1 F2 00 F0"
                  "F2 D010 4D6178436F6D5061636B657453697A65 07 F3 F1 F3 F1 F9 F0 00 00 00 F1")));
  ASSERT_TRUE(c.negotiate());
  EXPECT_EQ(c.answer_bytes_max(), 1992u - 96u);
}

TEST_F(ChannelTest, PropertiesThatMakeNoSenseLeaveTheSmallestPackets) {
  for (const char* tokens :
       {"F8 A800000000000000FF A8000000000000FF01 F0 F0 F2 D010 4D61",  // Cut off.
        "F8 A800000000000000FF A8000000000000FF01 F0 F1 F9 F0 0C 00 00 F1",
        "F8 A800000000000000FF A8000000000000FF01 F0 F0 F2 D010 4D6178436F6D5061636B657453697A65"
        "81 40 F3 F1 F1 F9 F0 00 00 00 F1"}) {
    Channel c = channel();
    drive.answer(com_packet(kComId, hex(tokens)));
    EXPECT_TRUE(c.negotiate());
    EXPECT_TRUE(c.properties_are_known());
    EXPECT_EQ(c.properties(), Properties{});
  }
}

TEST_F(ChannelTest, KnownPropertiesCountForRequestsAndNotForAnswers) {
  Properties known;
  known.com_packet_bytes_max = 65536;
  known.packet_bytes_max = 65516;
  known.token_bytes_max = 65480;
  Channel c = channel({.known = known});
  EXPECT_EQ(c.request_bytes_max(), 65480u - 96u);
  EXPECT_EQ(c.answer_bytes_max(), 1992u - 96u);
}

TEST_F(ChannelTest, KnowledgeThatMakesNoSenseIsForgotten) {
  EXPECT_FALSE(Properties::parse({}));
  EXPECT_FALSE(Properties::parse(Bytes(28)));
  Bytes longer = Properties{}.render();
  longer.push_back(std::byte{0});
  EXPECT_FALSE(Properties::parse(longer));
}

TEST_F(ChannelTest, WhatDoesNotFitIsNotSent) {
  Channel c = channel();
  TokenWriter large;
  large.bytes(Bytes(2000));
  EXPECT_EQ(c.exchange(kSession, large).error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(drive.sent.empty());
}

TEST_F(ChannelTest, AComIdIsAskedForWhereDiscoveryNamesNone) {
  found.sscs = {{.ssc = Ssc::opal2, .base_com_id = 0}};
  drive.answer(hex("1234 5678"));
  Channel c = channel();
  ASSERT_EQ(drive.received.size(), 1u);
  EXPECT_EQ(drive.received[0].protocol, Protocol::com_id);
  EXPECT_EQ(drive.received[0].specific, 0);
  EXPECT_EQ(c.com_id(), (ComId{0x1234, 0x5678}));
  drive.answer(com_packet(0x1234, kAnswer));
  ASSERT_TRUE(c.exchange({}, request()));
  EXPECT_EQ(to_hex(drive.sent[0].payload).substr(0, 16), "0000000012345678");
  drive.answer(hex("0000 0000"));
  EXPECT_EQ(Channel::open(drive, clock, found, {}).error().code, ErrorCode::unsupported);
}

TEST_F(ChannelTest, ADriveWithoutAClassOrWithoutSynchronousSpeechIsRefused) {
  found.tper = TperFeature{};
  EXPECT_EQ(Channel::open(drive, clock, found, {}).error().code, ErrorCode::unsupported);
  EXPECT_EQ(Channel::open(drive, clock, {}, {}).error().code, ErrorCode::unsupported);
}

TEST_F(ChannelTest, ResetsAndBlockSidHaveTheirOwnNumbers) {
  Channel c = channel();
  ASSERT_TRUE(c.reset_tper());
  ASSERT_TRUE(c.block_sid(Channel::Until::power_cycle));
  ASSERT_TRUE(c.block_sid(Channel::Until::hardware_reset));
  ASSERT_EQ(drive.sent.size(), 3u);
  for (const auto& sent : drive.sent) {
    EXPECT_EQ(sent.protocol, Protocol::com_id);
    EXPECT_EQ(sent.payload.size(), 512u);
  }
  EXPECT_EQ(drive.sent[0].specific, 4);
  EXPECT_EQ(drive.sent[1].specific, 5);
  EXPECT_EQ(drive.sent[1].payload[0], std::byte{0});
  EXPECT_EQ(drive.sent[2].payload[0], std::byte{1});
  EXPECT_TRUE(drive.received.empty());
  drive.fail_send(ErrorCode::invalid_argument);
  EXPECT_EQ(c.reset_tper().error().code, ErrorCode::unsupported);
  drive.fail_send(ErrorCode::invalid_argument);
  EXPECT_EQ(c.block_sid(Channel::Until::power_cycle).error().code, ErrorCode::unsupported);
}

TEST_F(ChannelTest, ASecretTravelsWhole) {
  Channel c = channel();
  Bytes pin = hex("000102030405060708090A0B0C0D0E0F");
  const Bytes expected = com_packet(kComId, hex("D010 000102030405060708090A0B0C0D0E0F"));
  const SecretBytes secret = SecretBytes::take_from(pin).value();
  TokenWriter writer;
  writer.secret(secret);
  drive.answer(com_packet(kComId, kAnswer));
  ASSERT_TRUE(c.exchange({}, writer));
  EXPECT_EQ(to_hex(drive.sent[0].payload).substr(0, 2 * expected.size()), to_hex(expected));
}

}  // namespace
}  // namespace keyward::sed::tcg
