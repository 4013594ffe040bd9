// Opal's tables: who may read and set what, with which values, and the transactions around them.
#include <gtest/gtest.h>

#include <map>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

using OpalTablesTest = DriveTest;

constexpr std::uint64_t kAuthorityRef = 0x0C05, kBooleanAce = 0x040E;

Tokens half(std::uint64_t type) {
  return tok(std::string({0, 0, static_cast<char>(type >> 8), static_cast<char>(type)}));
}
Tokens either(std::uint64_t a, std::uint64_t b) {
  return lst(nam(half(kAuthorityRef), uid(a)) + nam(half(kAuthorityRef), uid(b)) +
             nam(half(kBooleanAce), num(1)));
}

TEST_F(OpalTablesTest, TheMsidIsForAnybodyAndIsTheFirstSidPin) {
  WireHost h = host();
  const std::string msid = h.msid();
  EXPECT_EQ(msid.size(), 32u);
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kSuccess);
}

TEST_F(OpalTablesTest, ADriveWithAVendorsPinDoesNotTakeTheMsid) {
  options_.sid_is_msid = false;
  WireHost h = host();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = h.msid()}).status, kNotAuthorized);
}

TEST_F(OpalTablesTest, CellsWithoutPermissionAreLeftOutAndNoRowMeansNotAuthorized) {
  WireHost h = host();
  const std::string msid = h.msid();
  h.start(kAdminSp);
  EXPECT_EQ(h.get(kPinSid, 0, 7).status, kNotAuthorized);
  EXPECT_EQ(h.get(kPinSid + 0x7777, 0, 7).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kThisSp, 0x16, lst("")).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kPinMsid, 0x9999, "").status, kNotAuthorized);
  h.end();
  h.start(kAdminSp, {.authority = kSid, .pin = msid});
  const Reply all = h.get(kPinSid, 0, 7);
  EXPECT_EQ(all.status, kSuccess);
  EXPECT_FALSE(all.cell(3).has_value());
  EXPECT_EQ(all.cell(5)->number, options_.try_limit);
  EXPECT_EQ(all.cell(6)->number, 0u);
  const Reply pin = h.get(kPinSid, 3, 3);
  EXPECT_EQ(pin.status, kSuccess);
  EXPECT_FALSE(pin.cell(3).has_value());
}

TEST_F(OpalTablesTest, CellBlocksAreChecked) {
  WireHost h = host();
  h.start(kAdminSp);
  const auto get = [&](const Tokens& parameters) {
    return h.invoke(kPinMsid, 0x16, parameters).status;
  };
  EXPECT_EQ(get(lst("")), kSuccess);
  EXPECT_EQ(get(""), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(3, num(4)) + nam(4, num(3)))), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(3, num(99)))), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(1, num(0)))), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(9, num(0)))), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(3, num(3)) + nam(3, num(3)))), kInvalidParameter);
  EXPECT_EQ(get(lst(nam(tok("startColumn"), num(3)))), kInvalidParameter);
  EXPECT_EQ(get(lst("") + lst("")), kInvalidParameter);
}

TEST_F(OpalTablesTest, SetIsAllOrNothingAndChecksColumnsAndTypes) {
  take_ownership();
  const auto set = [&](const Tokens& pairs) { return admin_sets(kGlobalRange, pairs); };
  EXPECT_EQ(set(nam(5, num(1)) + nam(3, num(8))), kNotAuthorized);  // The global range's start.
  EXPECT_EQ(set(nam(5, num(1)) + nam(6, num(2))), kInvalidParameter);
  EXPECT_EQ(set(nam(5, tok("1"))), kInvalidParameter);
  EXPECT_EQ(set(nam(5, num(1)) + nam(5, num(1))), kInvalidParameter);
  EXPECT_EQ(set(nam(77, num(1))), kInvalidParameter);
  EXPECT_EQ(set(nam(10, uid(kRange1Key))), kNotAuthorized);
  EXPECT_EQ(set(nam(9, lst(num(1)))), kInvalidParameter);
  EXPECT_EQ(set(nam(9, lst(num(0) + num(2)))), kInvalidParameter);
  EXPECT_EQ(set(nam(9, lst(num(0) + num(3)))), kSuccess);
  WireHost h = host();
  start_admin1(h);
  EXPECT_EQ(h.get(kGlobalRange, 5, 5).cell(5)->number, 0u);
  EXPECT_EQ(h.set(kPinAdmin1, 3, tok(std::string(33, 'x'))).status, kInvalidParameter);
  EXPECT_EQ(h.set(kUser1, 5, num(0xAAAA)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kGlobalRange, 0x17, nam(0, uid(1)) + nam(1, lst(""))).status,
            kInvalidParameter);
  EXPECT_EQ(h.set(kLockingInfo, 4, num(9)).status, kNotAuthorized);
}

