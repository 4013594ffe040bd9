#include "api/error_table.h"

#include <gtest/gtest.h>

#include <set>

#include "api/problem.h"

namespace keyward::api {
namespace {

TEST(ErrorTableTest, EveryCodeHasAnExitCodeAStatusAndATypeOfItsOwn) {
  std::set<std::string> types;
  for (const ErrorTraits& traits : error_table()) {
    EXPECT_GE(traits.exit_code, kExitFailed);
    EXPECT_LE(traits.exit_code, kExitUnavailable);
    EXPECT_GE(traits.http_status, 400u);
    EXPECT_LT(traits.http_status, 600u);
    EXPECT_FALSE(traits.title.empty());
    EXPECT_EQ(error_code_of(error_code_name(traits.code)), traits.code);
    types.insert(problem_type(traits.code));
  }
  EXPECT_EQ(types.size(), error_table().size());
  EXPECT_EQ(error_table().size(), static_cast<std::size_t>(ErrorCode::io) + 1);
}

TEST(ErrorTableTest, ExitCodesAreThoseThatScriptsRelyOn) {
  EXPECT_EQ(exit_code(ErrorCode::invalid_argument), 2);
  EXPECT_EQ(exit_code(ErrorCode::not_permitted), 3);
  EXPECT_EQ(exit_code(ErrorCode::not_found), 4);
  EXPECT_EQ(exit_code(ErrorCode::busy), 5);
  EXPECT_EQ(exit_code(ErrorCode::conflict), 5);
  EXPECT_EQ(exit_code(ErrorCode::unavailable), 6);
  EXPECT_EQ(exit_code(ErrorCode::corrupt), 1);
}

TEST(ErrorTableTest, AProblemComesBackAsTheErrorThatItWas) {
  const Error error{ErrorCode::locked_out, "The token is locked."};
  const Problem problem = make_problem(error);
  EXPECT_EQ(problem.status, 502u);
  const Error back = to_error(from_json<Problem>(to_json(problem)).value());
  EXPECT_EQ(back.code, ErrorCode::locked_out);
  EXPECT_EQ(back.message, error.message);
}

TEST(ErrorTableTest, ACodeThatIsNotKnownBecomesProtocol) {
  EXPECT_EQ(to_error(Problem{"", "", 500, "x", "brand_new"}).code, ErrorCode::protocol);
}

}  // namespace
}  // namespace keyward::api
