// ComIDs, packets and sessions: what is answered, what is passed over, what ends a session. The
// cases beside the ordinary ones follow the error cases (ETC) of TCG's Opal test cases.
#include <gtest/gtest.h>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

class ProtocolTest : public DriveTest {
 protected:
  // Both halves of a request on protocol 02h.
  std::string manage(std::uint16_t com_id, std::uint32_t code) {
    std::string request = {static_cast<char>(com_id >> 8), static_cast<char>(com_id), 0, 0, 0, 0, 0,
                           static_cast<char>(code)};
    request.resize(512);
    EXPECT_EQ(drive().security_send(2, com_id, std::as_bytes(std::span(request))), BusStatus::good);
    std::string answer(512, '\xEE');
    EXPECT_EQ(drive().security_receive(2, com_id, std::as_writable_bytes(std::span(answer))),
              BusStatus::good);
    return answer;
  }
};

const Tokens kProperties = call(0xFF, 0xFF01, "");

// Core 3.3.7.1.1: the numbers below are kept for special sessions.
TEST_F(ProtocolTest, SessionsHaveNumbersFrom4096On) {
  wire::WireHost h = host();
  for (std::uint32_t expected = 4096; expected < 4099; ++expected) {
    const Reply started = h.start(kAdminSp);
    EXPECT_EQ(started.status, kSuccess);
    EXPECT_EQ(h.tsn(), expected);
    h.end();
  }
}

TEST_F(ProtocolTest, ASecondRequestBeforeTheAnswerWasFetchedIsASequenceError) {
  WireHost h = host();
  EXPECT_EQ(h.send_raw(h.envelope(kProperties, 0, 0)), BusStatus::good);
  EXPECT_EQ(h.send_raw(h.envelope(kProperties, 0, 0)), BusStatus::out_of_sequence);
  EXPECT_FALSE(h.fetch().empty);
  EXPECT_TRUE(h.fetch().empty);  // Only once.
  EXPECT_EQ(h.send_raw(h.envelope(kProperties, 0, 0)), BusStatus::good);
}

TEST_F(ProtocolTest, ABufferThatIsTooSmallHearsTheSizeAndConsumesNothing) {
  WireHost h = host();
  h.send_raw(h.envelope(kProperties, 0, 0));
  const Reply small = h.fetch(100);
  EXPECT_TRUE(small.empty);
  EXPECT_GT(small.min_transfer, 100u);
  EXPECT_EQ(small.outstanding, small.min_transfer);
  EXPECT_FALSE(h.fetch(small.min_transfer).empty);
}

TEST_F(ProtocolTest, PropertiesRaiseWhatIsTooSmallAndPassOverWhatIsUnknown) {
  WireHost h = host();
  const Reply reply = h.control(
      call(0xFF, 0xFF01,
           nam(0, lst(nam(tok("MaxComPacketSize"), num(4096)) + nam(tok("MaxPacketSize"), num(7)) +
                      nam(tok("NoSuchThing"), num(1))))));
  ASSERT_EQ(reply.status, kSuccess);
  EXPECT_EQ(reply.cell("MaxSessions")->number, 1u);
  EXPECT_EQ(reply.cell("MaxComPacketSize")->number, options_.max_com_packet);
  const std::string& sent = reply.payload;  // The host's own follow the TPer's.
  const std::string theirs = sent.substr(sent.rfind("MaxComPacketSize"));
  EXPECT_EQ(theirs.substr(16, 3), num(4096));
  EXPECT_EQ(sent.substr(sent.rfind("MaxPacketSize") + 13, 3), num(2028));
  EXPECT_EQ(sent.find("NoSuchThing"), std::string::npos);
}

// Core 5.2.2.3.
TEST_F(ProtocolTest, HostPropertiesCountForSessionsThatStartAfterwards) {
  take_ownership();
  WireHost h = host();
  const Tokens block = lst(nam(1, num(0)) + nam(2, num(2999)));
  ASSERT_EQ(start_admin1(h).status, kSuccess);
  h.control(call(
      0xFF, 0xFF01,
      nam(0, lst(nam(tok("MaxComPacketSize"), num(8192)) + nam(tok("MaxPacketSize"), num(8172))))));
  EXPECT_EQ(h.invoke(kDataStore, 0x16, block).status, kResponseOverflow);
  h.end();
  ASSERT_EQ(start_admin1(h).status, kSuccess);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, block).status, kSuccess);
}

