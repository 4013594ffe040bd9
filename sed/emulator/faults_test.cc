// Faults and quirks, each seen from the host; and the power cut at every command of a revert.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

class FaultsTest : public DriveTest {
 protected:
  void set(EmulatorFaults faults) { drive().set_faults(faults); }
  static Tokens properties() { return call(0xFF, 0xFF01, ""); }
};

TEST_F(FaultsTest, ADeadDriveAnswersNothing) {
  set({.dead = true});
  auto transport = drive().connect();
  Bytes buffer(512);
  EXPECT_EQ(transport->receive(Protocol::tcg, 1, buffer).error().code, ErrorCode::unavailable);
  EXPECT_EQ(transport->blocks()->read(0, buffer).error().code, ErrorCode::unavailable);
  EXPECT_EQ(transport->identify(IdentifyPage::ata_device).error().code, ErrorCode::unavailable);
  set({});
  EXPECT_TRUE(transport->receive(Protocol::tcg, 1, buffer).has_value());
}

TEST_F(FaultsTest, BusyAndTimeOutsPassAndATimedOutCommandHasTakenEffect) {
  set({.busy_commands = 1, .time_outs = 1});
  EXPECT_EQ(write(0, 'A'), BusStatus::busy);
  EXPECT_EQ(write(0, 'B'), BusStatus::timed_out);
  EXPECT_EQ(read(0), sectors('B'));
}

TEST_F(FaultsTest, ASlowDriveTakesItsTime) {
  VirtualClock clock{UtcTime{}};
  options_.clock = &clock;
  set({.delay = std::chrono::milliseconds(25)});
  const MonotonicTime before = clock.monotonic();
  std::thread command([&] { read(0); });
  ASSERT_TRUE(clock.await_waiters(1));
  clock.advance(std::chrono::milliseconds(25));
  command.join();
  EXPECT_EQ(clock.monotonic() - before, std::chrono::milliseconds(25));
  EXPECT_EQ(status_, BusStatus::good);
  drive_.reset();
}

TEST_F(FaultsTest, OutstandingPollsComeBeforeTheAnswer) {
  set({.outstanding_polls = 2});
  WireHost h = host();
  h.send_raw(h.envelope(properties(), 0, 0));
  for (int n = 0; n < 2; ++n) {
    const Reply poll = h.fetch();
    EXPECT_TRUE(poll.empty);
    EXPECT_EQ(poll.outstanding, 1u);
    EXPECT_EQ(poll.min_transfer, 0u);
  }
  EXPECT_EQ(h.fetch().status, kSuccess);
}

TEST_F(FaultsTest, ADroppedReplyNeverComesThoughTheMethodRan) {
  WireHost h = host();
  const std::string msid = h.msid();
  h.start(kAdminSp, {.authority = kSid, .pin = msid});
  set({.dropped_replies = 1});
  EXPECT_TRUE(h.set(kPinSid, 3, tok("owner")).empty);
  h.end();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "owner"}).status, kSuccess);
}

TEST_F(FaultsTest, QuirksOfDrivesInTheField) {
  take_ownership();
  WireHost h = host();
  set({.short_properties = true});
  EXPECT_EQ(h.control(properties()).status, -1);
  set({.locked_out = true});
  EXPECT_EQ(start_admin1(h).status, kLockedOut);
  set({.locked_out = true, .lock_out_says_not_authorized = true});
  EXPECT_EQ(start_admin1(h).status, kNotAuthorized);
  set({.no_authenticate_method = true});
  h.start(kLockingSp);
  EXPECT_EQ(h.invoke(kThisSp, 0x1C, uid(kAdmin1) + nam(0, tok("owner"))).status, kNotAuthorized);
  h.end();
  ASSERT_EQ(admin_sets(kMbrControl, nam(1, num(1))), kSuccess);
  set({.shadow_mbr_stays = true});
  ASSERT_EQ(admin_sets(kMbrControl, nam(1, num(0))), kSuccess);
  start_admin1(h);
  EXPECT_EQ(h.get(kMbrControl, 1, 1).cell(1)->number, 1u);
  h.end();
  set({.next_method_status = 0x0F});
  start_admin1(h);
  EXPECT_EQ(h.get(kMbrControl, 1, 1).status, 0x0F);
  EXPECT_EQ(h.get(kMbrControl, 1, 1).status, kSuccess);
  h.end();
  set({.silent_after_stack_reset = true});
  const std::string request({0x10, 0, 0, 0, 0, 0, 0, 2});
  drive().security_send(2, 0x1000, std::as_bytes(std::span(request)));
  EXPECT_TRUE(h.control(properties()).empty);
  drive().power_cycle();
  EXPECT_EQ(h.control(properties()).status, kSuccess);
}