TEST_F(OpalTablesTest, RangesKeepApartAlignedAndInsideTheDrive) {
  take_ownership();
  const auto range = [&](std::uint64_t object, std::uint64_t start, std::uint64_t length) {
    return admin_sets(object, nam(3, num(start)) + nam(4, num(length)));
  };
  EXPECT_EQ(range(kRange1, 1024, 2048), kSuccess);
  EXPECT_EQ(range(kRange2, 3064, 8), kInvalidParameter);
  EXPECT_EQ(range(kRange2, 0, 1032), kInvalidParameter);
  EXPECT_EQ(range(kRange2, 3072, 2044), kInvalidParameter);
  EXPECT_EQ(range(kRange2, 3076, 2048), kInvalidParameter);
  EXPECT_EQ(range(kRange2, 65528, 16), kInvalidParameter);
  EXPECT_EQ(range(kRange2, ~std::uint64_t{7}, 8), kInvalidParameter);
  EXPECT_EQ(range(kRange2, 3072, 2048), kSuccess);
  EXPECT_EQ(range(kRange1, 1024, 1024), kSuccess);  // A range does not meet itself.
}

TEST_F(OpalTablesTest, AUserIsEnabledGetsAPinAndAnAceAndNoMore) {
  take_ownership();
  WireHost h = host();
  EXPECT_EQ(h.start(kLockingSp, {.authority = kUser1, .pin = "user"}).status, kNotAuthorized);
  start_admin1(h);
  EXPECT_EQ(h.set(kUser1, 5, num(1)).status, kSuccess);
  EXPECT_EQ(h.set(kPinUser1, 3, tok("user")).status, kSuccess);
  EXPECT_EQ(h.set(0x000000080003E000, 3, either(0x0000000900000002, kUser1)).status, kSuccess);
  EXPECT_EQ(h.set(0x000000080003E000, 3, lst(nam(half(kAuthorityRef), uid(0x0900000099)))).status,
            kInvalidParameter);
  EXPECT_EQ(h.set(0x000000080003E000, 3, lst(nam(half(kBooleanAce), num(1)))).status,
            kInvalidParameter);
  EXPECT_EQ(h.set(0x000000080003E000, 3, lst("")).status, kInvalidParameter);
  EXPECT_EQ(h.set(0x0000000800000001, 3, either(kUser1, kUser1)).status, kNotAuthorized);
  h.end();
  ASSERT_EQ(h.start(kLockingSp, {.authority = kUser1, .pin = "user"}).status, kSuccess);
  EXPECT_EQ(h.set(kGlobalRange, 7, num(1)).status, kSuccess);
  EXPECT_EQ(h.set(kGlobalRange, 8, num(1)).status, kNotAuthorized);
  EXPECT_EQ(h.set(kPinUser1, 3, tok("mine")).status, kSuccess);
  EXPECT_EQ(h.set(kPinAdmin1, 3, tok("mine")).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kGlobalKey, 0x10).status, kNotAuthorized);
}

TEST_F(OpalTablesTest, AuthenticateAddsAuthoritiesUpToTheLimit) {
  take_ownership();
  WireHost h = host();
  start_admin1(h);
  h.set(kUser1, 5, num(1));
  h.set(kPinUser1, 3, tok("user"));
  h.set(kUser1 + 1, 5, num(1));
  h.end();
  h.start(kLockingSp);
  const auto prove = [&](std::uint64_t who, std::string_view pin) {
    return h.invoke(kThisSp, 0x1C, uid(who) + nam(0, tok(pin)));
  };
  EXPECT_EQ(prove(kUser1, "wrong").tokens[1].number, 0u);
  EXPECT_EQ(h.set(kGlobalRange, 7, num(1)).status, kNotAuthorized);
  EXPECT_EQ(prove(kUser1, "user").tokens[1].number, 1u);
  EXPECT_EQ(prove(kAdmin1, "owner").tokens[1].number, 1u);
  EXPECT_EQ(h.set(kGlobalRange, 7, num(1)).status, kSuccess);
  EXPECT_EQ(prove(kUser1 + 1, "").status, kInvalidParameter);  // MaxAuthentications is 2.
  EXPECT_EQ(prove(0x0000000900000002, "").status, kInvalidParameter);
}

