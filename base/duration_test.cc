#include "base/duration.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace keyward {
namespace {

UtcTime at(std::string_view text) { return from_iso8601(text).value(); }
std::string after(std::string_view anchor, Period period, std::uint32_t n) {
  return to_iso8601(nth_after(at(anchor), period, n));
}

struct Accepted {
  const char* text;
  const char* canonical;
  const char* words;
};
const Accepted kAccepted[] = {
    {"6W", "6W", "every 6 weeks"},
    {"2M", "2M", "every 2 months"},
    {"90s", "90s", "every 90 seconds"},
    {"1Y", "1Y", "every year"},
    {"100Y", "100Y", "every 100 years"},
    {"1D", "1D", "every day"},
    {"1H", "1h", "every hour"},
    {"24h", "24h", "every 24 hours"},
    {"5m", "5m", "every 5 minutes"},
    {"007D", "7D", "every 7 days"},
    {"999999999s", "999999999s", "every 999999999 seconds"},
    {"000000001M", "1M", "every month"},
    {"Never", "Never", "never"},
    {"never", "Never", "never"},
    {"NEVER", "Never", "never"},
};

TEST(RotationTest, AcceptedTextComesBackInItsCanonicalForm) {
  for (const Accepted& row : kAccepted) {
    const Result<Rotation> rotation = Rotation::parse(row.text);
    ASSERT_TRUE(rotation.has_value()) << row.text << ": " << rotation.error().message;
    EXPECT_EQ(rotation->to_text(), row.canonical);
    EXPECT_EQ(rotation->to_words(), row.words);
    EXPECT_EQ(Rotation::parse(rotation->to_text()).value(), *rotation) << row.text;
  }
}

const char* const kRefused[] = {
    "",
    "6",
    "W",
    "0D",
    "0000s",
    "1000000000s",
    "0000000001D",
    " 6W",
    "6W ",
    "6 W",
    "-1D",
    "+1D",
    "6X",
    "6w",
    "6d",
    "2MM",
    "1W2D",
    "1.5D",
    "1e3s",
    "0x1D",
    "Neve",
    "Nevers",
    "Never ",
    "none",
    "101Y",
    "1201M",
    "5218W",
    "52594561m",
    "6\n",
    "\xd9\xa3"
    "D",
    "99999999999999999999Y",
};

TEST(RotationTest, RefusedTextIsInvalidArgumentAndTheMessageShowsWhatIsAllowed) {
  for (const char* text : kRefused) {
    const Result<Rotation> rotation = Rotation::parse(text);
    ASSERT_FALSE(rotation.has_value()) << '"' << text << '"';
    EXPECT_EQ(rotation.error().code, ErrorCode::invalid_argument) << text;
    EXPECT_NE(rotation.error().message.find("6W"), std::string::npos) << rotation.error().message;
  }
}

TEST(RotationTest, ZeroByteInsideIsRefusedAndPrintedEscaped) {
  const Result<Rotation> rotation = Rotation::parse(std::string_view("6W\0", 3));
  ASSERT_FALSE(rotation.has_value());
  EXPECT_NE(rotation.error().message.find("\"6W\\x00\""), std::string::npos);
}

TEST(RotationTest, EachMessageNamesThePartThatIsWrong) {
  EXPECT_NE(Rotation::parse("6").error().message.find("no unit"), std::string::npos);
  EXPECT_NE(Rotation::parse("0D").error().message.find("zero"), std::string::npos);
  EXPECT_NE(Rotation::parse("6X").error().message.find("unknown unit"), std::string::npos);
  EXPECT_NE(Rotation::parse("101Y").error().message.find("at most 100 years"), std::string::npos);
}

TEST(NthAfterTest, MonthsAreCountedFromTheAnchorsDateNotFromTheClampedOne) {
  const Period month{1, PeriodUnit::months};
  EXPECT_EQ(after("2026-01-31T02:00:00Z", month, 1), "2026-02-28T02:00:00Z");
  EXPECT_EQ(after("2026-01-31T02:00:00Z", month, 2), "2026-03-31T02:00:00Z");
  EXPECT_EQ(after("2024-01-31T02:00:00Z", month, 1), "2024-02-29T02:00:00Z");
  EXPECT_EQ(after("2026-11-15T23:59:59Z", month, 2), "2027-01-15T23:59:59Z");
}

TEST(NthAfterTest, YearsFromALeapDayAreClampedAndComeBackToIt) {
  const Period year{1, PeriodUnit::years};
  EXPECT_EQ(after("2024-02-29T00:00:00Z", year, 1), "2025-02-28T00:00:00Z");
  EXPECT_EQ(after("2024-02-29T00:00:00Z", year, 4), "2028-02-29T00:00:00Z");
}

TEST(NthAfterTest, TwoMonthsAreCalendarMonthsNotSixtyDays) {
  EXPECT_EQ(after("2026-01-01T00:00:00Z", {2, PeriodUnit::months}, 1), "2026-03-01T00:00:00Z");
}

TEST(NthAfterTest, FixedUnitsAreExactAndKeepMilliseconds) {
  const UtcTime anchor = at("2026-01-01T00:00:00Z") + std::chrono::milliseconds{7};
  EXPECT_EQ(nth_after(anchor, {6, PeriodUnit::weeks}, 2) - anchor, std::chrono::weeks{12});
  EXPECT_EQ(nth_after(anchor, {90, PeriodUnit::seconds}, 3) - anchor, std::chrono::seconds{270});
  EXPECT_EQ(nth_after(anchor, {5, PeriodUnit::minutes}, 1) - anchor, std::chrono::minutes{5});
  EXPECT_EQ(nth_after(anchor, {5, PeriodUnit::hours}, 1) - anchor, std::chrono::hours{5});
  EXPECT_EQ(nth_after(anchor, {5, PeriodUnit::days}, 0), anchor);
}

TEST(NthAfterTest, HugeNumbersEndAtTheYear9999InsteadOfOverflowing) {
  constexpr std::uint32_t kMost = 0xffffffff;
  for (const PeriodUnitInfo& info : period_units()) {
    const UtcTime end = nth_after(at("2026-01-31T00:00:00Z"), {kMost, info.unit}, kMost);
    EXPECT_LE(end, at("9999-12-31T23:59:59Z")) << info.singular;
    EXPECT_GE(end, at("9999-12-01T00:00:00Z")) << info.singular;
  }
}

}  // namespace
}  // namespace keyward
