#include "api/json.h"

#include <gtest/gtest.h>

#include <string>

namespace keyward::api {
namespace {

TEST(JsonTest, ReadsEveryKindOfValueAndWritesItBack) {
  const std::string text =
      R"({"a":null,"b":true,"c":18446744073709551615,"d":0.5,"e":"x\n\"y\"","f":[1,[]],"g":{}})";
  const Result<Json> json = parse_json(text);
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(dump_json(*json), text);
}

struct BadText {
  const char* name;
  std::string text;
  const char* says;
};

class JsonRefusesTest : public ::testing::TestWithParam<BadText> {};

TEST_P(JsonRefusesTest, WithAMessageThatHelps) {
  const Result<Json> json = parse_json(GetParam().text);
  ASSERT_FALSE(json);
  EXPECT_EQ(json.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(json.error().message.find(GetParam().says), std::string::npos) << json.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Broken, JsonRefusesTest,
    ::testing::Values(BadText{"Empty", "", "breaks at byte"},
                      BadText{"Cut", "{\"a\":", "breaks at"},
                      BadText{"Twice", R"({"a":1,"a":2})", "\"a\" stands there twice"},
                      BadText{"Trailing", "{} {}", "breaks at byte"},
                      BadText{"BadUtf8", "\"\xff\"", "breaks at byte"},
                      BadText{"HugeNumber", "1e999", "breaks at byte"},
                      BadText{"Deep", std::string(100'000, '['), "nested deeper than 16"},
                      BadText{"DeepObjects",
                              "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
                              "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
                              "{\"a\":1",
                              "nested deeper"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(JsonTest, InvalidUtf8InAMessageDoesNotBreakTheAnswer) {
  EXPECT_EQ(dump_json(Json(std::string("a\xff"))), "\"a\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace keyward::api