TEST_F(OpalTablesTest, TriesAreCountedAndTheLimitLocksOutUntilPowerIsCycled) {
  options_.try_limit = 3;
  WireHost h = host();
  const std::string msid = h.msid();
  for (int n = 0; n < 3; ++n)
    EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "wrong"}).status, kNotAuthorized);
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kLockedOut);
  drive().power_cycle();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "wrong"}).status, kNotAuthorized);
  ASSERT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kSuccess);
  EXPECT_EQ(h.get(kPinSid, 6, 6).cell(6)->number, 0u);  // Success gives them back.
}

TEST_F(OpalTablesTest, PersistentTriesOutliveThePowerAndASetGivesThemBack) {
  options_.try_limit = 2;
  options_.tries_persist = true;
  take_ownership();
  ASSERT_EQ(admin_sets(kUser1, nam(5, num(1))), kSuccess);
  ASSERT_EQ(admin_sets(kPinUser1, nam(3, tok("user"))), kSuccess);
  WireHost h = host();
  for (int n = 0; n < 2; ++n)
    EXPECT_EQ(h.start(kLockingSp, {.authority = kUser1, .pin = "no"}).status, kNotAuthorized);
  drive().power_cycle();
  reopen();
  WireHost again = host();
  EXPECT_EQ(again.start(kLockingSp, {.authority = kUser1, .pin = "user"}).status, kLockedOut);
  ASSERT_EQ(admin_sets(kPinUser1, nam(3, tok("user"))), kSuccess);
  EXPECT_EQ(again.start(kLockingSp, {.authority = kUser1, .pin = "user"}).status, kSuccess);
}

TEST_F(OpalTablesTest, RandomGivesUpTo32Bytes) {
  WireHost h = host();
  h.start(kAdminSp);
  const Reply one = h.invoke(kThisSp, 0x601, num(32));
  EXPECT_EQ(one.tokens[1].bytes.size(), 32u);
  EXPECT_NE(one.tokens[1].bytes, h.invoke(kThisSp, 0x601, num(32)).tokens[1].bytes);
  EXPECT_EQ(h.invoke(kThisSp, 0x601, num(33)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kThisSp, 0x601).status, kInvalidParameter);
}

TEST_F(OpalTablesTest, GetAclNamesTheAcesOfAnAssociation) {
  take_ownership();
  WireHost h = host();
  h.start(kLockingSp);
  constexpr std::uint64_t kAccessControl = 0x0000000700000000, kSet = 0x0000000600000017;
  const Reply acl = h.invoke(kAccessControl, 0x0D, uid(kMbr) + uid(kSet));
  EXPECT_EQ(acl.status, kSuccess);
  EXPECT_EQ(acl.tokens[2].bytes, uid(0x0000000800000002).substr(1));
  EXPECT_EQ(h.invoke(kAccessControl, 0x0D, uid(kLockingInfo) + uid(kSet)).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kAccessControl, 0x0D, uid(kMbr)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kMbr, 0x0D, uid(kMbr) + uid(kSet)).status, kNotAuthorized);
}

TEST_F(OpalTablesTest, NextWalksATable) {
  take_ownership();
  WireHost h = host();
  h.start(kLockingSp);
  const Reply all = h.invoke(0x0000080200000000, 0x08);
  EXPECT_EQ(all.status, kSuccess);
  EXPECT_EQ(all.atoms(), 1u + options_.ranges + 3);  // And the three of the status list.
  const Reply one = h.invoke(0x0000080200000000, 0x08, nam(0, uid(kGlobalRange)) + nam(1, num(1)));
  EXPECT_EQ(one.tokens[2].bytes, uid(kRange1).substr(1));
  EXPECT_EQ(h.invoke(0x0000080200000000, 0x08, nam(0, uid(kPinAdmin1))).status, kInvalidParameter);
}

