#include "engine/rekey_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/reseal_job.h"
#include "engine/service_test_support.h"

namespace keyward::engine {
namespace {

using namespace std::chrono_literals;
using testing::at;
using testing::domain;
using testing::eventually;
using ::testing::HasSubstr;
using testing::kTester;
using testing::Node;

const Error kPulled{ErrorCode::unavailable, "pulled out"};
constexpr int kEntries = 50;

class RekeyServiceTest : public ::testing::Test {
 protected:
  void set_rotation(std::string_view rotation) {
    Schedule schedule = node.service->schedule(ScheduleName::cluster).value();
    schedule.rotation = Rotation::parse(rotation).value();
    const auto set = node.service->set_schedule(ScheduleName::cluster, schedule, kTester);
    ASSERT_TRUE(set) << set.error().message;
  }
  std::size_t runs() { return node.service->history(domain("S3"), 1000).value().size(); }
  Result<void> act(std::vector<Result<void>> (RekeyService::*what)(std::span<const Domain>,
                                                                   const Caller&)) {
    const Domain s3 = domain("S3");
    return (node.service.get()->*what)({&s3, 1}, kTester).front();
  }
  // A rekey under a limit, some entries in.
  void start_slow_rekey() {
    node.fill("S3", kEntries);
    node.start({.entries_per_second = 10});
    ASSERT_TRUE(node.start_rekey("S3"));
    ASSERT_TRUE(eventually([&] { return node.status("S3").phase == "reencrypt"; }));
    for (int i = 0; i < 20; ++i) node.advance(100ms);
    ASSERT_TRUE(eventually([&] { return node.status("S3").entries_done >= 10; }));
  }

  Node node;
};

TEST_F(RekeyServiceTest, ReplacesTheKeyAndKeepsEveryEntry) {
  node.fill("S3", kEntries);
  const KeyId old_key = node.current_key("S3");
  node.start({.workers = 2});
  const auto job = node.start_rekey("S3");
  ASSERT_TRUE(job) << job.error().message;
  ASSERT_TRUE(node.is_rekeyed("S3", old_key));
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);
  EXPECT_TRUE(node.event(kRekeyStarted, "S3"));
  ASSERT_TRUE(eventually([&] { return node.event(kRekeyFinished, "S3").has_value(); }));
  EXPECT_THAT(node.event(kRekeyFinished, "S3")->text, HasSubstr("DESTROYED"));
  const auto history = node.service->history(domain("S3"), 10).value();
  ASSERT_EQ(history.size(), 1u);
  EXPECT_EQ(history.front().job, job->to_text());
  EXPECT_EQ(history.front().outcome, api::RekeyOutcome::destroyed);
  EXPECT_EQ(history.front().old_key, "2 of 2 destroyed");
  EXPECT_EQ(node.status("S3").phase, "");
  EXPECT_EQ(node.hardware_a->object_count(), 2u);  // KEYWARD's key and S3's new one.
}

TEST_F(RekeyServiceTest, StartingTwiceAnswersTheSameJob) {
  node.make_service();
  const auto first = node.start_rekey("S3");
  ASSERT_TRUE(first);
  EXPECT_EQ(node.start_rekey("S3").value(), *first);
}

TEST_F(RekeyServiceTest, ADomainThatIsNotThereStopsNoOther) {
  node.make_service();
  const std::vector<Domain> domains{domain("NONE"), domain("S3")};
  const auto jobs = node.service->start(domains, {}, kTester);
  ASSERT_FALSE(jobs[0]);
  EXPECT_EQ(jobs[0].error().code, ErrorCode::not_found);
  EXPECT_TRUE(jobs[1]);
}

TEST_F(RekeyServiceTest, AFailureIsShownAndTriedAgainAfterExactlyFifteenMinutes) {
  node.fill("S3", kEntries);
  const KeyId old_key = node.current_key("S3");
  node.start();
  node.hardware_b->set_down(kPulled);
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(eventually([&] { return node.is_open(kRekeyFailed, "S3"); }));
  const auto failed = node.status("S3");
  EXPECT_EQ(failed.state, api::DomainState::failed);
  EXPECT_THAT(failed.error, HasSubstr("fake:b"));
  EXPECT_EQ(failed.next_try, at("2026-01-05T02:15:00Z"));
  EXPECT_THAT(node.event(kRekeyFailed, "S3")->text,
              ::testing::AllOf(HasSubstr("fake:b"), HasSubstr("2026-01-05T02:15:00Z")));
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);

