#include "engine/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/log.h"
#include "engine/service_test_support.h"

namespace keyward::engine {
namespace {

using testing::eventually;
using ::testing::HasSubstr;
using testing::TempDir;

// Passes on to another store, and answers as a full disk does while it is told to.
class FullControl final : public store::ControlStore {
 public:
  explicit FullControl(store::ControlStore& target) : target_(target) {}
  std::atomic<bool> is_full = false;
  std::atomic<bool> is_mute = false;  // Lists nothing.
  std::atomic<int> saves = 0;

  Result<store::Document> load(std::string_view name) override { return target_.load(name); }
  Result<std::vector<store::Document>> list(std::string_view prefix, std::string_view after,
                                            std::size_t count_max) override {
    if (is_mute) return fail(ErrorCode::io, "the disk does not answer");
    return target_.list(prefix, after, count_max);
  }
  Result<std::uint64_t> save(const store::Document& document,
                             std::span<const store::AuditRecord> records) override {
    ++saves;
    if (is_full) return fail(ErrorCode::exhausted, "the disk is full");
    return target_.save(document, records);
  }
  Result<void> remove(const store::Document& document,
                      std::span<const store::AuditRecord> records) override {
    return target_.remove(document, records);
  }
  store::AuditTrail& audit_trail() override { return target_.audit_trail(); }

 private:
  store::ControlStore& target_;
};

class EventLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([](LogLevel, std::string_view) {});
  }
  void TearDown() override { set_log_sink(nullptr); }

  std::vector<std::string> stored_names() {
    std::vector<std::string> names;
    const auto documents = backend->control().list("event/", "", 100'000).value();
    for (const auto& document : documents) names.push_back(document.name);
    return names;
  }

  TempDir directory;
  VirtualClock clock{testing::at("2026-01-05T02:00:00Z")};
  std::unique_ptr<store::Backend> backend =
      store::open_backend("sqlite:" + (directory.path() / "state").string(), clock).value();
  FullControl control{backend->control()};
};

TEST_F(EventLogTest, AStateThatIsRaisedAgainOnlyCountsUp) {
  EventLog events(control, clock);
  events.raise(kRekeyFailed, "S3", "first");
  events.raise(kRekeyFailed, "S3", "second");
  events.raise(kRekeyFailed, "SSO", "another");
  const auto all = events.list(0, 10);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].count, 2u);
  EXPECT_EQ(all[0].text, "second");
  EXPECT_TRUE(all[0].open);
  EXPECT_EQ(all[0].next_step, kRekeyFailed.next_step);
  EXPECT_EQ(events.list(all[0].id, 10).size(), 1u);
  EXPECT_EQ(events.newest(1).front().subject, "SSO");
}

TEST_F(EventLogTest, AStateThatWasClearedIsANewEventWhenItComesBack) {
  EventLog events(control, clock);
  events.raise(kRekeyFailed, "S3", "first");
  events.clear(kRekeyFailed, "S3");
  events.clear(kRekeyFailed, "S3");
  EXPECT_FALSE(events.list(0, 10)[0].open);
  events.raise(kRekeyFailed, "S3", "again");
  ASSERT_EQ(events.list(0, 10).size(), 2u);
  EXPECT_TRUE(events.list(0, 10)[1].open);
}

TEST_F(EventLogTest, MomentsAreNeverOpenAndNeverCounted) {
  EventLog events(control, clock);
  events.raise(kRekeyFinished, "S3", "one");
  events.raise(kRekeyFinished, "S3", "two");
  const auto all = events.list(0, 10);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_FALSE(all[0].open);
  EXPECT_EQ(all[1].count, 1u);
}

TEST_F(EventLogTest, ComesBackAfterARestartWithWhatWasOpenClosed) {
  std::uint64_t last = 0;
  {
    EventLog events(control, clock);
    events.raise(kRekeyFailed, "S3", "before");
    events.raise(kRekeyFinished, "SSO", "done");
    last = events.newest(1).front().id;
  }
  EventLog events(control, clock);
  ASSERT_EQ(events.list(0, 10).size(), 2u);
  EXPECT_FALSE(events.list(0, 10)[0].open);
  events.raise(kRekeyFailed, "S3", "still");  // Its owner says that it still holds.
  EXPECT_TRUE(events.list(0, 10)[0].open);
  EXPECT_EQ(events.list(0, 10)[0].count, 2u);
  EXPECT_EQ(events.list(0, 10).size(), 2u);
  events.raise(kRekeyFinished, "NDMP", "new");
  EXPECT_GT(events.newest(1).front().id, last);
}

