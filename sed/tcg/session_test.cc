// Sessions with emulated drives, which are strict; what they refuse is our mistake.
#include "sed/tcg/session.h"

#include <gtest/gtest.h>

#include "sed/tcg/emulated_tper_fixture.h"
#include "sed/tcg/method_status.h"

namespace keyward::sed::tcg {
namespace {

constexpr std::uint64_t kYes = 1, kNo = 0;

template <typename T>
ErrorCode code(const Result<T>& result) {
  EXPECT_FALSE(result) << "it succeeded";
  return result ? ErrorCode::io : result.error().code;
}
template <typename T>
std::uint64_t native(const Result<T>& result) {
  return result ? 0 : result.error().native;
}

Bytes pattern(std::size_t size) {
  Bytes out(size);
  for (std::size_t n = 0; n < size; ++n) out[n] = static_cast<std::byte>(n * 31 >> 3);
  return out;
}

Row lock(std::uint64_t locked) {
  return {{column::locking::kReadLocked, locked}, {column::locking::kWriteLocked, locked}};
}
const Columns kLocks{column::locking::kReadLocked, column::locking::kWriteLocked};

TEST(Session, AnybodyReadsTheMsid) {
  EmulatedTper tper;
  Session session = tper.start(sp::kAdmin).value();
  const Row row = session.get(pin::kMsid, {column::pin::kPin, column::pin::kPin}).value();
  ASSERT_NE(bytes_in(row, column::pin::kPin), nullptr);
  EXPECT_EQ(to_hex(*bytes_in(row, column::pin::kPin)), to_hex(as_bytes(EmulatedTper::kMsid)));
  EXPECT_TRUE(session.close());
}

TEST(Session, UnlockingTakesSixCommands) {
  EmulatedTper tper;
  tper.take_ownership();
  tper.reconnect();
  const std::uint64_t before = tper.drive().commands();
  Session session = tper.as_admin();
  ASSERT_TRUE(session.set(range::kGlobal, lock(kNo)));
  ASSERT_TRUE(session.close());
  EXPECT_EQ(tper.drive().commands() - before, 6u);
  EXPECT_TRUE(tper.clock().waits.empty());
}

TEST(Session, AWrongPinIsAuthFailedAndTooManyAreLockedOut) {
  EmulatedTper tper({.try_limit = 3});
  tper.take_ownership();
  for (int n = 0; n < 3; ++n) {
    const auto refused = tper.start(sp::kLocking, authority::admin(1), "wrong");
    EXPECT_EQ(code(refused), ErrorCode::auth_failed);
    EXPECT_EQ(native(refused), status::kNotAuthorized);
    EXPECT_EQ(refused.error().origin, "NOT_AUTHORIZED");
    EXPECT_NE(refused.error().message.find("Admin1"), std::string::npos);
  }
  const auto locked_out = tper.start(sp::kLocking, authority::admin(1), "owner");
  EXPECT_EQ(code(locked_out), ErrorCode::locked_out);
  EXPECT_EQ(native(locked_out), status::kAuthorityLockedOut);
}

TEST(Session, ASpThatIsNotActiveIsAnInvalidArgument) {
  EmulatedTper tper;
  const auto refused = tper.start(sp::kLocking);
  EXPECT_EQ(code(refused), ErrorCode::invalid_argument);
  EXPECT_NE(refused.error().message.find("not active"), std::string::npos);
}

TEST(Session, CellsThatMayNotBeReadAreAbsent) {
  EmulatedTper tper;
  Session session = tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid).value();
  const Row row = session.get(pin::kSid, {column::pin::kPin, column::pin::kPersistence}).value();
  EXPECT_EQ(bytes_in(row, column::pin::kPin), nullptr);
  EXPECT_EQ(number_in(row, column::pin::kTryLimit), 5u);
  EXPECT_EQ(number_in(row, column::pin::kTries), 0u);
  EXPECT_EQ(number_in(row, column::pin::kPersistence), 0u);
}

TEST(Session, WhatIsSetIsReadBack) {
  EmulatedTper tper;
  tper.take_ownership();
  Session session = tper.as_admin();
  using namespace column::locking;
  const Uid first = range::opal(1);
  ASSERT_TRUE(
      session.set(first, {{kRangeStart, std::uint64_t{1024}},
                          {kRangeLength, std::uint64_t{2048}},
                          {kReadLockEnabled, kYes},
                          {kWriteLockEnabled, kYes},
                          {kLockOnReset, List{number(kPowerCycle), number(kHardwareReset)}}}));
  const Row row = session.get(first, {kRangeStart, kActiveKey}).value();
  EXPECT_EQ(number_in(row, kRangeStart), 1024u);
  EXPECT_EQ(number_in(row, kRangeLength), 2048u);
  EXPECT_EQ(number_in(row, kReadLockEnabled), kYes);
  ASSERT_NE(list_in(row, kLockOnReset), nullptr);
  EXPECT_EQ(*list_in(row, kLockOnReset), (List{number(0), number(1)}));
  const Bytes* key = bytes_in(row, kActiveKey);
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(to_hex(*key), "0000080600030001");
  // Overlapping: refused as a whole.
  EXPECT_EQ(code(session.set(range::opal(2), {{kRangeStart, std::uint64_t{2048}},
                                              {kRangeLength, std::uint64_t{8}}})),
            ErrorCode::invalid_argument);
  EXPECT_TRUE(session.close());
}

TEST(Session, ASessionForReadingChangesNothing) {
  EmulatedTper tper;
  tper.take_ownership();
  Session session =
      tper.start(sp::kLocking, authority::admin(1), "owner", Session::Mode::read).value();
  const std::uint64_t before = tper.drive().commands();
  EXPECT_EQ(code(session.set(range::kGlobal, lock(kNo))), ErrorCode::conflict);
  EXPECT_EQ(code(session.set_pin(pin::admin(1), secret_of("x"))), ErrorCode::conflict);
  EXPECT_EQ(code(session.write_table(kDataStore, 0, pattern(1))), ErrorCode::conflict);
  EXPECT_EQ(code(session.invoke(kThisSp, method::kRevertSp)), ErrorCode::conflict);
  EXPECT_EQ(code(session.begin_transaction()), ErrorCode::conflict);
  EXPECT_EQ(tper.drive().commands(), before);
  EXPECT_TRUE(session.get(range::kGlobal, kLocks));
  EXPECT_TRUE(session.invoke(uid(table::kAuthority, 0), method::kNext));
  EXPECT_TRUE(session.close());
}

TEST(Session, RandomBytesComeInTheNumberAskedFor) {
  EmulatedTper tper;
  Session session = tper.start(sp::kAdmin).value();
  const Bytes first = session.random(32).value();
  const Bytes second = session.random(32).value();
  EXPECT_EQ(first.size(), 32u);
  EXPECT_NE(first, second);
  EXPECT_EQ(code(session.random(33)), ErrorCode::invalid_argument);
}

TEST(Session, AnAnswerLargerThanTheBufferIsFetchedWhole) {
  EmulatedTper tper({.users = 255});
  tper.take_ownership();
  ASSERT_TRUE(tper.channel().negotiate());
  Session session = tper.as_admin();
  const List uids = session.invoke(uid(table::kAuthority, 0), method::kNext).value();
  ASSERT_EQ(uids.size(), 1u);
  ASSERT_NE(uids[0].as_list(), nullptr);
  EXPECT_GT(uids[0].as_list()->size(), 255u);  // 9 bytes each.
}

TEST(Session, WithoutPropertiesALargeAnswerIsAnOverflow) {
  EmulatedTper tper({.users = 255});
  tper.take_ownership();
  Session session = tper.as_admin();
  const auto refused = session.invoke(uid(table::kAuthority, 0), method::kNext);
  EXPECT_EQ(code(refused), ErrorCode::invalid_argument);
  EXPECT_EQ(native(refused), status::kResponseOverflow);
  EXPECT_TRUE(session.is_open());
}

TEST(Session, ByteTablesTravelInLargePieces) {
  EmulatedTper tper;
  tper.take_ownership();
  ASSERT_TRUE(tper.channel().negotiate());
  const Bytes content = pattern(200'000);
  Session session = tper.as_admin();
  std::uint64_t before = tper.drive().commands();
  ASSERT_TRUE(session.write_table(kDataStore, 4096, content));
  EXPECT_EQ(tper.drive().commands() - before, 8u);  // Four pieces.
  before = tper.drive().commands();
  EXPECT_TRUE(session.read_table(kDataStore, 4096, content.size()).value() == content);
  EXPECT_EQ(tper.drive().commands() - before, 8u);
  EXPECT_EQ(session.read_table(kDataStore, 4095, 2).value(), hex("0000"));
}

TEST(Session, ByteTablesTravelInTheSmallestPackets) {
  EmulatedTper tper({.max_com_packet = 2048});
  tper.take_ownership();
  const Bytes content = pattern(10'000);
  Session session = tper.as_admin();
  ASSERT_TRUE(session.write_table(kDataStore, 0, content));  // Asks for Properties.
  EXPECT_TRUE(tper.channel().properties_are_known());
  EXPECT_TRUE(session.read_table(kDataStore, 0, content.size()).value() == content);
  EXPECT_TRUE(session.close());
}

TEST(Session, ASyncSessionThatIsNotOursIsRefused) {
  for (const char* answer : {"8000000000000FF03 F0 02 05 F1 F9 F0 00 00 00 F1",  // Another host's.
                             "8000000000000FF03 F0 01 F1 F9 F0 00 00 00 F1",     // No TSN.
                             "8000000000000FF03 F0 01 85 0100000000 F1 F9 F0 00 00 00 F1",
                             "8000000000000FF06 F0 01 05 F1 F9 F0 00 00 00 F1"}) {
    ScriptedDrive drive;
    SteppingClock clock;
    Discovery found;
    found.sscs = {{.ssc = Ssc::opal2, .base_com_id = 0x1000}};
    Channel channel = Channel::open(drive, clock, found, {}).value();
    drive.answer(com_packet(0x1000, hex(std::string("F8 A800000000000000FF A") + answer)));
    EXPECT_EQ(code(Session::start(channel, sp::kAdmin, {}, Session::Mode::read)),
              ErrorCode::protocol)
        << answer;
    EXPECT_TRUE(channel.hangs());  // A session may be open that has no name.
  }
}

// Where a piece ends is seen in the calls' Where.
TEST(Session, PiecesEndWhereATablesGranularityMayWantIt) {
  ScriptedDrive drive;
  SteppingClock clock;
  Discovery found;
  found.sscs = {{.ssc = Ssc::opal2, .base_com_id = 0x1000}};
  Properties known;
  known.com_packet_bytes_max = 8704;
  known.packet_bytes_max = 8684;
  known.token_bytes_max = 8648;
  Channel channel = Channel::open(drive, clock, found, {.known = known}).value();
  drive.answer(com_packet(0x1000, hex("F8 A800000000000000FF A8000000000000FF03 F0 01 05 F1 F9"
                                      "F0 00 00 00 F1")));
  for (int n = 0; n < 3; ++n)
    drive.answer(com_packet(0x1000, hex("F0 F1 F9 F0 00 00 00 F1"), 5, 1));
  drive.answer(com_packet(0x1000, hex("FA"), 5, 1));
  Session session = Session::start(channel, sp::kLocking, {}, Session::Mode::write).value();
  ASSERT_TRUE(session.write_table(kMbr, 512, pattern(20'000)));
  ASSERT_EQ(drive.sent.size(), 4u);
  const auto where = [&](std::size_t n) {
    const Bytes& payload = drive.sent[n].payload;
    return to_hex(ByteView(payload).subspan(56 + 20, 6));
  };
  EXPECT_EQ(where(1), "f200820200f3");  // 0x200
  EXPECT_EQ(where(2), "f200822000f3");  // 0x2000
  EXPECT_EQ(where(3), "f200824000f3");  // 0x4000
}

// Core 5.2.2.3: what the host takes is asked when a session starts.
TEST(Session, PropertiesInTheMiddleCountForWritingAlone) {
  EmulatedTper tper;
  tper.take_ownership();
  const Bytes content = pattern(10'000);
  const auto commands_to_read = [&](Session& session) {
    const std::uint64_t before = tper.drive().commands();
    EXPECT_TRUE(session.read_table(kDataStore, 0, content.size()).value() == content);
    return tper.drive().commands() - before;
  };
  {
    Session session = tper.as_admin();
    ASSERT_TRUE(session.write_table(kDataStore, 0, content));
    EXPECT_GT(tper.channel().answer_bytes_max(), content.size());
    EXPECT_EQ(commands_to_read(session), 12u);  // Six pieces.
  }
  Session later = tper.as_admin();
  EXPECT_EQ(commands_to_read(later), 2u);
}

TEST(Session, ATableEndsWhereItEnds) {
  EmulatedTper tper({.data_store_bytes = 8192});
  tper.take_ownership();
  Session session = tper.as_admin();
  EXPECT_TRUE(session.write_table(kDataStore, 8190, hex("0102")));
  EXPECT_EQ(code(session.write_table(kDataStore, 8190, hex("010203"))),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code(session.read_table(kDataStore, 8190, 3)), ErrorCode::invalid_argument);
  EXPECT_EQ(session.read_table(kDataStore, 8190, 2).value(), hex("0102"));
  EXPECT_TRUE(session.read_table(kDataStore, 0, 0).value().empty());
}

TEST(Session, ATransactionIsAllOrNothing) {
  EmulatedTper tper;
  tper.take_ownership();
  const auto stored = [&] { return tper.as_admin().read_table(kDataStore, 0, 2).value(); };
  {
    Session session = tper.as_admin();
    ASSERT_TRUE(session.begin_transaction());
    ASSERT_TRUE(session.write_table(kDataStore, 0, hex("0101")));
    ASSERT_TRUE(session.commit());
    ASSERT_TRUE(session.begin_transaction());
    ASSERT_TRUE(session.write_table(kDataStore, 0, hex("0202")));
    ASSERT_TRUE(session.abort());
    ASSERT_TRUE(session.close());
  }
  EXPECT_EQ(stored(), hex("0101"));
  {
    Session session = tper.as_admin();
    ASSERT_TRUE(session.begin_transaction());
    ASSERT_TRUE(session.write_table(kDataStore, 0, hex("0303")));
  }
  EXPECT_EQ(stored(), hex("0101"));
}

TEST(Session, AnotherAuthorityJoins) {
  EmulatedTper tper;
  tper.take_ownership();
  Session session = tper.start(sp::kLocking).value();
  EXPECT_EQ(code(session.set(range::kGlobal, lock(kNo))), ErrorCode::auth_failed);
  const SecretBytes wrong = secret_of("wrong");
  const SecretBytes right = secret_of("owner");
  EXPECT_EQ(code(session.authenticate({authority::admin(1), &wrong})), ErrorCode::auth_failed);
  ASSERT_TRUE(session.authenticate({authority::admin(1), &right}));
  EXPECT_TRUE(session.set(range::kGlobal, lock(kNo)));
}

TEST(Session, AModelWithoutAuthenticateIsNotAsked) {
  EmulatedTper tper;
  tper.reconnect({.quirks = {.no_authenticate = true}});
  Session session = tper.start(sp::kAdmin).value();
  const SecretBytes pin = secret_of(EmulatedTper::kMsid);
  EXPECT_EQ(code(session.authenticate({authority::kSid, &pin})), ErrorCode::unsupported);
}

TEST(Session, ARevertEndsTheSessionWithItsSuccess) {
  EmulatedTper tper;
  tper.take_ownership();
  {
    Session session = tper.as_admin();
    ASSERT_TRUE(session.invoke(kThisSp, method::kRevertSp,
                               {named(parameter::kKeepGlobalRangeKey, number(kYes))}));
    EXPECT_FALSE(session.is_open());
    EXPECT_TRUE(session.close());
    EXPECT_EQ(code(session.close()), ErrorCode::conflict);
  }
  EXPECT_EQ(code(tper.start(sp::kLocking)), ErrorCode::invalid_argument);
  const std::string psid = tper.drive().psid();
  Session session = tper.start(sp::kAdmin, authority::kPsid, psid).value();
  ASSERT_TRUE(session.invoke(sp::kAdmin, method::kRevert));
  const std::uint64_t before = tper.drive().commands();
  EXPECT_TRUE(session.close());
  EXPECT_EQ(tper.drive().commands(), before);
  EXPECT_TRUE(tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid));
}

TEST(Session, RevertingTheLockingSpLeavesTheAdminSpsSessionOpen) {
  EmulatedTper tper;
  tper.take_ownership();
  Session session = tper.start(sp::kAdmin, authority::kSid, "owner").value();
  ASSERT_TRUE(session.invoke(sp::kLocking, method::kRevert));
  EXPECT_TRUE(session.is_open());
  EXPECT_TRUE(session.close());
}

TEST(Session, WhoeverIsDroppedIsClosed) {
  EmulatedTper tper;
  {
    Session first = tper.start(sp::kAdmin).value();
    Session second = std::move(first);
    EXPECT_TRUE(second.random(1));
    EXPECT_FALSE(first.is_open());  // NOLINT: what is moved from is what is looked at.
    EXPECT_EQ(code(first.random(1)), ErrorCode::conflict);
  }
  tper.reconnect({.quirks = {.no_stack_reset = true}});
  EXPECT_TRUE(tper.start(sp::kAdmin));  // The drive has one session.
}

// As a process that was killed leaves it.
struct Abandoned {
  explicit Abandoned(EmulatedTper& tper)
      : channel(
            Channel::open(tper.transport(), tper.clock(), discover(tper.transport()).value(), {})
                .value()),
        session(Session::start(channel, sp::kAdmin, {}, Session::Mode::read).value()) {
    channel.note_hang();
  }
  Channel channel;
  Session session;
};

TEST(Session, WhatAnEarlierProcessLeftOpenIsEnded) {
  EmulatedTper tper;
  Abandoned abandoned(tper);
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, ItStaysBusyWhereTheStackCannotBeReset) {
  EmulatedTper tper;
  Abandoned abandoned(tper);
  tper.reconnect({.quirks = {.no_stack_reset = true}});
  const auto refused = tper.start(sp::kAdmin);
  EXPECT_EQ(code(refused), ErrorCode::busy);
  EXPECT_EQ(native(refused), status::kNoSessionsAvailable);
}

TEST(Session, AnAnswerThatAnEarlierProcessLeftUnfetchedIsClearedAway) {
  EmulatedTper tper;
  TokenWriter request;
  write_properties_call(Dialect::opal, request);
  Bytes packet(com_packet_bytes(request.size()));
  write_com_packet(tper.channel().com_id(), {}, request, packet);
  ASSERT_TRUE(tper.transport().send(Protocol::tcg, tper.channel().com_id().number, packet));
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, ALostAnswerIsATimeoutAndTheNextSessionBeginsCleanly) {
  EmulatedTper tper;
  tper.take_ownership();
  {
    Session session = tper.as_admin();
    tper.drive().set_faults({.dropped_replies = 1});
    EXPECT_EQ(code(session.write_table(kDataStore, 0, hex("77"))), ErrorCode::timeout);
    EXPECT_FALSE(session.is_open());
    EXPECT_EQ(code(session.close()), ErrorCode::conflict);
  }
  Session session = tper.as_admin();
  EXPECT_EQ(session.read_table(kDataStore, 0, 1).value(), hex("77"));  // It had taken effect.
}

TEST(Session, ALostSyncSessionLeavesNoSessionBehind) {
  EmulatedTper tper;
  tper.drive().set_faults({.dropped_replies = 1});
  EXPECT_EQ(code(tper.start(sp::kAdmin)), ErrorCode::timeout);
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, ATimeoutOfTheBusIsOneToo) {
  EmulatedTper tper;
  tper.drive().set_faults({.time_outs = 1});
  EXPECT_EQ(code(tper.start(sp::kAdmin)), ErrorCode::timeout);
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, ADeadDriveIsUnavailableOrTimesOut) {
  EmulatedTper tper;
  tper.drive().set_faults({.dead = true});
  const auto refused = tper.start(sp::kAdmin);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().code == ErrorCode::unavailable ||
              refused.error().code == ErrorCode::timeout);
}

TEST(Session, BusyAndSlowDrivesAreAwaited) {
  EmulatedTper tper;
  tper.drive().set_faults({.busy_commands = 5, .outstanding_polls = 20});
  Session session = tper.start(sp::kAdmin).value();
  EXPECT_TRUE(session.random(8));
  EXPECT_TRUE(session.close());
}

TEST(Session, AfterAResetTheSessionIsOver) {
  EmulatedTper tper;
  tper.take_ownership();
  Session session = tper.as_admin();
  tper.drive().power_cycle();
  EXPECT_EQ(code(session.set(range::kGlobal, lock(kNo))), ErrorCode::timeout);
  EXPECT_FALSE(session.is_open());
  EXPECT_TRUE(tper.as_admin().set(range::kGlobal, lock(kNo)));
}

// A TPer ends a session that speaks nonsense, and says so on the control session.
TEST(Session, WhatTheDriveEndsIsAConflict) {
  EmulatedTper tper;
  Session session = tper.start(sp::kAdmin).value();
  Value deep = list({});
  for (int n = 0; n < 40; ++n) deep = list({deep});
  const auto ended = session.invoke(kThisSp, method::kRandom, {deep});
  EXPECT_EQ(code(ended), ErrorCode::conflict);
  EXPECT_FALSE(session.is_open());
  EXPECT_FALSE(tper.channel().hangs());
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, AModelThatDiesOfStackResetWorksWithItsQuirk) {
  EmulatedTper tper;
  tper.drive().set_faults({.dropped_replies = 1, .silent_after_stack_reset = true});
  tper.reconnect({.quirks = {.no_stack_reset = true}});
  TokenWriter request;
  write_properties_call(Dialect::opal, request);
  EXPECT_EQ(code(tper.channel().exchange({}, request)), ErrorCode::timeout);
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, PropertiesThatAreCutOffLeaveTheSmallestPackets) {
  EmulatedTper tper;
  tper.take_ownership();
  tper.drive().set_faults({.short_properties = true});
  Session session = tper.as_admin();
  const Bytes content = pattern(5000);
  EXPECT_TRUE(session.write_table(kDataStore, 0, content));
  EXPECT_EQ(tper.channel().properties(), Properties{});
  EXPECT_TRUE(session.read_table(kDataStore, 0, content.size()).value() == content);
}

TEST(Session, EveryStatusHasItsCode) {
  const std::pair<std::uint8_t, ErrorCode> kCodes[] = {{0x01, ErrorCode::auth_failed},
                                                       {0x03, ErrorCode::busy},
                                                       {0x04, ErrorCode::io},
                                                       {0x05, ErrorCode::conflict},
                                                       {0x06, ErrorCode::conflict},
                                                       {0x07, ErrorCode::busy},
                                                       {0x08, ErrorCode::conflict},
                                                       {0x09, ErrorCode::exhausted},
                                                       {0x0A, ErrorCode::exhausted},
                                                       {0x0B, ErrorCode::unsupported},
                                                       {0x0C, ErrorCode::invalid_argument},
                                                       {0x0D, ErrorCode::unsupported},
                                                       {0x0F, ErrorCode::io},
                                                       {0x10, ErrorCode::conflict},
                                                       {0x11, ErrorCode::invalid_argument},
                                                       {0x12, ErrorCode::locked_out},
                                                       {0x3F, ErrorCode::conflict},
                                                       {0x2A, ErrorCode::protocol}};
  EmulatedTper tper;
  Session session = tper.start(sp::kAdmin).value();
  for (const auto& [number, expected] : kCodes) {
    tper.drive().set_faults({.next_method_status = number});
    const auto refused = session.random(1);
    EXPECT_EQ(code(refused), expected) << int{number};
    EXPECT_EQ(native(refused), number);
    EXPECT_TRUE(session.is_open());
  }
}

TEST(Session, TPerResetIsTheOwnersToEnable) {
  EmulatedTper tper;
  EXPECT_EQ(code(tper.channel().reset_tper()), ErrorCode::unsupported);
  Session session = tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid).value();
  ASSERT_TRUE(session.set(kTPerInfo, {{column::tper_info::kProgrammaticResetEnable, kYes}}));
  ASSERT_TRUE(tper.channel().reset_tper());
  EXPECT_EQ(code(session.random(1)), ErrorCode::timeout);
  EXPECT_TRUE(tper.start(sp::kAdmin));
}

TEST(Session, BlockSidLastsUntilThePowerIsOff) {
  EmulatedTper tper;
  ASSERT_TRUE(tper.channel().block_sid(Channel::Until::power_cycle));
  EXPECT_TRUE(discover(tper.transport()).value().block_sid->sid_blocked);
  const auto refused = tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid);
  EXPECT_EQ(code(refused), ErrorCode::auth_failed);
  EXPECT_NE(refused.error().message.find("Block SID"), std::string::npos);
  EXPECT_TRUE(tper.start(sp::kAdmin));
  tper.drive().hardware_reset();
  EXPECT_EQ(code(tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid)),
            ErrorCode::auth_failed);
  tper.drive().power_cycle();
  EXPECT_TRUE(tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid));
  ASSERT_TRUE(tper.channel().block_sid(Channel::Until::hardware_reset));
  tper.drive().hardware_reset();
  EXPECT_TRUE(tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid));
}