TEST_F(FaultsTest, ConnectionsOfManyThreadsShareTheDrive) {
  drive();
  std::vector<std::jthread> threads;
  for (char n = 0; n < 4; ++n)
    threads.emplace_back([this, n] {
      const auto transport = drive_->connect();
      const std::uint64_t sector = static_cast<std::uint64_t>(n);
      Bytes discovery(2048);
      for (int round = 0; round < 100; ++round) {
        Bytes data = sectors(static_cast<char>('A' + n));
        EXPECT_TRUE(transport->blocks()->write(sector, data).has_value());
        EXPECT_TRUE(transport->receive(Protocol::tcg, 1, discovery).has_value());
        std::ranges::fill(data, std::byte{0});
        EXPECT_TRUE(transport->blocks()->read(sector, data).has_value());
        EXPECT_EQ(data, sectors(static_cast<char>('A' + n)));
      }
    });
  for (int n = 0; n < 10; ++n) drive_->power_cycle();
  threads.clear();
  EXPECT_EQ(drive_->commands(), 1200u);
}

TEST_F(FaultsTest, AWriteThatIsCutHalfwayHasDoneItsFirstHalf) {
  write(0, 'A', 8);
  set({.cut_at_command = 2, .cut = PowerCut::halfway});
  EXPECT_EQ(read(0, 8), sectors('A', 8));
  EXPECT_EQ(write(0, 'B', 8), BusStatus::gone);
  EXPECT_TRUE(read(0).empty());
  EXPECT_EQ(status_, BusStatus::gone);
  drive().power_cycle();
  EXPECT_EQ(read(0, 4), sectors('B', 4));
  EXPECT_EQ(read(4, 4), sectors('A', 4));
}

TEST_F(FaultsTest, ATryIsSpentWhenThePowerGoesBeforeThePinWasLookedAt) {
  options_.try_limit = 1;
  options_.tries_persist = true;
  WireHost h = host();
  const std::string msid = h.msid();
  set({.cut_at_command = 1, .cut = PowerCut::halfway});
  const Tokens start =
      call(0xFF, 0xFF02, num(1) + uid(kAdminSp) + num(1) + nam(0, tok(msid)) + nam(3, uid(kSid)));
  EXPECT_EQ(h.send_raw(h.envelope(start, 0, 0)), BusStatus::gone);
  drive().power_cycle();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kLockedOut);
}

// Whatever the moment, the drive afterwards takes the owner's PIN or the MSID, and the PSID still
// brings it back.
TEST_F(FaultsTest, ThePowerCutAtEveryCommandOfARevertLeavesADriveThatOpens) {
  for (const PowerCut cut : {PowerCut::before, PowerCut::halfway, PowerCut::after}) {
    for (std::uint64_t at = 1;; ++at) {
      drive_.reset();
      options_.backing_file =
          directory_ / ("drive" + std::to_string(static_cast<int>(cut)) + "-" + std::to_string(at));
      take_ownership();
      write(0, 'A');
      WireHost h = host();
      set({.cut_at_command = at, .cut = cut});
      const auto step = [&](const Tokens& tokens, std::uint32_t tsn) {
        Bytes buffer(2048);
        const bool sent = h.send_raw(h.envelope(tokens, tsn, tsn == 0 ? 0 : 1)) == BusStatus::good;
        return sent && drive().security_receive(1, 0x1000, buffer) == BusStatus::good;
      };
      // The third session of this drive, and they count from 4096: take_ownership() had two.
      const bool done =
          step(call(0xFF, 0xFF02,
                    num(1) + uid(kAdminSp) + num(1) + nam(0, tok("owner")) + nam(3, uid(kSid))),
               0) &&
          step(call(kAdminSp, 0x0000000600000202, ""), 4098);
      drive().power_cycle();
      reopen();
      WireHost again = host();
      const bool owned =
          again.start(kAdminSp, {.authority = kSid, .pin = "owner"}).status == kSuccess;
      again.end();
      const bool reverted =
          again.start(kAdminSp, {.authority = kSid, .pin = again.msid()}).status == kSuccess;
      again.end();
      EXPECT_NE(owned, reverted) << at;
      if (reverted) {
        EXPECT_NE(read(0), sectors('A')) << at;
      }
      ASSERT_EQ(again.start(kAdminSp, {.authority = kPsid, .pin = drive().psid()}).status,
                kSuccess);
      EXPECT_EQ(again.invoke(kAdminSp, 0x202).status, kSuccess) << at;
      if (done) {
        EXPECT_TRUE(reverted);
        EXPECT_GE(at, 4u);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace keyward::sed
