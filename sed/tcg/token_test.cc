// Byte for byte by Core 3.2.2.3: the expectations are written out, not made by the writer.
#include "sed/tcg/token.h"

#include <gtest/gtest.h>

#include <limits>

#include "sed/tcg/hex_fixture.h"

namespace keyward::sed::tcg {
namespace {

Bytes written(const Value& value) {
  TokenWriter writer;
  writer.value(value);
  Bytes out(writer.size());
  writer.copy_to(out);
  return out;
}

std::optional<Value> read(const Bytes& stream) {
  TokenReader reader(stream);
  Result<Value> value = reader.value();
  if (!value || !reader.at_end()) return std::nullopt;
  return *std::move(value);
}

Value signed_number(std::int64_t value) { return {.data = value}; }

Bytes filled(std::size_t size) { return Bytes(size, std::byte{0x5A}); }

Bytes joined(Bytes head, const Bytes& tail) {
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}

struct Pair {
  Value value;
  Bytes stream;
};

std::vector<Pair> shortest_forms() {
  return {
      {number(0), hex("00")},
      {number(0x3F), hex("3F")},
      {number(0x40), hex("81 40")},
      {number(0x69), hex("81 69")},
      {number(0x100), hex("82 0100")},
      {number(0x060000), hex("83 060000")},
      {number(0x08000000), hex("84 08000000")},
      {number(std::numeric_limits<std::uint64_t>::max()), hex("88 FFFFFFFFFFFFFFFF")},
      {signed_number(0), hex("40")},
      {signed_number(31), hex("5F")},
      {signed_number(-1), hex("7F")},
      {signed_number(-32), hex("60")},
      {signed_number(-33), hex("91 DF")},
      {signed_number(128), hex("92 0080")},
      {signed_number(std::numeric_limits<std::int64_t>::min()), hex("98 8000000000000000")},
      {bytes({}), hex("A0")},
      {text("Challenge"), hex("A9 4368616C6C656E6765")},
      {bytes(filled(15)), joined(hex("AF"), filled(15))},
      {bytes(filled(16)), joined(hex("D010"), filled(16))},
      {bytes(filled(0x7FF)), joined(hex("D7FF"), filled(0x7FF))},
      {bytes(filled(0x800)), joined(hex("E2000800"), filled(0x800))},
      {list({}), hex("F0 F1")},
      {list({number(1), list({number(2)})}), hex("F0 01 F0 02 F1 F1")},
      {named(3, bytes(hex("01020304"))), hex("F2 03 A4 01020304 F3")},
      {named(text("PIN"), list({})), hex("F2 A3 50494E F0 F1 F3")},
  };
}

TEST(Token, TheShortestFormIsWrittenAndReadBack) {
  for (const auto& [value, stream] : shortest_forms()) {
    EXPECT_EQ(to_hex(written(value)), to_hex(stream));
    EXPECT_EQ(read(stream), value) << to_hex(stream);
  }
}

TEST(Token, LongerFormsThanNeededAreRead) {
  EXPECT_EQ(read(hex("81 05")), number(5));
  EXPECT_EQ(read(hex("84 00000069")), number(0x69));  // As a Crucial M550 writes all its numbers.
  EXPECT_EQ(read(hex("8F 000000000000000000000000001000")), number(0x1000));
  EXPECT_EQ(read(hex("C001 05")), number(5));
  EXPECT_EQ(read(hex("E0000002 0105")), number(0x105));
  EXPECT_EQ(read(hex("C801 FF")), signed_number(-1));
  EXPECT_EQ(read(hex("E1000001 7F")), signed_number(127));
  EXPECT_EQ(read(hex("99 FFFFFFFFFFFFFFFFFE")), signed_number(-2));
  EXPECT_EQ(read(hex("D001 AB")), bytes(hex("AB")));
  EXPECT_EQ(read(hex("E2000001 AB")), bytes(hex("AB")));
}

TEST(Token, AContinuedByteStringIsJoined) {
  EXPECT_EQ(read(hex("B2 0102 A1 03")), bytes(hex("010203")));
  EXPECT_EQ(read(hex("D802 0102 E3000001 03 FF A0")), bytes(hex("010203")));
  EXPECT_EQ(read(hex("B2 0102")), std::nullopt);
  EXPECT_EQ(read(hex("B2 0102 03")), std::nullopt);
}

TEST(Token, EmptyAtomsArePassedOver) {
  EXPECT_EQ(read(hex("FF FF F0 FF 01 FF F1 FF FF")), list({number(1)}));
}

TEST(Token, WhatIsCutOffOrOutOfPlaceIsRefused) {
  for (const char* stream : {"",
                             "FF",
                             "81",
                             "82 01",
                             "A4 010203",
                             "C0",
                             "D0",
                             "D002 01",
                             "E2 0000",
                             "E2000002 01",
                             "F0",
                             "F0 01",
                             "F1",
                             "F2 01 F3",
                             "F2 01 02",
                             "F2 01 02 03 F3",
                             "F2 F0 F1 02 F3",
                             "F3",
                             "F8",
                             "F9",
                             "FA",
                             "FB",
                             "FC",
                             "F4",
                             "F7",
                             "FD",
                             "E4000001 00",
                             "EF",
                             "80",
                             "90",
                             "C000",
                             "F0 F3",
                             "F2 01 02 F1"})
    EXPECT_EQ(read(hex(stream)), std::nullopt) << stream;
}

TEST(Token, NumbersOfMoreThan64BitsAreRefused) {
  EXPECT_EQ(read(hex("89 010000000000000000")), std::nullopt);
  EXPECT_EQ(read(hex("99 FE0000000000000000")), std::nullopt);
  EXPECT_EQ(read(hex("99 008000000000000000")), std::nullopt);
  EXPECT_EQ(read(hex("99 FF7FFFFFFFFFFFFFFF")), std::nullopt);
}

TEST(Token, ARefusalSaysWhere) {
  const Bytes stream = hex("F0 01 A4 01");
  TokenReader reader(stream);
  const Result<Value> value = reader.value();
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().code, ErrorCode::protocol);
  EXPECT_NE(value.error().message.find("byte 2 of 4"), std::string::npos) << value.error().message;
}

TEST(Token, DeeperThanAnyAnswerIsRefused) {
  const auto nested = [](std::size_t depth) {
    Bytes stream(depth, std::byte{0xF0});
    stream.resize(2 * depth, std::byte{0xF1});
    return stream;
  };
  EXPECT_TRUE(read(nested(16)));
  EXPECT_FALSE(read(nested(18)));
  EXPECT_FALSE(read(Bytes(1u << 20, std::byte{0xF0})));
}

TEST(Token, MoreValuesThanAnyAnswerHasAreRefused) {
  Bytes stream(70'000, std::byte{0x01});
  stream.front() = std::byte{0xF0};
  stream.back() = std::byte{0xF1};
  EXPECT_FALSE(read(stream));
}

TEST(Token, ControlTokensAreTakenOneByOne) {
  const Bytes stream = hex("FF F8 01 F9");
  TokenReader reader(stream);
  EXPECT_FALSE(reader.take(Control::end_of_data));
  EXPECT_TRUE(reader.take(Control::call));
  EXPECT_EQ(reader.value().value(), number(1));
  EXPECT_TRUE(reader.take(Control::end_of_data));
  EXPECT_TRUE(reader.at_end());
}

TEST(Token, ASecretIsSplicedInAtTheEndAlone) {
  Bytes pin = hex("0102030405060708090A0B0C0D0E0F10");
  const SecretBytes secret = SecretBytes::take_from(pin).value();
  const SecretBytes short_one = SecretBytes::allocate(2).value();
  TokenWriter writer;
  EXPECT_FALSE(writer.holds_secret());
  writer.control(Control::start_name).number(0).secret(secret).control(Control::end_name);
  writer.secret(short_one);
  EXPECT_TRUE(writer.holds_secret());
  Bytes out(writer.size());
  writer.copy_to(out);
  EXPECT_EQ(out, hex("F2 00 D010 0102030405060708090A0B0C0D0E0F10 F3 A2 0000"));
}

}  // namespace
}  // namespace keyward::sed::tcg