// Everybody's locks over all classes that have them.
void lock_and_unlock(EmulatedTper& tper) {
  using namespace column::locking;
  Session session = tper.as_admin();
  ASSERT_TRUE(session.set(range::kGlobal, {{kReadLockEnabled, kYes}, {kWriteLockEnabled, kYes}}));
  ASSERT_TRUE(session.set(range::kGlobal, lock(kYes)));
  EXPECT_TRUE(discover(tper.transport()).value().locking->locked);
  ASSERT_TRUE(session.set(range::kGlobal, lock(kNo)));
  const Row row = session.get(range::kGlobal, kLocks).value();
  EXPECT_EQ(number_in(row, kReadLocked), kNo);
  EXPECT_EQ(number_in(row, kWriteLocked), kNo);
  EXPECT_TRUE(session.close());
  EXPECT_FALSE(discover(tper.transport()).value().locking->locked);
}

TEST(Session, PyriteAndRubySpeakAsOpalDoes) {
  for (const Family family : {Family::opal2, Family::pyrite2, Family::ruby}) {
    EmulatedTper tper({.family = family});
    tper.take_ownership();
    lock_and_unlock(tper);
  }
}

class EnterpriseSessionTest : public ::testing::Test {
 protected:
  Session as_band_master(std::uint32_t band) {
    return tper.start(sp::kEnterpriseLocking, authority::band_master(band), EmulatedTper::kMsid)
        .value();
  }

