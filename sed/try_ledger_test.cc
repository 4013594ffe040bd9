// The try ledger and its gate: what is counted, what survives, and when nothing more is sent.
#include "sed/try_ledger.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sed/drive_rig_fixture.h"
#include "sed/owner_marker.h"

namespace keyward::sed {
namespace {

const auto kPresent = [] { return Result<void>{}; };

class TryLedgerTest : public ::testing::Test {
 protected:
  TryLedgerTest() {
    std::string name = std::filesystem::temp_directory_path() / "keyward-tries-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~TryLedgerTest() override { std::filesystem::remove_all(directory_); }

  FileTryLedger ledger() const { return FileTryLedger(directory_); }
  std::filesystem::path file() const { return directory_ / "d1.tries"; }
  Result<void> attempt(ErrorCode code) {
    FileTryLedger here = ledger();
    return TryGate(here, "d1")
        .attempt(
            "SID",
            [&]() -> Result<void> {
              ++sent_;
              return fail(code, "no");
            },
            kPresent);
  }
  TryRecord record() { return ledger().load("d1", "SID").value(); }

  std::filesystem::path directory_;
  int sent_ = 0;
};

TEST_F(TryLedgerTest, RecordsOutliveTheProcessAndAreApart) {
  TryRecord record{.spent = 2, .limit = 7, .locked_out = true};
  record.intent.emplace().fill(std::byte{0xAB});
  ASSERT_THAT(ledger().store("d1", "SID", record), Succeeds());
  ASSERT_THAT(ledger().store("d1", "ATA user", {.spent = 1}), Succeeds());
  ASSERT_THAT(ledger().store("d2", "SID", {.spent = 3}), Succeeds());
  EXPECT_EQ(ledger().load("d1", "SID").value(), record);
  EXPECT_EQ(ledger().load("d1", "ATA user").value().spent, 1u);
  EXPECT_EQ(ledger().load("d1", "Admin1").value(), TryRecord{});
  ASSERT_THAT(ledger().forget("d1"), Succeeds());
  EXPECT_EQ(ledger().load("d1", "SID").value(), TryRecord{});
  EXPECT_EQ(ledger().load("d2", "SID").value().spent, 3u);
}

TEST_F(TryLedgerTest, EveryByteOfItsFileCounts) {
  ASSERT_THAT(ledger().store("d1", "SID", {.spent = 2, .limit = 5}), Succeeds());
  std::string content;
  {
    std::ifstream in(file());
    content.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto write = [&](const std::string& text) { std::ofstream(file()) << text; };
  for (std::size_t n = 0; n < content.size(); ++n) {
    std::string damaged = content;
    damaged[n] = static_cast<char>(damaged[n] ^ 1);
    write(damaged);
    EXPECT_THAT(ledger().load("d1", "SID"), FailsWith(ErrorCode::corrupt)) << n;
    write(content.substr(0, n));
    EXPECT_THAT(ledger().load("d1", "SID"), FailsWith(ErrorCode::corrupt)) << n;
  }
  EXPECT_THAT(attempt(ErrorCode::auth_failed), FailsWith(ErrorCode::corrupt));
  EXPECT_EQ(sent_, 0);
  write(content);
  EXPECT_EQ(record().spent, 2u);
}

TEST_F(TryLedgerTest, NothingIsSentThatCouldNotBeCounted) {
  std::filesystem::remove_all(directory_);
  EXPECT_FALSE(attempt(ErrorCode::auth_failed));
  EXPECT_EQ(sent_, 0);
}

TEST_F(TryLedgerTest, ATryIsOnTheDiskBeforeThePinIsSent) {
  FileTryLedger here = ledger();
  TryGate gate(here, "d1");
  const auto sent = gate.attempt(
      "SID",
      [&]() -> Result<void> {
        EXPECT_EQ(record().spent, 1u);
        return {};
      },
      kPresent);
  EXPECT_THAT(sent, Succeeds());
  EXPECT_EQ(record().spent, 0u);
}

TEST_F(TryLedgerTest, AnUnknownOutcomeCountsAndARefusalBeforeThePinDoesNot) {
  for (const ErrorCode code : {ErrorCode::busy, ErrorCode::invalid_argument}) {
    EXPECT_THAT(attempt(code), FailsWith(code));
    EXPECT_EQ(record().spent, 0u);
  }
  for (const ErrorCode code : {ErrorCode::timeout, ErrorCode::unavailable}) {
    EXPECT_THAT(attempt(code), FailsWith(code));
  }
  EXPECT_EQ(record().spent, 2u);
  EXPECT_THAT(attempt(ErrorCode::auth_failed), FailsWith(ErrorCode::locked_out));
  EXPECT_EQ(sent_, 4);
}

TEST_F(TryLedgerTest, TwoOfAnyLimitAreKept) {
  struct Case {
    std::optional<std::uint32_t> limit;
    int sent;
  };
  for (const Case& expected : {Case{std::nullopt, 2}, Case{5, 3}, Case{3, 1}, Case{2, 1},
                               Case{1, 1}, Case{10, 8}, Case{0, 20}}) {
    ASSERT_THAT(ledger().forget("d1"), Succeeds());
    FileTryLedger here = ledger();
    if (expected.limit) TryGate(here, "d1").note_limit("SID", *expected.limit).value();
    sent_ = 0;
    for (int n = 0; n < 20; ++n) static_cast<void>(attempt(ErrorCode::auth_failed));
    EXPECT_EQ(sent_, expected.sent) << expected.limit.value_or(99);
  }
}

TEST_F(TryLedgerTest, ALockOutIsKeptUntilItIsForgotten) {
  EXPECT_THAT(attempt(ErrorCode::locked_out), FailsWith(ErrorCode::locked_out));
  EXPECT_THAT(attempt(ErrorCode::auth_failed), FailsWith(ErrorCode::locked_out));
  EXPECT_EQ(sent_, 1);
  FileTryLedger here = ledger();
  ASSERT_THAT(TryGate(here, "d1").renew("SID"), Succeeds());
  EXPECT_THAT(attempt(ErrorCode::auth_failed), FailsWith(ErrorCode::auth_failed));
}

TEST_F(TryLedgerTest, ForgivenItSendsOneMoreAndKnowsWhatItKnew) {
  FileTryLedger here = ledger();
  TryGate gate(here, "d1");
  const PinTag tag = pin_tag(DriveRig::pin('a')).value();
  gate.note_intent("SID", tag).value();
  gate.note_limit("SID", 5).value();
  gate.note_limit("PSID", 0).value();
  while (attempt(ErrorCode::auth_failed).error().code == ErrorCode::auth_failed) continue;
  for (int n = 0; n < 2; ++n) {
    ASSERT_THAT(here.forgive("d1"), Succeeds());
    sent_ = 0;
    EXPECT_THAT(attempt(ErrorCode::locked_out), FailsWith(ErrorCode::locked_out));
    EXPECT_THAT(attempt(ErrorCode::auth_failed), FailsWith(ErrorCode::locked_out));
    EXPECT_EQ(sent_, 1);
  }
  EXPECT_TRUE(gate.intends("SID", tag).value());
  EXPECT_EQ(record().limit, 5u);
  EXPECT_EQ(gate.record("PSID").value().tries_left(), std::nullopt);
}

TEST_F(TryLedgerTest, ADeadDriveSpendsOneTryHoweverOftenItIsAsked) {
  FileTryLedger here = ledger();
  TryGate gate(here, "d1");
  const auto dead = []() -> Result<void> { return fail(ErrorCode::unavailable, "gone"); };
  for (int n = 0; n < 5; ++n)
    EXPECT_THAT(gate.attempt("SID", dead, dead), FailsWith(ErrorCode::unavailable));
  EXPECT_EQ(record().spent, 1u);
}

TEST_F(TryLedgerTest, ALimitAndAnIntentDoNotChangeWhatIsSpent) {
  static_cast<void>(attempt(ErrorCode::auth_failed));
  FileTryLedger here = ledger();
  TryGate gate(here, "d1");
  const PinTag tag = pin_tag(DriveRig::pin('a')).value();
  ASSERT_THAT(gate.note_limit("SID", 5), Succeeds());
  ASSERT_THAT(gate.note_intent("SID", tag), Succeeds());
  EXPECT_TRUE(gate.intends("SID", tag).value());
  EXPECT_FALSE(gate.intends("SID", PinTag{}).value());
  EXPECT_FALSE(gate.intends("Admin1", tag).value());
  EXPECT_EQ(record().spent, 1u);
}

TEST(DriveKey, IsAFileNameWhateverTheDriveCallsItself) {
  EXPECT_EQ(drive_key({"5000c500a0000001", "S", "M", "F"}), "5000c500a0000001");
  EXPECT_EQ(drive_key({"", "../1", "M", "F"}), to_hex(as_bytes("M/../1")));
}

TEST(OwnerPin, EachAuthorityHasItsOwn) {
  const SecretBytes owner = DriveRig::pin('a');
  const SecretBytes sid = authority_pin(owner, "SID").value();
  EXPECT_EQ(sid.size(), 32u);
  EXPECT_TRUE(constant_time_equal(sid.reveal(), authority_pin(owner, "SID").value().reveal()));
  EXPECT_FALSE(constant_time_equal(sid.reveal(), authority_pin(owner, "Admin1").value().reveal()));
  EXPECT_NE(pin_tag(owner).value(), pin_tag(DriveRig::pin('b')).value());
  EXPECT_THAT(authority_pin(secret_text("short"), "SID"), FailsWith(ErrorCode::invalid_argument));
}

// Whoever restores a keystore years from now derives the same PINs, or loses the drives. Worked out
// apart, by Python's hmac: HKDF-SHA-256 without salt.
TEST(OwnerPin, IsDerivedAsTheFormatSays) {
  const SecretBytes owner = DriveRig::pin('a');
  EXPECT_EQ(to_hex(authority_pin(owner, "SID").value().reveal()),
            "4f83d7f4ad3c2f144263d7cf1ece98b845946a0c3c88fd755ee375db50d818e6");
  EXPECT_EQ(to_hex(pin_tag(owner).value()), "49fdb2b2d2464bc4e8f3ab9ac4e739d4");
}

TEST(OwnerPin, APsidIsReadAsALabelHasIt) {
  const auto psid = normalized_psid(secret_text("ab-12 CD-ef"));
  ASSERT_THAT(psid, Succeeds());
  EXPECT_TRUE(constant_time_equal(psid->reveal(), as_bytes("AB12CDEF")));
  EXPECT_THAT(normalized_psid(secret_text(" - ")), FailsWith(ErrorCode::invalid_argument));
}

TEST(OwnerMarker, ComesBackAsItWasAndNoByteOfItMayDiffer) {
  OwnerMarker marker;
  marker.settled = true;
  marker.users = 5;
  marker.ranges = 0x8000000000000001;
  marker.generation = 77;
  marker.node = NodeId::random();
  marker.tag = pin_tag(DriveRig::pin('a')).value();
  marker.next_tag = pin_tag(DriveRig::pin('b')).value();
  const Bytes bytes = marker.render();
  ASSERT_EQ(bytes.size(), OwnerMarker::kBytes);
  EXPECT_EQ(OwnerMarker::parse(bytes), marker);
  EXPECT_EQ(OwnerMarker::parse(ByteView(bytes).first(bytes.size() - 1)), std::nullopt);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    Bytes damaged = bytes;
    damaged[n] ^= std::byte{1};
    EXPECT_EQ(OwnerMarker::parse(damaged), std::nullopt) << n;
  }
  EXPECT_EQ(OwnerMarker::parse(Bytes(OwnerMarker::kBytes)), std::nullopt);
}

}  // namespace
}  // namespace keyward::sed
