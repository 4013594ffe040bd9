#include "api/url.h"

#include <gtest/gtest.h>

#include <string>

namespace keyward::api {
namespace {

TEST(UrlTest, EveryByteComesBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string encoded = percent_encode(all);
  EXPECT_EQ(encoded.find('/'), std::string::npos);
  EXPECT_EQ(percent_decode(encoded).value(), all);
}

TEST(UrlTest, HalfAnEscapeIsRefused) {
  for (const char* text : {"%", "%4", "a%zz", "%-1", "%4 "}) {
    const Result<std::string> decoded = percent_decode(text);
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().code, ErrorCode::invalid_argument);
  }
}

TEST(UrlTest, QueriesAreReadByType) {
  const Query query = Query::parse("after=a%20b&limit=10&lost&no_rekey=false&&x=").value();
  EXPECT_EQ(query.find("after"), "a b");
  EXPECT_EQ(query.number("limit").value(), 10u);
  EXPECT_TRUE(query.flag("lost").value());
  EXPECT_FALSE(query.flag("no_rekey").value());
  EXPECT_FALSE(query.flag("absent").value());
  EXPECT_EQ(query.find("x"), "");
  EXPECT_FALSE(query.find("absent"));
}

TEST(UrlTest, WrongQueriesAreRefusedByName) {
  EXPECT_FALSE(Query::parse("a=1&a=2"));
  EXPECT_FALSE(Query::parse("a=%"));
  EXPECT_FALSE(Query::parse("limit=ten").value().number("limit"));
  EXPECT_FALSE(Query::parse("limit=").value().number("limit"));
  EXPECT_FALSE(Query::parse("limit=-1").value().number("limit"));
  EXPECT_FALSE(Query::parse("limit=99999999999999999999").value().number("limit"));
  EXPECT_FALSE(Query::parse("lost=maybe").value().flag("lost"));
  const Result<void> unknown = Query::parse("limt=1").value().check("after,limit:number");
  ASSERT_FALSE(unknown);
  EXPECT_FALSE(Query::parse("limit=x").value().check("after,limit:number"));
  EXPECT_TRUE(Query::parse("limit=7&after=x").value().check("after,limit:number"));
  EXPECT_NE(unknown.error().message.find("\"limt\""), std::string::npos);
}

}  // namespace
}  // namespace keyward::api