  EmulatedTper tper{{.family = Family::enterprise, .max_com_packet = 1024}};
};

TEST_F(EnterpriseSessionTest, AnybodyReadsTheMsid) {
  Session session = tper.start(sp::kAdmin).value();
  const Row row = session.get(pin::kMsid, {column::pin::kPin, column::pin::kPin}).value();
  ASSERT_NE(bytes_in(row, column::pin::kPin), nullptr);
  EXPECT_EQ(to_hex(*bytes_in(row, column::pin::kPin)), to_hex(as_bytes(EmulatedTper::kMsid)));
  EXPECT_EQ(session.random(16).value().size(), 16u);
  EXPECT_TRUE(session.close());
}

TEST_F(EnterpriseSessionTest, AWrongPinIsAuthFailedAndLeavesNoSession) {
  for (int n = 0; n < 2; ++n)
    EXPECT_EQ(code(tper.start(sp::kAdmin, authority::kSid, "wrong")), ErrorCode::auth_failed);
  EXPECT_TRUE(tper.start(sp::kAdmin, authority::kSid, EmulatedTper::kMsid));
}

TEST_F(EnterpriseSessionTest, BandsAreSetAndReadByNumber) {
  using namespace column::locking;
  Session session = as_band_master(1);
  const Uid band = range::band(1);
  ASSERT_TRUE(session.set(band, {{kRangeStart, std::uint64_t{1024}},
                                 {kRangeLength, std::uint64_t{2048}},
                                 {kReadLockEnabled, kYes},
                                 {kWriteLockEnabled, kYes},
                                 {kLockOnReset, List{number(kPowerCycle)}}}));
  ASSERT_TRUE(session.set(band, lock(kYes)));
  const Row row = session.get(band, {kRangeStart, kLockOnReset}).value();
  EXPECT_EQ(number_in(row, kRangeStart), 1024u);
  EXPECT_EQ(number_in(row, kRangeLength), 2048u);
  EXPECT_EQ(number_in(row, kReadLocked), kYes);
  EXPECT_EQ(*list_in(row, kLockOnReset), List{number(0)});
  EXPECT_EQ(code(session.set(range::band(2), lock(kYes))), ErrorCode::auth_failed);
  EXPECT_TRUE(session.close());
}

