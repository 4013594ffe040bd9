// Calls byte for byte: Core 3.2.4 and 5.3, Enterprise SSC 1.01 section 10, and what working hosts
// were seen to send.
#include "sed/tcg/dialect.h"

#include <gtest/gtest.h>

#include <functional>

#include "sed/tcg/emulated_tper_fixture.h"
#include "sed/tcg/uids.h"

namespace keyward::sed::tcg {
namespace {

const Words kOpal(Dialect::opal);
const Words kEnterprise(Dialect::enterprise);
const char kEnd[] = " F1 F9 F0 00 00 00 F1";

Bytes written(const std::function<void(TokenWriter&)>& write) {
  TokenWriter writer;
  write(writer);
  Bytes out(writer.size());
  writer.copy_to(out);
  return out;
}

std::string ascii(std::string_view text) { return to_hex(as_bytes(text)); }

TEST(Dialect, GetAsOpalHasIt) {
  EXPECT_EQ(to_hex(written([](TokenWriter& out) {
              ASSERT_TRUE(kOpal.get(pin::kMsid, {3, 3}, out));
            })),
            to_hex(hex(std::string("F8 A80000000B00008402 A80000000600000016 F0"
                                   "F0 F2 03 03 F3 F2 04 03 F3 F1") +
                       kEnd)));
}

// As sedutil asks a drive for it.
TEST(Dialect, GetAsEnterpriseHasIt) {
  EXPECT_EQ(to_hex(written([](TokenWriter& out) {
              ASSERT_TRUE(kEnterprise.get(kEnterpriseLockingInfo, {4, 4}, out));
            })),
            to_hex(hex("F8 A80000080100000000 A80000000600000006 F0 F0 F2 AB" +
                       ascii("startColumn") + "A9" + ascii("MaxRanges") + "F3 F2 A9" +
                       ascii("endColumn") + "A9" + ascii("MaxRanges") + "F3 F1" + kEnd)));
}

TEST(Dialect, SetAsOpalHasIt) {
  const Row row = {{7, std::uint64_t{0}}, {9, List{number(0)}}, {2, hex("4142")}};
  EXPECT_EQ(
      to_hex(written([&](TokenWriter& out) { ASSERT_TRUE(kOpal.set(range::opal(1), row, out)); })),
      to_hex(hex(std::string("F8 A80000080200030001 A80000000600000017 F0 F2 01 F0"
                             "F2 02 A2 4142 F3 F2 07 00 F3 F2 09 F0 00 F1 F3 F1 F3") +
                 kEnd)));
}

TEST(Dialect, SetAsEnterpriseHasIt) {
  const Row row = {{7, std::uint64_t{0}}, {8, std::uint64_t{1}}};
  EXPECT_EQ(to_hex(written(
                [&](TokenWriter& out) { ASSERT_TRUE(kEnterprise.set(range::band(1), row, out)); })),
            to_hex(hex("F8 A80000080200000002 A80000000600000007 F0 F0 F1 F0 F0 F2 AA" +
                       ascii("ReadLocked") + "00 F3 F2 AB" + ascii("WriteLocked") + "01 F3 F1 F1" +
                       kEnd)));
}

TEST(Dialect, PinsAreSetByColumnOrName) {
  const SecretBytes pin = secret_of("secret");
  EXPECT_EQ(to_hex(written([&](TokenWriter& out) {
              ASSERT_TRUE(kOpal.set_pin(pin::kSid, pin, out));
              EXPECT_TRUE(out.holds_secret());
            })),
            to_hex(hex("F8 A80000000B00000001 A80000000600000017 F0 F2 01 F0 F2 03 A6" +
                       ascii("secret") + "F3 F1 F3" + kEnd)));
  EXPECT_EQ(to_hex(written([&](TokenWriter& out) {
              ASSERT_TRUE(kEnterprise.set_pin(pin::band_master(0), pin, out));
            })),
            to_hex(hex("F8 A80000000B00008001 A80000000600000007 F0 F0 F1 F0 F0 F2 A3" +
                       ascii("PIN") + "A6" + ascii("secret") + "F3 F1 F1" + kEnd)));
}

// DTA sedutil issue 474 prints the Enterprise call, with another PIN.
TEST(Dialect, Authenticate) {
  const SecretBytes pin = secret_of("0123456789ABCDEF0123456789ABCDEF");
  EXPECT_EQ(to_hex(written(
                [&](TokenWriter& out) { kEnterprise.authenticate(authority::kSid, &pin, out); })),
            to_hex(hex("F8 A80000000000000001 A8000000060000000C F0 A80000000900000006 F2 A9"
                       "4368616C6C656E6765 D020" +
                       ascii("0123456789ABCDEF0123456789ABCDEF") + "F3" + kEnd)));
  EXPECT_EQ(
      to_hex(written([&](TokenWriter& out) { kOpal.authenticate(authority::user(1), &pin, out); })),
      to_hex(hex("F8 A80000000000000001 A8000000060000001C F0 A80000000900030001 F2 00 D020" +
                 ascii("0123456789ABCDEF0123456789ABCDEF") + "F3" + kEnd)));
}

TEST(Dialect, ByteTables) {
  EXPECT_EQ(to_hex(written([](TokenWriter& out) { kOpal.get_bytes(kDataStore, 0x1000, 16, out); })),
            to_hex(hex(std::string("F8 A80000100100000000 A80000000600000016 F0 F0"
                                   "F2 01 821000 F3 F2 02 82100F F3 F1") +
                       kEnd)));
  EXPECT_EQ(
      to_hex(written([](TokenWriter& out) { kOpal.set_bytes(kMbr, 0x1000, hex("AABB"), out); })),
      to_hex(hex(std::string("F8 A80000080400000000 A80000000600000017 F0"
                             "F2 00 821000 F3 F2 01 A2 AABB F3") +
                 kEnd)));
  EXPECT_EQ(to_hex(written(
                [](TokenWriter& out) { kEnterprise.set_bytes(kDataStore, 1, hex("AABB"), out); })),
            to_hex(hex("F8 A80000100100000000 A80000000600000007 F0 F0 F2 A8" + ascii("startRow") +
                       "01 F3 F1 A2 AABB" + kEnd)));
}

TEST(Dialect, NoCallIsLargerThanItsAllowance) {
  const std::uint64_t far = std::uint64_t{1} << 63;
  for (const Words& words : {kOpal, kEnterprise}) {
    const Bytes content(100'000);
    EXPECT_LE(written([&](TokenWriter& out) { words.set_bytes(kMbr, far, content, out); }).size(),
              content.size() + kCallBytesMax);
  }
}

TEST(Dialect, RowsOfAnswers) {
  const Row opal =
      kOpal.row(range::kGlobal, {list({named(7, number(1)), named(9, list({}))})}).value();
  EXPECT_EQ(opal, (Row{{7, std::uint64_t{1}}, {9, List{}}}));
  const Row enterprise =
      kEnterprise
          .row(range::kGlobal, {list({list({named(text("ReadLocked"), number(1)),
                                            named(text("_MinReadLocked"), number(0))})})})
          .value();
  EXPECT_EQ(enterprise, (Row{{7, std::uint64_t{1}}}));
  EXPECT_TRUE(kOpal.row(pin::kSid, {list({})}).value().empty());
  EXPECT_TRUE(kEnterprise.row(pin::kSid, {list({list({})})}).value().empty());
  for (const List& results : {List{}, List{number(1)}, List{list({number(1)})},
                              List{list({named(3, {.data = std::int64_t{-1}})})}})
    EXPECT_FALSE(kOpal.row(pin::kSid, results));
}

// The whole request, as sedutil sent it to a Samsung PM961 (DTA sedutil issue 524), with another
// PSID.
TEST(Dialect, StartSessionAsAWorkingHostSendsIt) {
  ScriptedDrive drive;
  SteppingClock clock;
  Discovery found;
  found.sscs = {{.ssc = Ssc::opal2, .base_com_id = 0x1004}};
  Channel channel = Channel::open(drive, clock, found, {}).value();
  while (channel.next_host_session() < 0x68) continue;
  drive.answer(
      hex("00000000 10040000 00000000 00000000 0000004C 00000000 00000000 00000000"
          "00000000 00000000 00000034 00000000 00000000 00000025 F8A80000 00000000"
          "00FFA800 00000000 00FF03F0 84000000 69840000 1002F1F9 F0000000 F1000000"));
  const SecretBytes psid = secret_of("0123456789ABCDEF0123456789ABCDEF");
  drive.answer(
      hex("00000000 10040000 00000000 00000000 00000028 00001002 00000069 00000000"
          "00000000 00000000 00000010 00000000 00000000 00000001 FA000000"));
  Session session =
      Session::start(channel, sp::kAdmin, {authority::kPsid, &psid}, Session::Mode::write).value();
  Bytes expected = hex(
      "00000000 10040000 00000000 00000000 0000007C 00000000 00000000 00000000"
      "00000000 00000000 00000064 00000000 00000000 00000058 F8A80000 00000000"
      "00FFA800 00000000 00FF02F0 8169A800 00020500 00000101 F200D020" +
      ascii("0123456789ABCDEF0123456789ABCDEF") + "F3F203A8 00000009 0001FF01 F3F1F9F0 000000F1");
  expected.resize(512);
  EXPECT_EQ(to_hex(drive.sent[0].payload), to_hex(expected));
  ASSERT_TRUE(session.close());
  Bytes end =
      hex("00000000 10040000 00000000 00000000 00000028 00001002 00000069 00000000"
          "00000000 00000000 00000010 00000000 00000000 00000001 FA000000");
  end.resize(512);
  EXPECT_EQ(to_hex(drive.sent[1].payload), to_hex(end));
}

// A Crucial M550 refuses with a TSN of 0 (DTA sedutil issue 300).
TEST(Dialect, StartSessionThatARealDriveRefuses) {
  ScriptedDrive drive;
  SteppingClock clock;
  Discovery found;
  found.sscs = {{.ssc = Ssc::opal2, .base_com_id = 0x1000}};
  Channel channel = Channel::open(drive, clock, found, {}).value();
  drive.answer(
      hex("00000000 10000000 00000000 00000000 00000049 00000000 00000000 00000000"
          "00000000 00000000 00000031 00000000 00000000 00000025 F8A80000 00000000"
          "00FFA800 00000000 00FF03F0 84000000 69840000 0000F1F9 F0010000 F1"));
  const Result<Session> refused =
      Session::start(channel, sp::kAdmin, {authority::kSid, nullptr}, Session::Mode::write);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::auth_failed);
  EXPECT_FALSE(channel.hangs());
  EXPECT_EQ(drive.sent.size(), 1u);
}

// Some Enterprise drives pass over a StartSession with a SessionTimeout (DTA sedutil issue 362), so
// there are no optional arguments.
TEST(Dialect, StartSessionAsEnterpriseHasIt) {
  ScriptedDrive drive;
  SteppingClock clock;
  Discovery found;
  found.sscs = {{.ssc = Ssc::enterprise, .base_com_id = 0x07FE}};
  Channel channel = Channel::open(drive, clock, found, {}).value();
  drive.answer(com_packet(0x07FE, hex("F8 A800000000000000FF A8000000000000FF03 F0 01 05 F1 F9"
                                      "F0 00 00 00 F1")));
  drive.answer(com_packet(0x07FE, hex("F0 01 F1 F9 F0 00 00 00 F1"), 5, 1));
  drive.answer(com_packet(0x07FE, hex("FA"), 5, 1));
  const SecretBytes pin = secret_of("pin");
  ASSERT_TRUE(Session::start(channel, sp::kEnterpriseLocking, {authority::band_master(0), &pin},
                             Session::Mode::write)
                  .value()
                  .close());
  ASSERT_EQ(drive.sent.size(), 3u);
  Bytes expected = com_packet(0x07FE, hex("F8 A800000000000000FF A8000000000000FF02 F0 01"
                                          "A80000020500010001 01 F1 F9 F0 00 00 00 F1"));
  expected.resize(512);
  EXPECT_EQ(to_hex(drive.sent[0].payload), to_hex(expected));
}

}  // namespace
}  // namespace keyward::sed::tcg