  node.hardware_b->set_up();
  node.advance(15min - 1ms);
  node.settle();
  EXPECT_EQ(node.current_key("S3"), old_key);
  EXPECT_EQ(node.status("S3").state, api::DomainState::failed);
  node.advance(1ms);
  EXPECT_TRUE(node.is_rekeyed("S3", old_key));
  EXPECT_TRUE(eventually([&] { return !node.is_open(kRekeyFailed, "S3"); }));
  EXPECT_EQ(node.status("S3").error, "");
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);
}

TEST_F(RekeyServiceTest, APersonsRetryDoesNotWait) {
  const KeyId old_key = node.current_key("S3");
  node.start();
  node.hardware_b->set_down(kPulled);
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(eventually([&] { return node.is_open(kRekeyFailed, "S3"); }));
  node.hardware_b->set_up();
  ASSERT_TRUE(act(&RekeyService::retry));
  EXPECT_TRUE(node.is_rekeyed("S3", old_key));
}

TEST_F(RekeyServiceTest, RetryWithNothingUnderWayIsNotFound) {
  node.make_service();
  const auto retried = act(&RekeyService::retry);
  ASSERT_FALSE(retried);
  EXPECT_EQ(retried.error().code, ErrorCode::not_found);
}

TEST_F(RekeyServiceTest, GoesOnWithoutACustodianAndSealsToItWhenItReturns) {
  const KeyId old_key = node.current_key("S3");
  node.start();
  node.hardware_b->set_down(kPulled);
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(eventually([&] { return node.is_open(kRekeyFailed, "S3"); }));
  ASSERT_TRUE(node.start_rekey("S3", {{"fake:b"}}));
  // The old key is destroyed only where the hardware answers.
  ASSERT_TRUE(eventually([&] { return node.current_key("S3") != old_key; }));
  ASSERT_TRUE(eventually([&] { return !node.status("S3").error.empty(); }));
  EXPECT_EQ(node.status("S3").state, api::DomainState::active);
  EXPECT_EQ(node.status("S3").old_key, "1 of 2 destroyed");
  EXPECT_EQ(node.table("S3").current().copies.size(), 1u);

  node.hardware_b->set_up();
  ASSERT_TRUE(node.custodians->test({"fake:b"}));
  node.advance(1min);
  EXPECT_TRUE(eventually([&] {
    const auto table = node.table("S3");
    return !table.rekey && table.current().copies.size() == 2;
  }));
}

TEST_F(RekeyServiceTest, ARateLimitIsKeptAndProgressShowsRateAndTimeLeft) {
  start_slow_rekey();
  const auto before = node.status("S3");
  EXPECT_LE(before.entries_done, 22u);
  EXPECT_GT(before.entries_per_second, 5);
  EXPECT_LT(before.entries_per_second, 15);
  EXPECT_TRUE(before.seconds_left);
  EXPECT_EQ(before.entries_total, static_cast<std::uint64_t>(kEntries));
  ASSERT_TRUE(node.service->set_rate_limit(std::nullopt, kTester));
  EXPECT_TRUE(eventually([&] { return node.status("S3").phase.empty(); }));
}

TEST_F(RekeyServiceTest, AFinishedRekeyShowsItsRateInTheHistory) {
  start_slow_rekey();
  for (int i = 0; runs() == 0; ++i) {
    ASSERT_LT(i, 100);
    node.advance(100ms);
  }
  const auto row = node.service->history(domain("S3"), 1).value().front();
  const std::chrono::duration<double> taken = *row.finished - *row.started;
  EXPECT_GT(taken.count(), 3);
  EXPECT_DOUBLE_EQ(row.entries_per_second, kEntries / taken.count());
}

TEST_F(RekeyServiceTest, TheEventOfARekeyByAClockSetBackTellsOfThatRekey) {
  node.fill("S3", kEntries);
  node.start({.entries_per_second = 10});
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(act(&RekeyService::cancel));
  ASSERT_TRUE(node.service->set_rate_limit(std::nullopt, kTester));
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  node.settle();
  node.clock.set_utc(at("2026-01-04T02:00:00Z"));
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(eventually([&] { return runs() == 2; }));
  EXPECT_TRUE(eventually([&] { return node.event(kRekeyFinished, "S3").has_value(); }));
  EXPECT_EQ(node.event_count(kRekeyCancelled, "S3"), 1u);
}