TEST_F(EnterpriseSessionTest, TheNumberOfBandsIsRead) {
  Session session = tper.start(sp::kEnterpriseLocking).value();
  using namespace column::locking_info;
  const Row row = session.get(kEnterpriseLockingInfo, {kMaxRanges, kMaxRanges}).value();
  EXPECT_EQ(number_in(row, kMaxRanges), 8u);
}

TEST_F(EnterpriseSessionTest, PinsAreSetAndErased) {
  {
    Session session = as_band_master(1);
    ASSERT_TRUE(session.set_pin(pin::band_master(1), secret_of("band one")));
  }
  EXPECT_TRUE(tper.start(sp::kEnterpriseLocking, authority::band_master(1), "band one"));
  {
    Session session =
        tper.start(sp::kEnterpriseLocking, authority::kEraseMaster, EmulatedTper::kMsid).value();
    ASSERT_TRUE(session.invoke(range::band(1), method::kErase));
  }
  EXPECT_TRUE(as_band_master(1).close());
}

TEST_F(EnterpriseSessionTest, ByteTablesTravelInTheSmallestPackets) {
  Session session = as_band_master(0);
  const Bytes content = pattern(5000);
  ASSERT_TRUE(session.write_table(kDataStore, 100, content));
  EXPECT_TRUE(session.read_table(kDataStore, 100, content.size()).value() == content);
  EXPECT_TRUE(session.close());
}

TEST_F(EnterpriseSessionTest, WhatTheDialectLacksIsRefusedUnsent) {
  Session session = as_band_master(0);
  const std::uint64_t before = tper.drive().commands();
  EXPECT_EQ(code(session.begin_transaction()), ErrorCode::unsupported);
  EXPECT_EQ(code(session.set(kMbrControl, {{column::mbr_control::kEnable, kYes}})),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code(tper.channel().reset_tper()), ErrorCode::unsupported);
  EXPECT_EQ(tper.drive().commands() - before, 1u);  // The reset.
}

}  // namespace
}  // namespace keyward::sed::tcg
