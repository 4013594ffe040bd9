#include "sed/emulator/value.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace keyward::sed::emulator {
namespace {

Bytes hex(std::string_view text) { return from_hex(text).value(); }

std::optional<Value> parse(std::string_view stream) {
  const Bytes bytes = hex(stream);
  TokenReader reader(bytes);
  std::optional<Value> value = reader.value();
  if (!reader.at_end()) return std::nullopt;
  return value;
}

std::string encode(const Value& value) {
  Bytes out;
  append_tokens(value, out);
  return to_hex(out);
}

// Core 3.2.2.3: the shortest form of each kind of atom.
TEST(ValueTest, AtomsAreWrittenInTheirShortestForm) {
  EXPECT_EQ(encode(number(0x3F)), "3f");
  EXPECT_EQ(encode(number(0x40)), "8140");
  EXPECT_EQ(encode(number(0x060000)), "83060000");
  EXPECT_EQ(encode(number(~std::uint64_t{0})), "88ffffffffffffffff");
  EXPECT_EQ(encode(text("PIN")), "a350494e");
  EXPECT_EQ(encode(bytes(Bytes(16))), "d010" + std::string(32, '0'));
  EXPECT_EQ(encode(bytes(Bytes(2048))).substr(0, 8), "e2000800");
  EXPECT_EQ(encode(list({named(3, number(1))})), "f0f20301f3f1");
}

TEST(ValueTest, LongerFormsThanNeededAreTaken) {
  EXPECT_EQ(parse("8105"), number(5));
  EXPECT_EQ(parse("c00205"
                  "00"),
            number(0x0500));
  EXPECT_EQ(parse("e000000105"), number(5));
  EXPECT_EQ(parse("d0034142"
                  "43"),
            text("ABC"));
  EXPECT_EQ(parse("e2000003414243"), text("ABC"));
  EXPECT_EQ(parse("8a00000000000000000005"), number(5));
  EXPECT_EQ(parse("fff0ff05fff1ff"), list({number(5)}));
}

TEST(ValueTest, ContinuedBytesAreOneString) {
  EXPECT_EQ(parse("b24142a143"), text("ABC"));
  EXPECT_FALSE(parse("b24142").has_value());    // Nothing continues it.
  EXPECT_FALSE(parse("b2414205").has_value());  // A number does not.
}

TEST(ValueTest, SignedAtomsKeepTheirSign) {
  EXPECT_EQ(parse("7f")->number, ~std::uint64_t{0});
  EXPECT_EQ(parse("91ff")->number, ~std::uint64_t{0});
  EXPECT_EQ(parse("91ff")->kind, Value::Kind::negative);
  EXPECT_EQ(parse("45")->number, 5u);
}

TEST(ValueTest, WhatIsCutOffReservedOrOutOfPlaceIsRefused) {
  for (const char* stream : {"",           "82",         "8201",
                             "d0",         "d00541",     "e2",
                             "e2000002ff", "80",         "9100000000000000000000ff00",
                             "f0",         "f005",       "f0f3",
                             "f1",         "f2",         "f20305",
                             "f203f3",     "f2030506f3", "f2f0f105f3",
                             "e4",         "ef000001",   "f4",
                             "f5",         "fd",         "fe",
                             "f8",         "f9",         "8b0100000000000000000000"})
    EXPECT_FALSE(parse(stream).has_value()) << stream;
}

TEST(ValueTest, DeepListsAreRefusedAndDoNotOverrunTheStack) {
  std::string deep;
  for (int n = 0; n < 100000; ++n) deep += "f0";
  EXPECT_FALSE(parse(deep).has_value());
  EXPECT_TRUE(parse("f0f0f0f0f0f0f0f0f1f1f1f1f1f1f1f1").has_value());
}

TEST(ValueTest, OnlyEightBytesAreAUidAndOnlyZeroAndOneABoolean) {
  EXPECT_EQ(uid_value(0x0102030405060708).uid(), Uid{0x0102030405060708});
  EXPECT_FALSE(text("1234567").uid().has_value());
  EXPECT_FALSE(number(1).uid().has_value());
  EXPECT_EQ(number(1).boolean(), true);
  EXPECT_FALSE(number(2).boolean().has_value());
  EXPECT_FALSE(text("1").boolean().has_value());
}

}  // namespace
}  // namespace keyward::sed::emulator