TEST_F(RekeyServiceTest, ALimitSetAtRunTimeOutlivesTheProcessAndZeroIsRefused) {
  node.start({.entries_per_second = 10});
  EXPECT_EQ(node.service->rate_limit(), 10u);
  EXPECT_FALSE(node.service->set_rate_limit(0, kTester));
  ASSERT_TRUE(node.service->set_rate_limit(500, kTester));
  node.restart();
  node.start({.entries_per_second = 10});
  EXPECT_EQ(node.service->rate_limit(), 500u);
}

TEST_F(RekeyServiceTest, APausedRekeyStandsStillAndResumes) {
  start_slow_rekey();
  ASSERT_TRUE(act(&RekeyService::pause));
  node.advance(1s);
  const auto paused = node.status("S3");
  EXPECT_EQ(paused.state, api::DomainState::paused);
  node.advance(60s);
  EXPECT_EQ(node.status("S3").entries_done, paused.entries_done);
  ASSERT_TRUE(node.service->set_rate_limit(std::nullopt, kTester));
  ASSERT_TRUE(act(&RekeyService::resume));
  EXPECT_TRUE(eventually([&] { return node.status("S3").phase.empty(); }));
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);
}

TEST_F(RekeyServiceTest, ACancelledRekeyGoesBackToTheOldKey) {
  const KeyId old_key = node.current_key("S3");
  start_slow_rekey();
  ASSERT_TRUE(act(&RekeyService::cancel));
  ASSERT_TRUE(node.service->set_rate_limit(std::nullopt, kTester));
  ASSERT_TRUE(eventually([&] { return node.event(kRekeyCancelled, "S3").has_value(); }));
  EXPECT_EQ(node.current_key("S3"), old_key);
  EXPECT_EQ(node.service->history(domain("S3"), 1).value().front().outcome,
            api::RekeyOutcome::cancelled);
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);
  EXPECT_EQ(node.hardware_a->object_count(), 2u);
}

TEST_F(RekeyServiceTest, AnUnfinishedRekeyGoesOnAfterARestart) {
  const KeyId old_key = node.current_key("S3");
  start_slow_rekey();
  const auto job = node.status("S3").job;
  node.restart();
  node.make_service();
  EXPECT_EQ(node.status("S3").job, job);
  EXPECT_GE(node.status("S3").entries_done, 10u);
  node.run_service();
  EXPECT_TRUE(node.is_rekeyed("S3", old_key));
  EXPECT_EQ(node.readable("S3", kEntries), kEntries);
}

TEST_F(RekeyServiceTest, ARekeyAskedForDuringAResealStartsWhenThatHasFinished) {
  node.make_service();
  ASSERT_TRUE(node.service->reseal(domain("S3"), {{"fake:a"}}, kTester));
  const KeyId old_key = node.current_key("S3");
  const auto job = node.start_rekey("S3");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_FALSE(node.table("S3").rekey);
  EXPECT_EQ(node.start_rekey("S3").value(), *job);
  EXPECT_EQ(node.status("S3").phase, "reseal");
  node.restart();  // It is written down.
  node.start();
  ASSERT_TRUE(node.is_rekeyed("S3", old_key));
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  EXPECT_EQ(node.service->history(domain("S3"), 1).value().front().job, job->to_text());
  EXPECT_TRUE(node.event(kResealFinished, "S3"));
  EXPECT_EQ(node.hardware_b->object_count(), 1u);  // KEYWARD's.
}

