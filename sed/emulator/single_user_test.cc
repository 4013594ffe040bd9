// Single User Mode: each range its user's, and not the Admins'.
#include <gtest/gtest.h>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

constexpr std::uint64_t kUser2 = 0x0000000900030002, kPinUser2 = 0x0000000B00030002;

class SingleUserTest : public DriveTest {
 protected:
  int activate(const Tokens& parameters) {
    WireHost h = host();
    const std::string msid = h.msid();
    EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kSuccess);
    h.set(kPinSid, 3, tok("owner"));
    const int status = h.invoke(kLockingSp, 0x203, parameters).status;
    h.set(kPinSid, 3, tok(msid));
    h.end();
    return status;
  }
  Reply start_user2(WireHost& h, const std::string& pin) {
    return h.start(kLockingSp, {.authority = kUser2, .pin = pin});
  }
};

TEST_F(SingleUserTest, ActivateChecksTheSelection) {
  EXPECT_EQ(activate(nam(0x060000, lst(uid(0x0000080200039999)))), kInvalidParameter);
  EXPECT_EQ(activate(nam(0x060000, lst(uid(kRange1) + uid(kRange1)))), kInvalidParameter);
  EXPECT_EQ(activate(nam(0x060000, uid(kRange1))), kInvalidParameter);
  EXPECT_EQ(activate(nam(0x060001, num(1))), kInvalidParameter);
  EXPECT_EQ(activate(nam(0x060000, uid(0x0000080200000000)) + nam(0x060001, num(2))),
            kInvalidParameter);
  EXPECT_EQ(activate(nam(0x060000, uid(0x0000080200000000))), kSuccess);
}

TEST_F(SingleUserTest, TheUserOwnsItsRangeAlsoAfterARestart) {
  ASSERT_EQ(activate(nam(0x060000, lst(uid(kRange1)))), kSuccess);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(admin_sets(kRange1, nam(3, num(1024)) + nam(4, num(1024))), kNotAuthorized);
    EXPECT_EQ(admin_sets(kRange1, nam(7, num(1))), kNotAuthorized);
    EXPECT_EQ(admin_sets(kPinUser2, nam(3, tok("stolen"))), kNotAuthorized);
    EXPECT_EQ(admin_sets(kUser2, nam(5, num(0))), kNotAuthorized);
    EXPECT_EQ(admin_sets(kRange2, nam(3, num(8192)) + nam(4, num(1024))), kSuccess);
    reopen();
  }
  WireHost h = host();
  ASSERT_EQ(start_user2(h, "").status, kSuccess);
  EXPECT_EQ(h.set(kPinUser2, 3, tok("mine")).status, kSuccess);
  EXPECT_EQ(h.set_row(kRange1, nam(3, num(1024)) + nam(4, num(1024)) + nam(5, num(1))).status,
            kSuccess);
  EXPECT_EQ(h.set(kGlobalRange, 5, num(1)).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kRange1Key, 0x10).status, kSuccess);
  h.end();
  start_admin1(h);
  EXPECT_EQ(h.get(kRange1, 4, 4).cell(4)->number, 1024u);
  EXPECT_EQ(h.invoke(kRange1Key, 0x10).status, kNotAuthorized);
}

TEST_F(SingleUserTest, ThePolicyLetsTheAdminsPlaceRanges) {
  ASSERT_EQ(activate(nam(0x060000, lst(uid(kRange1))) + nam(0x060001, num(1))), kSuccess);
  EXPECT_EQ(admin_sets(kRange1, nam(3, num(1024)) + nam(4, num(1024))), kSuccess);
  WireHost h = host();
  ASSERT_EQ(start_user2(h, "").status, kSuccess);
  EXPECT_EQ(h.set(kRange1, 4, num(2048)).status, kNotAuthorized);
  EXPECT_EQ(h.set(kRange1, 5, num(1)).status, kSuccess);
}

TEST_F(SingleUserTest, EraseByAdmin1DestroysTheDataAndEmptiesTheUsersPin) {
  ASSERT_EQ(activate(nam(0x060000, lst(uid(kRange1))) + nam(0x060001, num(1))), kSuccess);
  ASSERT_EQ(admin_sets(kRange1, nam(3, num(1024)) + nam(4, num(1024))), kSuccess);
  WireHost h = host();
  start_user2(h, "");
  h.set(kPinUser2, 3, tok("mine"));
  h.set_row(kRange1, nam(5, num(1)) + nam(6, num(1)));
  h.end();
  write(1500, 'A');
  drive().power_cycle();
  EXPECT_TRUE(read(1500).empty());
  EXPECT_EQ(start_user2(h, "").status, kNotAuthorized);
  start_admin1(h);
  EXPECT_EQ(h.invoke(kRange2, 0x803).status, kNotAuthorized);  // Not in this mode.
  EXPECT_EQ(h.invoke(kRange1, 0x803).status, kSuccess);
  h.end();
  EXPECT_NE(read(1500), sectors('A'));
  EXPECT_EQ(status_, BusStatus::good);
  EXPECT_EQ(start_user2(h, "").status, kSuccess);
  EXPECT_EQ(h.get(kRange1, 4, 4).cell(4)->number, 1024u);
}

}  // namespace
}  // namespace keyward::sed