TEST_F(OpalTablesTest, ByteTablesAreReadAndWrittenByRows) {
  take_ownership();
  WireHost h = host();
  start_admin1(h);
  const auto rows = [](std::uint64_t first, std::uint64_t last) {
    return lst(nam(1, num(first)) + nam(2, num(last)));
  };
  EXPECT_EQ(h.invoke(kDataStore, 0x17, nam(0, num(100)) + nam(1, tok("marker"))).status, kSuccess);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, rows(99, 106)).tokens[1].bytes,
            std::string("\0marker\0", 8));
  const std::uint64_t size = options_.data_store_bytes;
  EXPECT_EQ(h.invoke(kDataStore, 0x17, nam(0, num(size - 3)) + nam(1, tok("marker"))).status,
            kInvalidParameter);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, rows(size - 1, size)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, rows(2, 1)).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, lst(nam(3, num(1)))).status, kInvalidParameter);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, lst("")).status, kResponseOverflow);
  EXPECT_EQ(h.get(0x0000000100001001, 7, 7).cell(7)->number, size);
  h.end();
  h.start(kLockingSp);
  EXPECT_EQ(h.invoke(kDataStore, 0x16, rows(0, 1)).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(kMbr, 0x16, rows(0, 1)).status, kSuccess);
  EXPECT_EQ(h.invoke(kMbr, 0x17, nam(1, tok("x"))).status, kNotAuthorized);
}

TEST_F(OpalTablesTest, ATransactionCommitsWholeAndRollsBackWhole) {
  take_ownership();
  WireHost h = host();
  const Tokens begin("\xFB\x00", 2), commit("\xFC\x00", 2), abort("\xFC\x01", 2);
  const Tokens marker = nam(0, num(0)) + nam(1, tok("generation 2"));
  const auto read_marker = [&] {
    return h.invoke(kDataStore, 0x16, lst(nam(1, num(0)) + nam(2, num(11)))).tokens[1].bytes;
  };
  start_admin1(h);
  EXPECT_EQ(h.stream(begin).payload, begin);
  h.set(kPinAdmin1, 3, tok("next"));
  h.invoke(kDataStore, 0x17, marker);
  EXPECT_EQ(read_marker(), "generation 2");  // Seen inside.
  EXPECT_EQ(h.stream(abort).payload, abort);
  EXPECT_EQ(read_marker(), std::string(12, '\0'));
  h.stream(begin);
  h.set(kPinAdmin1, 3, tok("next"));
  h.end();  // An end without a commit is an abort.
  ASSERT_EQ(start_admin1(h).status, kSuccess);
  h.stream(begin);
  h.set(kPinAdmin1, 3, tok("next"));
  h.invoke(kDataStore, 0x17, marker);
  EXPECT_EQ(h.invoke(kThisSp, 0x11).status, kFail);  // What cannot be rolled back.
  EXPECT_EQ(h.stream(commit).payload, commit);
  h.end();
  reopen();
  WireHost again = host();
  EXPECT_EQ(start_admin1(again).status, kNotAuthorized);
  ASSERT_EQ(again.start(kLockingSp, {.authority = kAdmin1, .pin = "next"}).status, kSuccess);
  again.stream(begin);
  EXPECT_TRUE(again.stream(begin).is_call_of(0xFF06));  // MaxTransactionLimit is 1.
}

TEST_F(OpalTablesTest, ATriesCountIsNotRolledBack) {
  take_ownership();
  WireHost h = host();
  h.start(kLockingSp);
  h.stream(Tokens("\xFB\x00", 2));
  EXPECT_EQ(h.invoke(kThisSp, 0x1C, uid(kAdmin1) + nam(0, tok("no"))).tokens[1].number, 0u);
  h.stream(Tokens("\xFC\x01", 2));
  h.end();
  h.start(kLockingSp);
  EXPECT_EQ(h.invoke(kThisSp, 0x1C, uid(kAdmin1 + 1) + nam(0, tok(""))).tokens[1].number, 0u);
  for (int n = 0; n < 4; ++n) h.invoke(kThisSp, 0x1C, uid(kAdmin1) + nam(0, tok("no")));
  EXPECT_EQ(h.invoke(kThisSp, 0x1C, uid(kAdmin1) + nam(0, tok("owner"))).status, kLockedOut);
}

}  // namespace
}  // namespace keyward::sed