// After a failed reseal the copies are confirmed again; a custodian that is silent then is no
// failed rekey, and is told when it answers.
TEST_F(RekeyServiceTest, AConfirmationThatIsOwedFailsNothing) {
  node.start();
  node.hardware_b->set_down({ErrorCode::unavailable, "stolen"});
  ASSERT_TRUE(node.service->reseal(domain("S3"), {{"fake:a"}}, kTester));
  ASSERT_TRUE(eventually([&] { return node.is_open(kResealFailed, "S3"); }));
  const JobParts parts{node.keyring->keystore(domain("S3")).value(),
                       *node.keyring,
                       *node.custodians,
                       node.backend->control(),
                       *node.events,
                       node.clock};
  ASSERT_TRUE(ResealJob::give_up(parts, {"fake:b"}, kTester));
  node.hardware_a->set_down({ErrorCode::unavailable, "away"});
  const std::size_t calls_down = node.hardware_a->calls();
  node.advance(15min);
  ASSERT_TRUE(eventually([&] { return node.hardware_a->calls() > calls_down; }));
  node.settle();
  EXPECT_EQ(node.status("S3").error, "");
  EXPECT_FALSE(node.event(kRekeyFailed, "S3"));

  node.hardware_a->set_up();
  const std::size_t calls_up = node.hardware_a->calls();
  node.advance(15min);
  EXPECT_TRUE(eventually([&] { return node.hardware_a->calls() > calls_up; }));
}

TEST_F(RekeyServiceTest, AQueuedRekeyCanBeCancelled) {
  node.make_service();
  ASSERT_TRUE(node.service->reseal(domain("S3"), {{"fake:a"}}, kTester));
  const KeyId old_key = node.current_key("S3");
  ASSERT_TRUE(node.start_rekey("S3"));
  ASSERT_TRUE(act(&RekeyService::cancel));
  node.run_service();
  ASSERT_TRUE(eventually([&] { return node.hardware_b->object_count() == 1; }));
  node.settle();
  EXPECT_EQ(node.current_key("S3"), old_key);
  EXPECT_FALSE(node.event(kRekeyStarted, "S3"));
}

TEST_F(RekeyServiceTest, RunsByTheCalendarForYears) {
  node.start({.look_every = 24h});
  set_rotation("1Y");
  for (std::size_t year = 1; year <= 2; ++year) {
    node.advance(364 * 24h);
    EXPECT_EQ(runs(), year - 1);
    node.advance(24h);
    EXPECT_TRUE(eventually([&] { return runs() == year; })) << year;
  }
}

TEST_F(RekeyServiceTest, AMissedRunRunsOnce) {
  node.start();
  set_rotation("1W");
  node.restart();
  node.clock.set_utc(at("2026-03-04T12:00:00Z"));  // Eight runs late.
  node.start();
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  node.advance(24h);
  EXPECT_EQ(runs(), 1u);
  EXPECT_EQ(node.service->next_run(ScheduleName::cluster).value(), at("2026-03-09T02:00:00Z"));
}

TEST_F(RekeyServiceTest, AClockSetBackRepeatsNoRun) {
  node.start();
  set_rotation("1W");
  node.advance(7 * 24h);
  ASSERT_TRUE(eventually([&] { return runs() == 1; }));
  node.clock.set_utc(at("2026-01-08T02:00:00Z"));
  node.advance(4 * 24h + 1h);  // Past the time of the run that was.
  EXPECT_EQ(runs(), 1u);
}

TEST_F(RekeyServiceTest, AJumpedClockHoldsTheScheduleForTenEvenMinutes) {
  node.start();
  set_rotation("1W");
  node.advance(10min);
  node.clock.set_utc(at("2026-01-14T00:00:00Z"));
  node.advance(10min);
  EXPECT_TRUE(node.is_open(kClockJumped, "clock"));
  EXPECT_EQ(node.service->clock_verdict(), ClockSanity::Verdict::jumped);
  EXPECT_EQ(runs(), 0u);
  node.advance(10min);
  EXPECT_TRUE(eventually([&] { return runs() == 1; }));
  EXPECT_FALSE(node.is_open(kClockJumped, "clock"));
}

TEST_F(RekeyServiceTest, RetryConfirmsAJumpedClock) {
  node.start();
  set_rotation("1W");
  node.advance(10min);
  node.clock.set_utc(at("2026-01-14T00:00:00Z"));
  node.advance(10min);
  ASSERT_EQ(runs(), 0u);
  static_cast<void>(act(&RekeyService::retry));
  EXPECT_TRUE(eventually([&] { return runs() == 1; }));
}

TEST_F(RekeyServiceTest, AnImpossibleClockStartsNothingAndNoScheduleCanBeSetByIt) {
  node.start();
  set_rotation("1W");
  node.clock.set_utc(UtcTime{});
  node.advance(24h);
  EXPECT_TRUE(node.is_open(kClockJumped, "clock"));
  EXPECT_EQ(runs(), 0u);
  Schedule schedule = node.service->schedule(ScheduleName::cluster).value();
  EXPECT_FALSE(node.service->set_schedule(ScheduleName::cluster, schedule, kTester));
}

