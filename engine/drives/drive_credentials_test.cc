#include "engine/drives/drive_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/testing/engine_rig.h"
#include "sed/owner_pin.h"

namespace keyward::engine {
namespace {

using ::testing::HasSubstr;

constexpr char kDrive[] = "5000c500a1b2c3d4";

Domain sed_domain() { return Domain::parse("SED").value(); }
Caller caller() { return EngineRig::caller(); }
SecretBytes new_pin() { return SecretBytes::random(sed::kOwnerPinBytes).value(); }

bool is_same(const std::optional<SecretBytes>& stored, const SecretBytes& pin) {
  return stored && constant_time_equal(stored->reveal(), pin.reveal());
}

void make_domain(EngineRig& rig) {
  ASSERT_TRUE(rig.keyring().create_domain(sed_domain(), caller()));
}

TEST(DriveCredentialsTest, AnUnknownDriveHasNoPinsBeforeAndAfterTheDomainIsMade) {
  EngineRig rig;
  DriveCredentials credentials(rig.keyring());
  EXPECT_EQ(credentials.load(kDrive, caller()).value().state(), api::DrivePins::none);
  EXPECT_TRUE(credentials.list().value().empty());
  make_domain(rig);
  EXPECT_EQ(credentials.load(kDrive, caller()).value().state(), api::DrivePins::none);
}

TEST(DriveCredentialsTest, APendingPinIsPromotedAndSurvivesARestart) {
  EngineRig rig;
  make_domain(rig);
  const SecretBytes first = new_pin();
  const SecretBytes second = new_pin();
  {
    DriveCredentials credentials(rig.keyring());
    ASSERT_TRUE(credentials.begin(kDrive, first, caller()));
    EXPECT_EQ(credentials.load(kDrive, caller()).value().state(), api::DrivePins::pending);
    ASSERT_TRUE(credentials.promote(kDrive, caller()));
    EXPECT_EQ(credentials.load(kDrive, caller()).value().state(), api::DrivePins::stored);
    ASSERT_TRUE(credentials.begin(kDrive, second, caller()));
  }
  rig.restart();
  DriveCredentials credentials(rig.keyring());
  const OwnerPins rotating = credentials.load(kDrive, caller()).value();
  EXPECT_TRUE(is_same(rotating.current, first));
  EXPECT_TRUE(is_same(rotating.pending, second));
  ASSERT_TRUE(credentials.promote(kDrive, caller()));
  const OwnerPins stored = credentials.load(kDrive, caller()).value();
  EXPECT_TRUE(is_same(stored.current, second));
  EXPECT_FALSE(stored.pending);
}

TEST(DriveCredentialsTest, APendingPinIsNeverReplacedAndNothingIsPromotedTwice) {
  EngineRig rig;
  make_domain(rig);
  DriveCredentials credentials(rig.keyring());
  const SecretBytes first = new_pin();
  EXPECT_EQ(credentials.promote(kDrive, caller()).error().code, ErrorCode::not_found);
  ASSERT_TRUE(credentials.begin(kDrive, first, caller()));
  EXPECT_EQ(credentials.begin(kDrive, new_pin(), caller()).error().code, ErrorCode::already_exists);
  EXPECT_TRUE(is_same(credentials.load(kDrive, caller()).value().pending, first));
  ASSERT_TRUE(credentials.promote(kDrive, caller()));
  EXPECT_EQ(credentials.promote(kDrive, caller()).error().code, ErrorCode::not_found);
  EXPECT_EQ(credentials.drop_pending(kDrive, caller()).error().code, ErrorCode::not_found);
  EXPECT_TRUE(is_same(credentials.load(kDrive, caller()).value().current, first));
}

TEST(DriveCredentialsTest, ForgettingTakesBothPinsAndLeavesThePsid) {
  EngineRig rig;
  make_domain(rig);
  DriveCredentials credentials(rig.keyring());
  const SecretBytes psid = new_pin();
  ASSERT_TRUE(credentials.record_psid(kDrive, psid, caller()));
  ASSERT_TRUE(credentials.begin(kDrive, new_pin(), caller()));
  ASSERT_TRUE(credentials.promote(kDrive, caller()));
  ASSERT_TRUE(credentials.begin(kDrive, new_pin(), caller()));
  ASSERT_TRUE(credentials.forget(kDrive, caller()));
  ASSERT_TRUE(credentials.forget(kDrive, caller()));
  EXPECT_EQ(credentials.load(kDrive, caller()).value().state(), api::DrivePins::none);
  EXPECT_TRUE(constant_time_equal(credentials.reveal_psid(kDrive, caller()).value().reveal(),
                                  psid.reveal()));
}

TEST(DriveCredentialsTest, RevealingAPsidIsRecordedEvenWhereReadsAreNot) {
  EngineRig rig;
  rig.set_read_audit(ReadAudit::off);
  rig.restart();
  make_domain(rig);
  DriveCredentials credentials(rig.keyring());
  ASSERT_TRUE(credentials.record_psid(kDrive, new_pin(), caller()));
  ASSERT_TRUE(credentials.reveal_psid(kDrive, caller()));
  const auto keystore = rig.keyring().keystore(sed_domain()).value();
  const store::StoredRecord last = keystore->audit_trail().read(0, 100).value().back();
  EXPECT_EQ(last.record.action, "drive.psid.reveal");
  EXPECT_EQ(last.record.actor, "uid:0");
  EXPECT_THAT(last.record.subject, HasSubstr(kDrive));
}

TEST(DriveCredentialsTest, TheListTellsWhichPinsThereAreOfMoreDrivesThanAPageHolds) {
  EngineRig rig;
  make_domain(rig);
  DriveCredentials credentials(rig.keyring());
  std::vector<EntryEdit> edits;
  const SecretBytes pin = new_pin();
  constexpr int kDrives = 700;
  for (int i = 0; i < kDrives; ++i)
    for (const char* what : {"owner", "owner.next"})
      edits.push_back(
          {EntryName::parse("drive/" + std::to_string(1000 + i) + "/" + what).value(), &pin});
  ASSERT_TRUE(rig.keyring().edit(sed_domain(), edits, caller()));
  ASSERT_TRUE(credentials.record_psid(kDrive, pin, caller()));
  const auto known = credentials.list().value();
  ASSERT_EQ(known.size(), kDrives + 1u);
  EXPECT_EQ(known.front().pins, api::DrivePins::rotating);
  EXPECT_EQ(known.back().drive, kDrive);
  EXPECT_EQ(known.back().pins, api::DrivePins::none);
  EXPECT_TRUE(known.back().psid);
}

TEST(DriveCredentialsTest, ALockedDomainIsAnErrorAndNotADriveWithoutPins) {
  EngineRig rig;
  make_domain(rig);
  {
    DriveCredentials credentials(rig.keyring());
    ASSERT_TRUE(credentials.begin(kDrive, new_pin(), caller()));
  }
  for (const char* id : {"fake:a", "fake:b"})
    rig.hardware(id).set_down({ErrorCode::unavailable, "away"});
  rig.restart();
  DriveCredentials credentials(rig.keyring());
  EXPECT_EQ(credentials.load(kDrive, caller()).error().code, ErrorCode::unavailable);
  EXPECT_EQ(credentials.forget(kDrive, caller()).error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace keyward::engine
