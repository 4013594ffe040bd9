#include "engine/clock_sanity.h"

#include <gtest/gtest.h>

namespace keyward::engine {
namespace {

using Verdict = ClockSanity::Verdict;
using std::chrono::hours;
using std::chrono::minutes;

constexpr UtcTime kStart{std::chrono::sys_days{std::chrono::year{2026} / 1 / 5}};

// The two clocks of a machine; `utc` can be set.
struct Machine {
  UtcTime utc = kStart;
  MonotonicTime monotonic{hours{100}};
  ClockSanity sanity{ClockSanity::Limits{}};

  Verdict after(std::chrono::milliseconds step) {
    utc += step;
    monotonic += step;
    return sanity.observe(utc, monotonic);
  }
};

TEST(ClockSanity, BelievesAnEvenClockFromTheStart) {
  Machine machine;
  EXPECT_EQ(machine.after(minutes{0}), Verdict::believable);
  EXPECT_EQ(machine.after(hours{24 * 400}), Verdict::believable);
}

TEST(ClockSanity, FollowsStepsOfLessThanADay) {
  Machine machine;
  ASSERT_EQ(machine.after(minutes{0}), Verdict::believable);
  for (int i = 0; i < 5; ++i) {
    machine.utc += hours{23};
    EXPECT_EQ(machine.after(minutes{1}), Verdict::believable);
  }
}

TEST(ClockSanity, HoldsAfterAJumpEitherWayUntilTenEvenMinutes) {
  for (const hours jump : {hours{25}, hours{-25}, hours{24 * 3650}}) {
    Machine machine;
    ASSERT_EQ(machine.after(minutes{0}), Verdict::believable);
    machine.utc += jump;
    EXPECT_EQ(machine.after(minutes{1}), Verdict::jumped);
    EXPECT_EQ(machine.sanity.settles_at(), machine.monotonic + minutes{10});
    EXPECT_EQ(machine.after(minutes{9}), Verdict::jumped);
    EXPECT_EQ(machine.after(minutes{1}), Verdict::believable);
    EXPECT_FALSE(machine.sanity.settles_at());
  }
}

TEST(ClockSanity, AJumpDuringTheTenMinutesStartsThemAgain) {
  Machine machine;
  ASSERT_EQ(machine.after(minutes{0}), Verdict::believable);
  machine.utc += hours{48};
  ASSERT_EQ(machine.after(minutes{1}), Verdict::jumped);
  machine.utc += hours{2};
  EXPECT_EQ(machine.after(minutes{9}), Verdict::jumped);
  EXPECT_EQ(machine.after(minutes{9}), Verdict::jumped);
  EXPECT_EQ(machine.after(minutes{1}), Verdict::believable);
}

TEST(ClockSanity, IsBelievedAgainAtOnceWhenTheJumpIsUndone) {
  Machine machine;
  ASSERT_EQ(machine.after(minutes{0}), Verdict::believable);
  machine.utc += hours{48};
  ASSERT_EQ(machine.after(minutes{1}), Verdict::jumped);
  machine.utc -= hours{48};
  EXPECT_EQ(machine.after(minutes{1}), Verdict::believable);
}

TEST(ClockSanity, APersonConfirmsAJump) {
  Machine machine;
  ASSERT_EQ(machine.after(minutes{0}), Verdict::believable);
  machine.utc += hours{48};
  ASSERT_EQ(machine.after(minutes{1}), Verdict::jumped);
  machine.sanity.confirm();
  EXPECT_EQ(machine.after(minutes{0}), Verdict::believable);
}

TEST(ClockSanity, ATimeBeforeTheProgramOrDecadesLaterIsImpossibleAlsoWhenConfirmed) {
  for (const UtcTime bad :
       {UtcTime{}, kSourceDate - std::chrono::seconds{1}, kSourceDate + std::chrono::years{51}}) {
    Machine machine;
    machine.utc = bad;
    EXPECT_EQ(machine.after(minutes{0}), Verdict::impossible);
    machine.sanity.confirm();
    EXPECT_EQ(machine.after(minutes{0}), Verdict::impossible);
    machine.utc = kStart;
    EXPECT_EQ(machine.after(minutes{0}), Verdict::believable);
  }
}

TEST(ClockSanity, AClockBeforeWhatIsStoredWasSetBackWhileOff) {
  Machine machine;
  machine.sanity.remember(kStart + hours{48});
  machine.sanity.remember(kStart);
  EXPECT_EQ(machine.after(minutes{0}), Verdict::jumped);
  EXPECT_EQ(machine.after(minutes{10}), Verdict::believable);
}

}  // namespace
}  // namespace keyward::engine