TEST_F(RekeyServiceTest, ATooShortRotationIsRefusedAndAStaleChangeIsAConflict) {
  node.make_service();
  Schedule schedule = node.service->schedule(ScheduleName::cluster).value();
  schedule.rotation = Rotation::parse("59m").value();
  const auto refused = node.service->set_schedule(ScheduleName::cluster, schedule, kTester);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid_argument);
  schedule.rotation = Rotation::parse("1M").value();
  ASSERT_TRUE(node.service->set_schedule(ScheduleName::cluster, schedule, kTester));
  const auto stale = node.service->set_schedule(ScheduleName::cluster, schedule, kTester);
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, ErrorCode::conflict);
}

TEST_F(RekeyServiceTest, AKeyThatIsNotReplacedInTimeIsOverdue) {
  node.start({.look_every = 6h});
  set_rotation("1W");
  node.hardware_b->set_down(kPulled);
  node.advance(7 * 24h + 23h);
  EXPECT_TRUE(node.is_open(kRekeyFailed, "S3"));
  EXPECT_FALSE(node.is_open(kMasterKeyOverdue, "S3"));
  node.advance(12h);
  EXPECT_TRUE(node.is_open(kMasterKeyOverdue, "S3"));
  node.hardware_b->set_up();
  node.advance(15min);
  EXPECT_TRUE(eventually([&] { return !node.is_open(kMasterKeyOverdue, "S3"); }));
}

TEST_F(RekeyServiceTest, AManualRekeyOfAllIsTheRekeyTimeThatPeopleSee) {
  node.make_service();
  EXPECT_FALSE(node.service->schedule(ScheduleName::cluster).value().last_run);
  ASSERT_TRUE(node.start_rekey("S3"));
  EXPECT_EQ(node.service->schedule(ScheduleName::cluster).value().last_run,
            at("2026-01-05T02:00:00Z"));
}

TEST_F(RekeyServiceTest, AWornKeyIsReplacedByItself) {
  node.fill("S3", 1);
  const KeyId old_key = node.current_key("S3");
  node.start({.encryptions_before_rekey = 1});
  EXPECT_TRUE(eventually([&] { return node.current_key("S3") != old_key; }));
  EXPECT_TRUE(node.event(kEncryptionLimitNear, "S3"));
}

TEST(RekeyService, AFailureOfTheDrivesKeystoreNamesTheNode) {
  Node node({"KEYWARD", "SED"});
  node.start();
  node.hardware_a->set_down(kPulled);
  ASSERT_TRUE(node.start_rekey("SED"));
  std::array<char, 256> host{};
  ASSERT_EQ(::gethostname(host.data(), host.size() - 1), 0);
  EXPECT_TRUE(eventually([&] { return node.is_open(kSedsRekeyFailed, host.data()); }));
}

TEST(RekeyService, ACustodianThatIsSilentAtTheStartIsToldOfItsKeysWhenItAnswers) {
  Node node;
  node.close();
  node.hardware_b->set_down(kPulled);
  node.expects_locked = true;  // Nobody probes here: the thread that unseals asks again by itself.
  node.open();
  node.hardware_b->set_up();
  const std::size_t calls = node.hardware_b->calls();
  node.clock.advance(61s);
  EXPECT_TRUE(eventually([&] { return node.hardware_b->calls() >= calls + 4; }));
}

TEST(RekeyService, SeveralKeystoresAreRekeyedSideBySide) {
  const std::vector<std::string> names{"KEYWARD", "S3", "NDMP", "SSO", "EMAIL"};
  Node node(names);
  std::vector<Domain> domains;
  std::vector<KeyId> old_keys;
  for (const auto& name : names) {
    node.fill(name, 5);
    domains.push_back(domain(name));
    old_keys.push_back(node.current_key(name));
  }
  node.start({.workers = 3});
  for (const auto& job : node.service->start(domains, {}, kTester)) EXPECT_TRUE(job);
  for (std::size_t i = 0; i < names.size(); ++i) {
    EXPECT_TRUE(node.is_rekeyed(names[i], old_keys[i]));
    EXPECT_EQ(node.readable(names[i], 5), 5);
  }
}

}  // namespace
}  // namespace keyward::engine
