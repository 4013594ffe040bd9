#include "sed/tcg/method_answer.h"

#include <gtest/gtest.h>

#include "sed/tcg/hex_fixture.h"
#include "sed/tcg/method_status.h"
#include "sed/tcg/uids.h"

namespace keyward::sed::tcg {
namespace {

TEST(MethodAnswer, ResultsAndStatus) {
  const MethodAnswer answer =
      parse_method_answer(hex("F0 01 A2 0102 F1 F9 F0 00 00 00 F1")).value();
  EXPECT_EQ(answer.status, status::kSuccess);
  EXPECT_FALSE(answer.called);
  EXPECT_EQ(answer.results, (List{number(1), bytes(hex("0102"))}));
  EXPECT_EQ(parse_method_answer(hex("F0 F1 F9 F0 12 00 00 F1")).value().status,
            status::kAuthorityLockedOut);
}

TEST(MethodAnswer, TheSessionManagerAnswersWithACall) {
  const MethodAnswer answer =
      parse_method_answer(
          hex("F8 A800000000000000FF A8000000000000FF06 F0 01 02 F1 F9 F0 00 00 00 F1"))
          .value();
  EXPECT_EQ(answer.called, method::kCloseSession);
}

TEST(MethodAnswer, WhatIsMalformedIsRefused) {
  for (const char* tokens :
       {"", "F9", "F0 F1", "F0 F1 F9", "F0 F1 F9 00", "F0 F1 F9 F0 F1", "F0 F1 F9 F0 A0 00 00 F1",
        "F0 F1 F9 F0 00 00 00 F1 00", "01 F9 F0 00 00 00 F1", "F8 01 02 F0 F1 F9 F0 00 00 00 F1",
        "F8 A800000000000000FF A700000000 F0 F1", "F2 00 01 F3 F9 F0 00 00 00 F1"}) {
    const Result<MethodAnswer> answer = parse_method_answer(hex(tokens));
    ASSERT_FALSE(answer) << tokens;
    EXPECT_EQ(answer.error().code, ErrorCode::protocol);
  }
}

TEST(MethodStatus, MessagesSayTheActTheNameAndTheNextStep) {
  const Error error = method_error(status::kAuthorityLockedOut, "StartSession as SID");
  EXPECT_TRUE(error.message.starts_with("StartSession as SID: AUTHORITY_LOCKED_OUT: "));
  EXPECT_NE(error.message.find("power"), std::string::npos);
  EXPECT_EQ(error.origin, "AUTHORITY_LOCKED_OUT");
  const Error unknown = method_error(0x2A, "Get");
  EXPECT_EQ(unknown.code, ErrorCode::protocol);
  EXPECT_NE(unknown.message.find("2Ah"), std::string::npos);
}

TEST(Uids, HaveNamesForPeople) {
  EXPECT_EQ(name_of(authority::kSid), "SID");
  EXPECT_EQ(name_of(authority::admin(2)), "Admin2");
  EXPECT_EQ(name_of(authority::user(9)), "User9");
  EXPECT_EQ(name_of(authority::band_master(0)), "BandMaster0");
  EXPECT_EQ(name_of(pin::kSid), "the PIN of SID");
  EXPECT_EQ(name_of(pin::kMsid), "the PIN of MSID");
  EXPECT_EQ(name_of(pin::user(1)), "the PIN of User1");
  EXPECT_EQ(name_of(range::kGlobal), "the global range");
  EXPECT_EQ(name_of(range::opal(3)), "range 3");
  EXPECT_EQ(name_of(range::band(3)), "band 3");
  EXPECT_EQ(name_of(uid(0x0000'0207'0000'0001)), "object 00000207:00000001");
}

}  // namespace
}  // namespace keyward::sed::tcg
