#include "base/text.h"

#include <gtest/gtest.h>

namespace keyward {
namespace {

TEST(HexTest, BytesComeBackAndDigitsOfEitherCaseAreRead) {
  EXPECT_EQ(to_hex(from_hex("0BadF00d").value()), "0badf00d");
  EXPECT_EQ(to_hex({}), "");
  EXPECT_TRUE(from_hex("").value().empty());
}

TEST(HexTest, OddLengthsAndOtherLettersAreRefused) {
  for (const char* text : {"0", "0g", "g0", " 00", "0x00", "00 "})
    EXPECT_EQ(from_hex(text).error().code, ErrorCode::invalid_argument) << text;
}

TEST(Iso8601Test, TimesComeBackToTheSecond) {
  for (const char* text : {"1970-01-01T00:00:00Z", "2026-01-05T02:00:00Z", "2024-02-29T23:59:59Z",
                           "9999-12-31T23:59:59Z"})
    EXPECT_EQ(to_iso8601(from_iso8601(text).value()), text);
}

TEST(Iso8601Test, MillisecondsAreCutAndTimesOutsideAreClamped) {
  EXPECT_EQ(to_iso8601(UtcTime{std::chrono::milliseconds{1999}}), "1970-01-01T00:00:01Z");
  EXPECT_EQ(to_iso8601(UtcTime{std::chrono::milliseconds{-1}}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(to_iso8601(UtcTime::max()), "9999-12-31T23:59:59Z");
  EXPECT_EQ(to_iso8601(UtcTime::min()), "1970-01-01T00:00:00Z");
}

TEST(Iso8601Test, AnyOtherFormIsRefused) {
  for (const char* text :
       {"", "2026-01-05", "2026-01-05T02:00:00", "2026-01-05 02:00:00Z", "2026-1-5T2:00:00Z",
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-01-32T00:00:00Z", "2026-01-05T24:00:00Z", "2026-01-05T02:60:00Z",
        "2026-01-05T02:00:60Z", "1969-12-31T23:59:59Z", "2026-01-05T02:00:00+00",
        "2026-01-05T02:00:00Zx", "+026-01-05T02:00:00Z", "2026-01-05T02:00:00.5Z"})
    EXPECT_EQ(from_iso8601(text).error().code, ErrorCode::invalid_argument) << text;
}

TEST(PrintableTest, ControlsQuotesAndBrokenUtf8AreEscaped) {
  EXPECT_EQ(printable("plain ünïcödé"), "plain ünïcödé");
  EXPECT_EQ(printable("a\nb\x7f\x1b[31m"), "a\\x0ab\\x7f\\x1b[31m");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("say \"hi\" \\"), "say \\\"hi\\\" \\\\");
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(printable("\xc2\x85"), "\\xc2\\x85");  // U+0085, next line.
}

TEST(PrintableTest, LongTextEndsAtAWholeCharacterWithAnEllipsis) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdef", 5), "abcde…");
  EXPECT_EQ(printable("abcdü", 5), "abcd…");
  EXPECT_EQ(printable(std::string(1'000'000, 'x')).size(), 128 + std::string("…").size());
}

TEST(Utf8Test, SequencesAreMeasuredAndBadOnesAreZero) {
  EXPECT_EQ(utf8_sequence_size("a"), 1u);
  EXPECT_EQ(utf8_sequence_size("ü"), 2u);
  EXPECT_EQ(utf8_sequence_size("€"), 3u);
  EXPECT_EQ(utf8_sequence_size("😀"), 4u);
  EXPECT_EQ(utf8_sequence_size("\xf4\x8f\xbf\xbf"), 4u);  // U+10FFFF.
  for (const char* bad :
       {"", "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "\xc3(", "\xe2(\xa1"})
    EXPECT_EQ(utf8_sequence_size(bad), 0u) << to_hex(as_bytes(bad));
}

}  // namespace
}  // namespace keyward