TEST_F(EventLogTest, SubscribersSeeEachChangeUntilTheyLeave) {
  EventLog events(control, clock);
  std::vector<Event> seen;
  auto subscription = events.subscribe([&](const Event& event) { seen.push_back(event); });
  events.raise(kRekeyFailed, "S3", "first");
  events.clear(kRekeyFailed, "S3");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_TRUE(seen[0].open);
  EXPECT_FALSE(seen[1].open);
  EXPECT_EQ(seen[0].id, seen[1].id);
  subscription.reset();
  events.raise(kRekeyFailed, "S3", "second");
  EXPECT_EQ(seen.size(), 2u);
}

TEST_F(EventLogTest, KeepsTheNewestAndDropsClosedOnesFirst) {
  {
    EventLog events(control, clock, 10);
    events.raise(kRekeyFailed, "S3", "open all the time");
    for (int i = 0; i < 30; ++i) events.raise(kRekeyFinished, "SSO", fmt::format("{}", i));
    const auto all = events.list(0, 100);
    ASSERT_EQ(all.size(), 10u);
    EXPECT_EQ(all.front().subject, "S3");
    EXPECT_EQ(all.back().text, "29");
    ASSERT_TRUE(events.flush());
  }
  EXPECT_EQ(stored_names().size(), 10u);
}

TEST_F(EventLogTest, AFullDiskDelaysTheStoringAndLosesNothing) {
  std::string logged;
  set_log_sink([&](LogLevel, std::string_view line) { logged += line; });
  EventLog events(control, clock);
  control.is_full = true;
  events.raise(kRekeyFailed, "S3", "no space left");
  EXPECT_EQ(events.list(0, 10).size(), 1u);  // Shown at once all the same.
  ASSERT_TRUE(eventually([&] { return control.saves.load() > 0; }));
  ASSERT_TRUE(clock.await_waiters(1));
  EXPECT_THAT(logged, HasSubstr("KeyManagerRekeyFailed S3: no space left"));
  EXPECT_TRUE(stored_names().empty());
  control.is_full = false;
  clock.advance(std::chrono::seconds{30});
  EXPECT_TRUE(eventually([&] { return stored_names().size() == 1; }));
}

TEST_F(EventLogTest, WhenStoredEventsCannotBeReadItKeepsNewOnesAndItsThreadRests) {
  control.is_mute = true;
  EventLog events(control, clock);
  for (int i = 0; i < 1000; ++i) {  // So that it has looked at one of them at the end.
    events.raise(kRekeyFailed, "S3", "the token is gone");
    std::this_thread::yield();
  }
  EXPECT_EQ(events.newest(1).size(), 1u);
  EXPECT_TRUE(clock.await_waiters(1));
  EXPECT_EQ(control.saves, 0);
}

TEST_F(EventLogTest, CountsOfRepeatedEventsAreStoredSeldom) {
  EventLog events(control, clock);
  events.raise(kRekeyFailed, "S3", "first");
  ASSERT_TRUE(eventually([&] { return stored_names().size() == 1; }));
  ASSERT_TRUE(clock.await_waiters(1));
  const int before = control.saves;
  for (int i = 0; i < 100; ++i) events.raise(kRekeyFailed, "S3", "again");
  ASSERT_TRUE(clock.await_waiters(1));
  clock.advance(std::chrono::minutes{1});
  EXPECT_TRUE(eventually([&] { return control.saves.load() > before; }));
  EXPECT_LE(control.saves - before, 2);
}

TEST_F(EventLogTest, ADamagedDocumentIsLeftOutAndItsIdIsNotUsedAgain) {
  ASSERT_TRUE(control.save({"event/00000000000000000007", 0, "{"}, {}));
  EventLog events(control, clock);
  EXPECT_TRUE(events.list(0, 10).empty());
  events.raise(kRekeyFinished, "S3", "done");
  EXPECT_EQ(events.list(0, 10).front().id, 8u);
}

TEST_F(EventLogTest, RaisingFromManyThreadsKeepsOrderAndCount) {
  EventLog events(control, clock);
  std::vector<std::uint64_t> seen;
  auto subscription = events.subscribe([&](const Event& event) { seen.push_back(event.id); });
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        for (int k = 0; k < 50; ++k) events.raise(kRekeyFinished, "S3", "done");
      });
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_EQ(events.list(0, 1000).size(), 200u);
}

}  // namespace
}  // namespace keyward::engine
