#include "engine/schedule.h"

#include <gtest/gtest.h>

#include "base/text.h"

namespace keyward::engine {
namespace {

UtcTime at(std::string_view text) { return from_iso8601(text).value(); }

Schedule every(std::string_view rotation, std::string_view anchor) {
  return {.rotation = Rotation::parse(rotation).value(), .anchor = at(anchor)};
}

std::string next_of(const Schedule& schedule) {
  const auto next = schedule.next_run();
  return next ? to_iso8601(*next) : "none";
}

TEST(Schedule, NeverIsNeverDue) {
  EXPECT_EQ(next_of(every("Never", "2026-01-05T02:00:00Z")), "none");
}

TEST(Schedule, MonthsAndYearsAreCountedFromTheAnchorsOwnDay) {
  Schedule monthly = every("1M", "2026-01-31T02:00:00Z");
  std::vector<std::string> dates;
  for (int i = 0; i < 4; ++i) {
    dates.push_back(next_of(monthly));
    monthly = monthly.after_run(*monthly.next_run());
  }
  EXPECT_EQ(dates, (std::vector<std::string>{"2026-02-28T02:00:00Z", "2026-03-31T02:00:00Z",
                                             "2026-04-30T02:00:00Z", "2026-05-31T02:00:00Z"}));
  EXPECT_EQ(next_of(every("1Y", "2028-02-29T00:00:00Z")), "2029-02-28T00:00:00Z");
}

TEST(Schedule, AMissedRunRunsOnce) {
  Schedule weekly = every("1W", "2026-01-05T02:00:00Z");
  const UtcTime late = at("2026-03-04T12:00:00Z");  // Eight runs late.
  ASSERT_LE(*weekly.next_run(), late);
  weekly = weekly.after_run(late);
  EXPECT_EQ(next_of(weekly), "2026-03-09T02:00:00Z");
}

TEST(Schedule, AClockSetBackRepeatsNoRun) {
  Schedule weekly = every("1W", "2026-01-05T02:00:00Z");
  weekly = weekly.after_run(at("2026-01-19T02:00:00Z"));
  EXPECT_EQ(next_of(weekly.after_run(at("2026-01-06T00:00:00Z"))), "2026-01-26T02:00:00Z");
}

TEST(Schedule, ARunExactlyWhenDueIsNotDueAgain) {
  Schedule hourly = every("1h", "2026-01-05T02:00:00Z");
  hourly = hourly.after_run(*hourly.next_run());
  EXPECT_EQ(next_of(hourly), "2026-01-05T04:00:00Z");
}

TEST(Schedule, SurvivesAMillionPeriodsOfOneSecond) {
  Schedule quick = every("1s", "2026-01-05T02:00:00Z");
  quick = quick.after_run(quick.anchor + std::chrono::seconds{31'000'000});
  EXPECT_EQ(*quick.next_run(), quick.anchor + std::chrono::seconds{31'000'001});
}

TEST(Schedule, ComesBackFromItsDocument) {
  for (const char* rotation : {"6W", "2M", "Never"}) {
    Schedule schedule = every(rotation, "2026-01-05T02:00:00Z");
    schedule.version = 7;
    EXPECT_EQ(schedule_from_json(schedule_to_json(schedule), 7).value(), schedule);
    schedule = schedule.after_run(at("2026-02-01T00:00:00Z"));
    EXPECT_EQ(schedule_from_json(schedule_to_json(schedule), 7).value(), schedule);
  }
}

TEST(Schedule, ADamagedDocumentIsCorruptAndSaysWhatToDo) {
  for (const char* json : {"", "{}", R"({"rotation":"6","anchor":"2026-01-05T02:00:00Z"})"}) {
    const auto schedule = schedule_from_json(json, 1);
    ASSERT_FALSE(schedule);
    EXPECT_EQ(schedule.error().code, ErrorCode::corrupt);
    EXPECT_NE(schedule.error().message.find("rekey modify"), std::string::npos);
  }
}

TEST(CheckRotation, RefusesUnderAnHourAndUnderADayWithATpm) {
  const auto is_allowed = [](std::string_view text, RotationLimits limits) {
    return check_rotation(Rotation::parse(text).value(), limits).has_value();
  };
  EXPECT_FALSE(is_allowed("3599s", {}));
  EXPECT_TRUE(is_allowed("3600s", {}));
  EXPECT_TRUE(is_allowed("Never", {.tpm_wanted = true}));
  EXPECT_FALSE(is_allowed("23h", {.tpm_wanted = true}));
  EXPECT_TRUE(is_allowed("24h", {.tpm_wanted = true}));
  EXPECT_TRUE(is_allowed("1M", {.tpm_wanted = true}));
  EXPECT_TRUE(is_allowed("10s", {.tpm_wanted = true, .allow_short = true}));
}

}  // namespace
}  // namespace keyward::engine