TEST_F(ProtocolTest, OtherComIdsAndProtocolsAreRefused) {
  drive();
  Bytes buffer(2048);
  EXPECT_EQ(drive().security_send(1, 0x1001, buffer), BusStatus::invalid_com_id);
  EXPECT_EQ(drive().security_receive(1, 0x1001, buffer), BusStatus::invalid_com_id);
  EXPECT_EQ(drive().security_send(1, 0x0001, buffer), BusStatus::invalid_com_id);
  EXPECT_EQ(drive().security_send(3, 0x1000, buffer), BusStatus::unsupported_protocol);
  EXPECT_EQ(drive().security_send(0, 0x0000, buffer), BusStatus::unsupported_protocol);
  EXPECT_EQ(drive().security_receive(0, 0x0002, buffer), BusStatus::invalid_com_id);
  EXPECT_EQ(drive().security_send(1, 0x1000, Bytes(16)), BusStatus::invalid_length);
  EXPECT_EQ(drive().security_send(1, 0x1000, Bytes(options_.max_com_packet + 512)),
            BusStatus::invalid_length);
  EXPECT_EQ(drive().security_receive(1, 0x1000, MutableByteView(buffer).first(16)),
            BusStatus::invalid_length);
}

TEST_F(ProtocolTest, PacketsOfAnotherSessionArePassedOver) {
  WireHost h = host();
  ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
  const Tokens get = call(kPinMsid, 0x0000000600000016, lst(""));
  for (const auto& [tsn, hsn] : {std::pair{h.tsn() + 1, 0x69u}, {h.tsn(), 0x70u}, {0u, 0x69u}}) {
    EXPECT_EQ(h.send_raw(h.envelope(get, tsn, hsn)), BusStatus::good);
    EXPECT_TRUE(h.fetch().empty) << tsn << "/" << hsn;
  }
  EXPECT_EQ(h.get(kPinMsid, 3, 3).status, kSuccess);  // The session itself is unharmed.
}

TEST_F(ProtocolTest, AnUnexpectedTokenEndsTheSession) {
  const Tokens get = call(kPinMsid, 0x0000000600000016, lst(""));
  std::string bad_status = get;
  bad_status[bad_status.size() - 2] = 1;
  for (const Tokens& stream :
       {'\xF1' + get, std::string("\xF8\xF1") + get.substr(1), get.substr(0, get.size() - 1),
        bad_status, get + get, std::string("\xFC\x00", 2), std::string("\x05")}) {
    WireHost h = host();
    ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
    const std::uint32_t tsn = h.tsn();
    const Reply reply = h.stream(stream);
    EXPECT_TRUE(reply.is_call_of(0xFF06));
    EXPECT_EQ(reply.tper_session, 0u);
    EXPECT_EQ(reply.tokens[4].number, 0x69u);
    EXPECT_EQ(reply.tokens[5].number, tsn);
    EXPECT_TRUE(h.stream(get).empty);
    EXPECT_EQ(h.start(kAdminSp).status, kSuccess);  // And makes room for the next.
    h.end();
  }
}

TEST_F(ProtocolTest, OnTheControlSessionTheSameIsPassedOver) {
  WireHost h = host();
  const Tokens start = call(0xFF, 0xFF02, num(1) + uid(kAdminSp) + num(1));
  EXPECT_TRUE(h.control('\xF1' + start).empty);
  EXPECT_TRUE(h.control(start.substr(0, 20)).empty);
  EXPECT_TRUE(h.control(call(0xFF, 0xFF77, "")).empty);
  EXPECT_TRUE(h.control(call(1, 0xFF02, "")).empty);
  EXPECT_EQ(h.control(start).status, kSuccess);
}

TEST_F(ProtocolTest, LengthsThatContradictEachOtherEndTheSession) {
  WireHost h = host();
  for (const std::size_t field : {19u, 43u, 55u}) {
    ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
    std::string raw = h.envelope(call(kPinMsid, 0x0000000600000016, lst("")), h.tsn(), 0x69);
    raw[field] = static_cast<char>(raw[field] + 4);
    EXPECT_EQ(h.send_raw(raw), BusStatus::good);
    EXPECT_TRUE(h.fetch().is_call_of(0xFF06)) << field;
  }
}

TEST_F(ProtocolTest, ASecondSubPacketIsOverTheLimit) {
  WireHost h = host();
  ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
  std::string raw = h.envelope(call(kPinMsid, 0x0000000600000016, lst("")), h.tsn(), 0x69);
  const std::string sub = raw.substr(44);
  raw += sub;
  raw[19] = static_cast<char>(raw[19] + static_cast<char>(sub.size()));
  raw[43] = static_cast<char>(raw[43] + static_cast<char>(sub.size()));
  EXPECT_EQ(h.send_raw(raw), BusStatus::good);
  EXPECT_TRUE(h.fetch().is_call_of(0xFF06));
}

