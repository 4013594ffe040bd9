#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "base/c_ptr.h"
#include "base/check.h"
#include "base/fault_plan.h"

namespace keyward {
namespace {

constexpr int kCodeCount = static_cast<int>(ErrorCode::io) + 1;

Result<int> half(int number) {
  if (number % 2 != 0) return fail(ErrorCode::invalid_argument, "odd", "half", 7);
  return number / 2;
}
Result<int> quarter(int number) { return TRY(half(TRY(half(number)))); }
Result<void> must_be_even(int number) {
  TRY(half(number));
  return {};
}

TEST(ResultTest, TryYieldsTheValueAlsoWhenNested) { EXPECT_EQ(quarter(12).value(), 3); }

TEST(ResultTest, TryReturnsTheErrorWithAllItsFields) {
  const Result<int> outcome = quarter(6);
  ASSERT_FALSE(outcome.has_value());
  EXPECT_EQ(outcome.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(outcome.error().message, "odd");
  EXPECT_EQ(outcome.error().origin, "half");
  EXPECT_EQ(outcome.error().native, 7u);
  EXPECT_FALSE(must_be_even(3).has_value());
  EXPECT_TRUE(must_be_even(4).has_value());
}

TEST(ResultTest, TryMovesWhatCannotBeCopied) {
  const auto make = []() -> Result<std::unique_ptr<int>> { return std::make_unique<int>(5); };
  const auto use = [&]() -> Result<int> {
    const std::unique_ptr<int> number = TRY(make());
    return *number;
  };
  EXPECT_EQ(use().value(), 5);
}

TEST(ResultTest, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int code = 0; code < kCodeCount; ++code)
    names.insert(error_code_name(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kCodeCount));
  EXPECT_EQ(error_code_name(ErrorCode::auth_failed), "auth_failed");
}

TEST(ResultTest, OnlyBusyAndUnavailableAreRetryable) {
  for (int code = 0; code < kCodeCount; ++code) {
    const auto error_code = static_cast<ErrorCode>(code);
    EXPECT_EQ(is_retryable(error_code),
              error_code == ErrorCode::busy || error_code == ErrorCode::unavailable)
        << error_code_name(error_code);
  }
}

TEST(ResultTest, ContextGoesBeforeTheMessageAndKeepsTheRest) {
  const Error error = with_context({ErrorCode::busy, "C_Login: busy", "C_Login", 9}, "hsm1");
  EXPECT_EQ(error.message, "hsm1: C_Login: busy");
  EXPECT_EQ(error.code, ErrorCode::busy);
  EXPECT_EQ(error.origin, "C_Login");
  EXPECT_EQ(error.native, 9u);
}

TEST(CheckDeathTest, ABrokenInvariantStopsTheProcessAndSaysWhere) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(CHECK(1 + 1 == 3, "arithmetic"), "bug: arithmetic .1 . 1 == 3. at .*result_test.cc");
  CHECK(1 + 1 == 2, "never seen");
}

int freed = 0;
void free_int(int* number) {
  ++freed;
  delete number;
}

TEST(CPtrTest, FreesOnceWithTheLibrarysFunction) {
  freed = 0;
  {
    CPtr<int, free_int> first(new int(1));
    const CPtr<int, free_int> second = std::move(first);
    EXPECT_EQ(freed, 0);
  }
  EXPECT_EQ(freed, 1);
}

struct Effects {
  int count = 0;
  Result<int> call(FaultPlan& plan) {
    return plan.apply([this]() -> Result<int> { return ++count; });
  }
};

TEST(FaultPlanTest, EachMomentFailsTheCallsThatItSaysAndNoOthers) {
  struct Row {
    FaultMoment moment;
    int failures;
    int effects;
  };
  for (const Row& row : {Row{FaultMoment::before_effect, 1, 3},
                         {FaultMoment::after_effect, 1, 4},
                         {FaultMoment::crash_before, 3, 1},
                         {FaultMoment::crash_after, 3, 2}}) {
    FaultPlan plan(2, row.moment, {ErrorCode::timeout, "planned"});
    Effects effects;
    int failures = 0;
    for (int call = 0; call < 4; ++call) failures += effects.call(plan).has_value() ? 0 : 1;
    EXPECT_EQ(failures, row.failures) << static_cast<int>(row.moment);
    EXPECT_EQ(effects.count, row.effects) << static_cast<int>(row.moment);
    EXPECT_EQ(plan.calls(), 4u);
    EXPECT_TRUE(plan.has_fired());
  }
}

TEST(FaultPlanTest, ARunThatEndsBeforeTheNthCallHasNotFired) {
  FaultPlan plan(3, FaultMoment::before_effect, {ErrorCode::io, "planned"});
  Effects effects;
  EXPECT_TRUE(effects.call(plan).has_value());
  EXPECT_TRUE(effects.call(plan).has_value());
  EXPECT_FALSE(plan.has_fired());
}

}  // namespace
}  // namespace keyward
