// Enterprise SSC: names instead of numbers, bands, BandMasters and the EraseMaster.
#include <gtest/gtest.h>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

constexpr std::uint64_t kEnterpriseLocking = 0x0000020500010001, kBandMaster0 = 0x0000000900008001,
                        kBandMaster1 = 0x0000000900008002, kEraseMaster = 0x0000000900008401,
                        kBand1 = 0x0000080200000002, kPinBandMaster1 = 0x0000000B00008002;

class EnterpriseTest : public DriveTest {
 protected:
  EnterpriseTest() {
    options_.family = Family::enterprise;
    options_.bus = Bus::sas;
  }

  static Tokens columns(std::string_view first, std::string_view last) {
    return lst(nam(tok("startColumn"), tok(first)) + nam(tok("endColumn"), tok(last)));
  }
  Reply get(WireHost& h, std::uint64_t object, std::string_view first, std::string_view last) {
    return h.invoke(object, 0x06, columns(first, last));
  }
  Reply set(WireHost& h, std::uint64_t object, const Tokens& pairs) {
    return h.invoke(object, 0x07, lst("") + lst(lst(pairs)));
  }
  Reply prove(WireHost& h, std::uint64_t who, std::string_view pin) {
    return h.invoke(kThisSp, 0x0C, uid(who) + nam(tok("Challenge"), tok(pin)));
  }
  std::string msid() {
    WireHost h = host();
    h.start(kAdminSp);
    const Reply reply = get(h, kPinMsid, "PIN", "PIN");
    h.end();
    return reply.cell("PIN").value_or(Token{}).bytes;
  }
};

TEST_F(EnterpriseTest, AnswersNameTheirColumnsInAListOfRows) {
  WireHost h = host();
  ASSERT_EQ(h.start(kEnterpriseLocking, {.more = nam(tok("SessionTimeout"), num(60000))}).status,
            kSuccess);
  const Reply reply = get(h, 0x0000080100000000, "MaxRanges", "MaxRanges");
  EXPECT_EQ(reply.status, kSuccess);
  EXPECT_EQ(reply.payload.substr(0, 15), "\xF0\xF0\xF0\xF2\xA9MaxRanges\x08");
  EXPECT_EQ(get(h, kLockingInfo, "NoSuch", "NoSuch").status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kLockingInfo, 0x06, lst(nam(3, num(4)))).status, kInvalidParameter);
  EXPECT_EQ(h.get(kLockingInfo, 4, 4).status, kNotAuthorized);  // Opal's Get.
}

TEST_F(EnterpriseTest, OpalsSpIsNotThere) {
  WireHost h = host();
  EXPECT_EQ(h.start(kLockingSp).status, kInvalidParameter);
  EXPECT_EQ(h.control(call(0xFF, 0xFF02, num(1) + uid(kAdminSp) + num(1) + nam(5, num(1)))).status,
            kInvalidParameter);
}

TEST_F(EnterpriseTest, EachBandIsItsMastersAlone) {
  const std::string pin = msid();
  WireHost h = host();
  h.start(kEnterpriseLocking);
  const Tokens lock = nam(tok("ReadLockEnabled"), num(1)) + nam(tok("WriteLockEnabled"), num(1)) +
                      nam(tok("ReadLocked"), num(1)) + nam(tok("WriteLocked"), num(1));
  EXPECT_EQ(set(h, kGlobalRange, lock).status, kNotAuthorized);
  EXPECT_EQ(prove(h, kBandMaster0, "wrong").tokens[1].number, 0u);
  EXPECT_EQ(prove(h, kBandMaster0, pin).tokens[1].number, 1u);
  EXPECT_EQ(set(h, kBand1, lock).status, kNotAuthorized);
  EXPECT_EQ(set(h, kGlobalRange, nam(tok("RangeStart"), num(8))).status, kNotAuthorized);
  EXPECT_EQ(set(h, kGlobalRange, nam(tok("LockOnReset"), lst(""))).status, kSuccess);
  EXPECT_EQ(set(h, kGlobalRange, lock).status, kSuccess);
  EXPECT_EQ(h.invoke(kGlobalRange, 0x07, lst("") + lst(lock)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kGlobalRange, 0x803).status, kNotAuthorized);
  EXPECT_TRUE(read(0).empty());
  EXPECT_EQ(status_, BusStatus::locked);
}

TEST_F(EnterpriseTest, EraseGivesANewKeyOpensTheBandAndResetsItsMastersPin) {
  const std::string pin = msid();
  WireHost h = host();
  h.start(kEnterpriseLocking);
  prove(h, kBandMaster1, pin);
  ASSERT_EQ(set(h, kBand1,
                nam(tok("RangeStart"), num(1024)) + nam(tok("RangeLength"), num(1024)) +
                    nam(tok("ReadLockEnabled"), num(1)))
                .status,
            kSuccess);
  ASSERT_EQ(set(h, kPinBandMaster1, nam(tok("PIN"), tok("mine"))).status, kSuccess);
  h.end();
  write(1500, 'A');
  write(0, 'G');
  drive().power_cycle();
  EXPECT_TRUE(read(1500).empty());
  h.start(kEnterpriseLocking);
  EXPECT_EQ(prove(h, kBandMaster1, pin).tokens[1].number, 0u);
  EXPECT_EQ(prove(h, kEraseMaster, pin).tokens[1].number, 1u);
  EXPECT_EQ(h.invoke(kBand1, 0x803, num(1)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kBand1, 0x803).status, kSuccess);
  EXPECT_EQ(prove(h, kBandMaster1, pin).tokens[1].number, 1u);
  EXPECT_NE(read(1500), sectors('A'));
  EXPECT_EQ(status_, BusStatus::good);
  EXPECT_EQ(read(0), sectors('G'));
}

TEST_F(EnterpriseTest, ThePsidReverts) {
  const std::string pin = msid();
  WireHost h = host();
  h.start(kAdminSp);
  prove(h, kSid, pin);
  ASSERT_EQ(set(h, kPinSid, nam(tok("PIN"), tok("owner"))).status, kSuccess);
  h.end();
  write(0, 'A');
  h.start(kAdminSp);
  EXPECT_EQ(h.invoke(kAdminSp, 0x202).status, kNotAuthorized);
  EXPECT_EQ(prove(h, kPsid, drive().psid()).tokens[1].number, 1u);
  EXPECT_EQ(h.invoke(kAdminSp, 0x202).status, kSuccess);
  EXPECT_NE(read(0), sectors('A'));
  h.start(kAdminSp);
  EXPECT_EQ(prove(h, kSid, pin).tokens[1].number, 1u);
}

}  // namespace
}  // namespace keyward::sed