TEST_F(ProtocolTest, StartSessionChecksItsParameters) {
  WireHost h = host();
  const auto start = [&](const Tokens& parameters) {
    return h.control(call(0xFF, 0xFF02, parameters)).status;
  };
  EXPECT_EQ(start(num(1) + uid(kAdminSp)), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(0x0000020500000009) + num(1)), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(2)), kInvalidParameter);
  EXPECT_EQ(start(num(1) + tok("short") + num(1)), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(1) + nam(9, num(1))), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(1) + nam(5, num(700000))), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(1) + nam(0, num(1))), kInvalidParameter);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(1) + nam(3, uid(0x0000000900000002))),
            kInvalidParameter);  // A class is nobody in particular.
  EXPECT_EQ(start(num(1) + uid(kLockingSp) + num(1)), kInvalidParameter);  // Not active.
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "wrong"}).status, kNotAuthorized);
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid}).status, kNotAuthorized);
  EXPECT_EQ(start(num(1) + uid(kAdminSp) + num(1)), kSuccess);
}

TEST_F(ProtocolTest, OneSessionAtATimeAndWritersAlone) {
  WireHost h = host();
  WireHost other = host();
  ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
  EXPECT_EQ(other.start(kAdminSp).status, kNoSessions);
  h.end();
  drive_.reset();
  options_.max_sessions = 3;
  options_.backing_file = directory_ / "other";
  WireHost first = host();
  WireHost second = host();
  ASSERT_EQ(first.start(kAdminSp, {.write = false}).status, kSuccess);
  EXPECT_EQ(second.start(kAdminSp).status, kSpBusy);
  EXPECT_EQ(second.start(kAdminSp, {.write = false}).status, kSuccess);
}

TEST_F(ProtocolTest, AReadOnlySessionChangesNothing) {
  WireHost h = host();
  const std::string msid = h.msid();
  ASSERT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid, .write = false}).status, kSuccess);
  EXPECT_EQ(h.set(kPinSid, 3, tok("x")).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kLockingSp, 0x203).status, kNotAuthorized);
  EXPECT_EQ(h.get(kPinSid, 4, 7).status, kSuccess);
}

TEST_F(ProtocolTest, ASessionEndsWhenItIsIdleForLongerThanItAskedFor) {
  VirtualClock clock{UtcTime{}};
  options_.clock = &clock;
  WireHost h = host();
  ASSERT_EQ(h.start(kAdminSp, {.more = nam(5, num(5000))}).status, kSuccess);
  clock.advance(std::chrono::seconds(4));
  EXPECT_EQ(h.get(kPinMsid, 3, 3).status, kSuccess);
  clock.advance(std::chrono::seconds(6));
  EXPECT_TRUE(h.stream("\xFA").empty);
  drive_.reset();
}

TEST_F(ProtocolTest, EndOfSessionIsAnsweredWithItself) {
  WireHost h = host();
  ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
  const std::uint32_t tsn = h.tsn();
  const Reply reply = h.end();
  EXPECT_EQ(reply.payload, "\xFA");
  EXPECT_EQ(reply.tper_session, tsn);
  EXPECT_TRUE(h.end().empty);
}

TEST_F(ProtocolTest, ComIdManagementVerifiesAndResetsTheStack) {
  WireHost h = host();
  EXPECT_EQ(manage(0x1000, 1)[15], 2);  // Issued.
  ASSERT_EQ(h.start(kAdminSp).status, kSuccess);
  EXPECT_EQ(manage(0x1000, 1)[15], 3);  // Associated.
  EXPECT_EQ(manage(0x1234, 1)[15], 0);  // Invalid.
  h.send_raw(h.envelope(kProperties, 0, 0));
  const std::string reset = manage(0x1000, 2);
  EXPECT_EQ(reset.substr(10, 6), std::string("\0\4\0\0\0\0", 6));
  EXPECT_TRUE(h.fetch().empty);
  EXPECT_TRUE(h.stream(call(kPinMsid, 0x0000000600000016, lst(""))).empty);
  EXPECT_EQ(manage(0x1234, 2)[15], 1);  // Failure.
  EXPECT_EQ(manage(0x1000, 9).substr(4, 8), std::string(8, '\0'));
}

}  // namespace
}  // namespace keyward::sed
