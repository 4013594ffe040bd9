#include "engine/drives/drive_fleet.h"

#include <thread>

#include "base/text.h"
#include "engine/drives/drive_records.h"
#include "engine/drives/erase_certificate.h"
#include "engine/drives/fleet_rig_fixture.h"

namespace keyward::engine {
namespace {

using sed::Access;
using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kConflict[] = "conflict";
const auto kDone = Field("code", &api::DriveResult::code, "");

SecretBytes text_secret(std::string text) {
  return SecretBytes::take_from(std::as_writable_bytes(std::span(text.data(), text.size())))
      .value();
}

bool opens(FleetRig& rig, std::size_t i, const std::optional<SecretBytes>& pin) {
  if (!pin) return false;
  const sed::PinTag tag = sed::pin_tag(*pin).value();
  return rig.drive(i).pin_of("SID") == tag && rig.drive(i).pin_of("Admin1") == tag;
}

TEST(DriveFleetTest, DrivesAreProvisionedLockedUnlockedAndRotated) {
  FleetRig rig(3);
  rig.begin();
  EXPECT_THAT(rig.run(DriveAction::provision), AllOf(SizeIs(3), Each(kDone)));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(opens(rig, i, rig.pins(i).current));
    EXPECT_FALSE(rig.pins(i).pending);
  }
  EXPECT_NE(rig.drive(0).pin_of("SID"), rig.drive(1).pin_of("SID"));
  EXPECT_THAT(rig.run(DriveAction::lock), AllOf(SizeIs(3), Each(kDone)));
  EXPECT_EQ(rig.drive(0).access(), Access::locked);
  const auto before = rig.drive(0).pin_of("SID");
  EXPECT_THAT(rig.run(DriveAction::rotate), AllOf(SizeIs(3), Each(kDone)));
  EXPECT_NE(rig.drive(0).pin_of("SID"), before);
  EXPECT_THAT(rig.run(DriveAction::unlock), AllOf(SizeIs(3), Each(kDone)));
  EXPECT_EQ(rig.drive(0).access(), Access::unlocked);
  EXPECT_EQ(rig.drive(0).partition_reads(), 1u);
  EXPECT_THAT(rig.run(DriveAction::provision), SizeIs(0));
  EXPECT_EQ(rig.drive(0).tries_spent(), 0u);
}

TEST(DriveFleetTest, DrivesThatLostTheirPowerAreUnlockedAtStart) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  rig.end();
  for (std::size_t i = 0; i < 2; ++i) rig.drive(i).power_cycle();
  EXPECT_EQ(rig.drive(0).access(), Access::locked);
  rig.restart();
  EXPECT_THAT(rig.recover(), AllOf(SizeIs(2), Each(kDone)));
  EXPECT_EQ(rig.drive(0).access(), Access::unlocked);
  EXPECT_EQ(rig.drive(1).access(), Access::unlocked);
}

TEST(DriveFleetTest, TheListShowsDrivesThatAreAwayToo) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision, {"Z0"});
  const auto rows = rig.fleet().list();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].owner, api::DriveOwner::us);
  EXPECT_EQ(rows[0].pins, api::DrivePins::stored);
  EXPECT_EQ(rows[1].owner, api::DriveOwner::nobody);
  EXPECT_EQ(rows[1].node, "/dev/fakeZ1");
  rig.remove_drive(0);
  rig.restart();
  rig.recover();
  EXPECT_THAT(rig.fleet().list(), Contains(Field("node", &api::DriveRow::node, "")));
  EXPECT_EQ(rig.fleet().find("Z0").value().pins, api::DrivePins::stored);
  const auto missing = rig.fleet().find("nobody");
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("Z1, Z0"));
}

TEST(DriveFleetTest, AnotherOwnersDriveIsNeverTouched) {
  FleetRig rig(3);
  const NodeId other = NodeId::random();
  rig.drive(0).be_owned_by_another(&other);
  rig.drive(1).be_owned_by_another(nullptr);
  rig.begin();
  EXPECT_THAT(rig.recover(), SizeIs(0));
  EXPECT_THAT(rig.run(DriveAction::provision), AllOf(SizeIs(1), Each(kDone)));
  EXPECT_THAT(rig.run(DriveAction::unlock), SizeIs(1));
  for (const DriveAction action :
       {DriveAction::provision, DriveAction::unlock, DriveAction::lock, DriveAction::rotate,
        DriveAction::verify, DriveAction::revert, DriveAction::crypto_erase})
    for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(rig.code_of(action, i), kConflict);
  EXPECT_EQ(rig.drive(0).tries_spent() + rig.drive(1).tries_spent(), 0u);
  EXPECT_EQ(rig.drive(0).media_key(), 1u);
  EXPECT_TRUE(rig.is_open(kDriveForeign, 0));
  EXPECT_FALSE(rig.is_open(kDriveForeign, 2));
}

TEST(DriveFleetTest, ADriveThatIsInUseIsNeitherProvisionedNorErased) {
  FleetRig rig(2);
  rig.drive(0).set_in_use("it carries /");
  rig.begin();
  EXPECT_THAT(rig.run(DriveAction::provision), SizeIs(1));
  EXPECT_EQ(rig.code_of(DriveAction::provision, 0), kConflict);
  EXPECT_TRUE(rig.drive(0).is_factory_new());
  rig.drive(1).set_in_use("it carries swap");
  for (const DriveAction action :
       {DriveAction::lock, DriveAction::revert, DriveAction::crypto_erase})
    EXPECT_EQ(rig.code_of(action, 1), kConflict);
  const SecretBytes psid = text_secret(FakeDriveState::kPsid);
  EXPECT_EQ(rig.code_of(DriveAction::psid_revert, 1, &psid), kConflict);
  EXPECT_EQ(rig.drive(1).media_key(), 1u);
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 1), "");
}

TEST(DriveFleetTest, AWrongPinSpendsOneTryAndIsNotSentAgainByItself) {
  FleetRig rig(1);
  rig.begin();
  rig.run(DriveAction::provision);
  rig.drive(0).change_pins_behind_the_marker();
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "auth_failed");
  EXPECT_EQ(rig.drive(0).tries_spent(), 1u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "auth_failed");
  rig.restart();
  rig.recover();
  EXPECT_EQ(rig.code_of(DriveAction::rotate, 0), "auth_failed");
  EXPECT_EQ(rig.drive(0).tries_spent(), 1u);
  EXPECT_TRUE(rig.is_open(kDrivePinRefused, 0));
  EXPECT_EQ(rig.code_of(DriveAction::verify, 0), "auth_failed");
  EXPECT_EQ(rig.drive(0).tries_spent(), 2u);
}

TEST(DriveFleetTest, AMarkerOfANewerPinThanTheStoredOneSendsNoPinBeforeAVerify) {
  FleetRig rig(1);
  rig.begin();
  rig.run(DriveAction::provision);
  rig.end();
  rig.rig().stop();
  const auto older = rig.rig().copy_state();
  rig.restart();
  rig.run(DriveAction::rotate);
  rig.end();
  rig.rig().stop();
  rig.rig().use_state(older);
  rig.drive(0).power_cycle();
  rig.restart();
  const auto met = rig.recover();
  ASSERT_EQ(met.size(), 1u);
  EXPECT_EQ(met[0].code, kConflict);
  EXPECT_THAT(met[0].error, HasSubstr("keyward sed drives verify"));
  EXPECT_EQ(rig.drive(0).tries_spent(), 0u);
  EXPECT_TRUE(rig.is_open(kDrivePinRefused, 0));
  EXPECT_EQ(rig.code_of(DriveAction::verify, 0), "auth_failed");
  EXPECT_EQ(rig.drive(0).tries_spent(), 1u);
}

TEST(DriveFleetTest, AfterARestoreNoPinIsSentBeforeThatDriveIsVerified) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  ASSERT_TRUE(rig.rig().backend().control().save(
      {std::string(DriveRecords::kRestored), 0, "{\"restore\":\"1\"}"}, {}));
  rig.drive(0).power_cycle();
  for (const DriveAction action : {DriveAction::unlock, DriveAction::rotate, DriveAction::revert})
    EXPECT_EQ(rig.code_of(action, 0), kConflict);
  EXPECT_EQ(rig.drive(0).access(), Access::locked);
  EXPECT_EQ(rig.code_of(DriveAction::verify, 0), "");
  rig.restart();
  rig.recover();
  EXPECT_EQ(rig.drive(0).access(), Access::unlocked);
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 1), kConflict);
}

TEST(DriveFleetTest, ErasingNeedsNamesAndEndsWithTheDataGone) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  EXPECT_EQ(rig.fleet().run({DriveAction::revert}, rig.caller(), {}).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(rig.code_of(DriveAction::crypto_erase, 0), "");
  EXPECT_EQ(rig.drive(0).media_key(), 2u);
  EXPECT_TRUE(opens(rig, 0, rig.pins(0).current));
  EXPECT_EQ(rig.code_of(DriveAction::revert, 0), "");
  EXPECT_TRUE(rig.drive(0).is_factory_new());
  EXPECT_EQ(rig.pins(0).state(), api::DrivePins::none);
  EXPECT_TRUE(opens(rig, 1, rig.pins(1).current));
  EXPECT_EQ(rig.code_of(DriveAction::ata_erase, 1), "unsupported");
}

TEST(DriveFleetTest, TheRecordedPsidTakesADriveBackFromAnotherOwner) {
  FleetRig rig(1);
  rig.drive(0).be_owned_by_another(nullptr);
  rig.begin();
  rig.recover();
  EXPECT_EQ(rig.code_of(DriveAction::psid_revert, 0), "not_found");
  const SecretBytes typed = text_secret("vutsrqpo-NMLKJIHG-FEDCBA98-76543210");
  EXPECT_EQ(rig.code_of(DriveAction::psid_record, 0, &typed), "");
  EXPECT_TRUE(rig.fleet().find("Z0").value().psid_recorded);
  EXPECT_EQ(to_hex(rig.fleet().reveal_psid("Z0", rig.caller()).value().reveal()),
            to_hex(as_bytes(FakeDriveState::kPsid)));
  EXPECT_EQ(rig.code_of(DriveAction::psid_revert, 0), "");
  EXPECT_TRUE(rig.drive(0).is_factory_new());
  EXPECT_FALSE(rig.is_open(kDriveForeign, 0));
}

TEST(DriveFleetTest, ADriveThatIsGoneMidUnlockIsAttachedAnewTheNextTime) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  for (std::size_t i = 0; i < 2; ++i) rig.drive(i).power_cycle();
  rig.drive(0).set_dead(true);
  const auto results = rig.run(DriveAction::unlock);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].code, "unavailable");
  EXPECT_EQ(results[1].code, "");
  EXPECT_TRUE(rig.is_open(kDriveUnlockFailed, 0));
  EXPECT_FALSE(rig.drive(0).is_open());
  rig.drive(0).set_dead(false);
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "");
  EXPECT_FALSE(rig.is_open(kDriveUnlockFailed, 0));
  EXPECT_EQ(rig.drive(0).tries_spent(), 0u);
}

// udev waits for the lock that an open drive has before it reads the partitions.
TEST(DriveFleetTest, ADriveIsLetGoAMomentAfterItsLastTaskAndNeedsNoSecondLook) {
  FleetRig rig(1);
  rig.begin();
  rig.run(DriveAction::provision);
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (rig.drive(0).is_open() && std::chrono::steady_clock::now() < patience)
    std::this_thread::yield();
  EXPECT_FALSE(rig.drive(0).is_open());
  const std::uint64_t before = rig.drive(0).commands();
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "");
  EXPECT_LE(rig.drive(0).commands() - before, 7u);  // One of attaching, six of the session.
}

TEST(DriveFleetTest, ADriveThatHangsIsUnresponsiveUntilItAnswersAndHoldsUpNobody) {
  FleetRig rig(4);
  rig.settings().per_controller = 1;
  rig.settings().per_drive = std::chrono::seconds{1};
  rig.begin();
  rig.run(DriveAction::provision);
  rig.drive(0).set_hanging(true);
  const auto results = rig.run(DriveAction::unlock);
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results[0].code, "timeout");
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(results[i].code, "");
  EXPECT_TRUE(rig.is_open(kDriveUnresponsive, 0));
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "timeout");  // At once.
  rig.drive(0).set_hanging(false);
  while (rig.is_open(kDriveUnresponsive, 0)) std::this_thread::yield();
  EXPECT_EQ(rig.code_of(DriveAction::unlock, 0), "");
}

TEST(DriveFleetTest, DrivesThatArePluggedInAreUnlockedOrProvisionedAsThePolicySays) {
  FleetRig rig(1);
  rig.settings().provision_new = true;
  rig.begin();
  rig.run(DriveAction::provision);
  std::jthread hot_plug([&](const std::stop_token& stop) { rig.fleet().run_hot_plug(stop); });
  const auto known = std::make_shared<FakeDriveState>("5000000000000001", "N1");
  const auto foreign = std::make_shared<FakeDriveState>("5000000000000002", "N2");
  foreign->be_owned_by_another(nullptr);
  rig.bus().plug_in(known);
  rig.bus().plug_in(foreign);
  const auto is_met = [&](const char* name) { return rig.fleet().find(name).has_value(); };
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  const auto wait = [&](const auto& condition) {
    while (!condition() && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
    EXPECT_TRUE(condition());
  };
  wait([&] {
    return is_met("N1") && rig.fleet().find("N1").value().pins == api::DrivePins::stored;
  });
  wait([&] { return is_met("N2"); });
  wait([&] { return known->access() == Access::unlocked; });
  rig.bus().pull_out(known);
  wait([&] { return rig.fleet().find("N1").value().node.empty(); });
  known->power_cycle();
  EXPECT_EQ(known->access(), Access::locked);
  rig.bus().plug_in(known);
  wait([&] { return known->access() == Access::unlocked; });
  EXPECT_EQ(foreign->tries_spent(), 0u);
}

TEST(DriveFleetTest, WhatIsDoneIsAudited) {
  FleetRig rig(1);
  rig.begin();
  rig.run(DriveAction::provision);
  rig.run(DriveAction::unlock);
  rig.code_of(DriveAction::revert, 0);
  std::vector<std::string> actions;
  const auto trail = rig.rig().backend().control().audit_trail().read(0, 100).value();
  for (const auto& stored : trail)
    if (stored.record.action.starts_with("drive.")) actions.push_back(stored.record.action);
  EXPECT_THAT(actions,
              ::testing::ElementsAre("drive.provision.begin", "drive.provision", "drive.unlock",
                                     "drive.revert.begin", "drive.certificate", "drive.revert"));
}

// Its worker has lost the drive, and finds another at the node.
TEST(DriveFleetTest, AnOrderForOneDriveIsNeverCarriedOutOnAnotherInItsPlace) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  rig.drive(0).set_dead(true);
  EXPECT_EQ(rig.code_of(DriveAction::lock, 0), "unavailable");
  const auto other = rig.share(1);
  rig.bus().swap(rig.share(0), other);
  for (const DriveAction action :
       {DriveAction::crypto_erase, DriveAction::revert, DriveAction::lock}) {
    const auto results = rig.run(action, {"Z0"});
    ASSERT_THAT(results, SizeIs(1));
    EXPECT_EQ(results[0].code, "unavailable");
  }
  EXPECT_EQ(other->media_key(), 1u);
  EXPECT_EQ(other->access(), Access::unlocked);
}

TEST(DriveFleetTest, AStopLeavesDrivesThatHaveNotBegunAlone) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  std::stop_source source;
  source.request_stop();
  const auto results =
      rig.fleet().run({DriveAction::lock}, rig.caller(), source.get_token()).value();
  EXPECT_THAT(results, AllOf(SizeIs(2), Each(Field("code", &api::DriveResult::code, "cancelled"))));
  EXPECT_EQ(rig.drive(0).access(), Access::unlocked);
}

TEST(DriveFleetTest, EachEraseEndsWithACertificateThatVerifies) {
  FleetRig rig(2);
  rig.begin();
  rig.run(DriveAction::provision);
  EXPECT_EQ(rig.code_of(DriveAction::crypto_erase, 0), "");
  EXPECT_EQ(rig.code_of(DriveAction::revert, 1), "");
  const auto certificates = rig.fleet().certificates();
  ASSERT_EQ(certificates.size(), 2u);
  for (const auto& certificate : certificates) {
    EXPECT_TRUE(verify_certificate(certificate));
    EXPECT_EQ(certificate.actor, "uid:0");
    EXPECT_NE(certificate.probe_before, certificate.probe_after);
  }
}

TEST(DriveFleetTest, WithoutASigningKeyNothingIsErased) {
  FleetRig rig(1);
  rig.begin();
  rig.run(DriveAction::provision);
  ASSERT_TRUE(rig.rig().keyring().delete_domain(Domain::parse("KEYWARD").value(), rig.caller()));
  EXPECT_EQ(rig.code_of(DriveAction::crypto_erase, 0), "not_found");
  EXPECT_EQ(rig.drive(0).media_key(), 1u);
}

TEST(DriveFleetTest, ReleasedDrivesAreAdoptedByAnotherNode) {
  FleetRig from(2);
  from.begin();
  from.run(DriveAction::provision);
  const SecretBytes passphrase = text_secret("a passphrase of some length");
  const SecretBytes other = text_secret("another passphrase of it");
  const Bytes bundle = from.fleet().release({"Z0", "Z1"}, passphrase, from.caller()).value();
  EXPECT_EQ(from.pins(0).state(), api::DrivePins::none);
  // The answer may have been lost.
  EXPECT_EQ(from.fleet().release({"Z1", "Z0"}, passphrase, from.caller()).value(), bundle);
  EXPECT_EQ(from.fleet().release({"Z0", "Z1"}, other, from.caller()).error().code,
            ErrorCode::auth_failed);
  EXPECT_EQ(from.code_of(DriveAction::unlock, 0), kConflict);
  from.end();

  FleetRig to(0);
  to.plug_in(from.share(0));
  to.begin();
  to.drive(0).power_cycle();
  EXPECT_EQ(to.fleet().adopt(bundle, other, to.caller()).error().code, ErrorCode::auth_failed);
  const auto adopted = to.fleet().adopt(bundle, passphrase, to.caller()).value();
  EXPECT_THAT(adopted, AllOf(SizeIs(2), Each(kDone)));
  EXPECT_EQ(to.drive(0).access(), Access::unlocked);
  EXPECT_EQ(to.fleet().find("Z0").value().owner, api::DriveOwner::us);
  EXPECT_TRUE(opens(to, 0, to.pins(0).current));
  EXPECT_EQ(to.fleet().find("Z1").value().pins, api::DrivePins::pending);
  to.end();
  to.plug_in(from.share(1));
  to.drive(1).power_cycle();
  to.restart();
  to.recover();
  EXPECT_EQ(to.drive(1).access(), Access::unlocked);
  EXPECT_EQ(to.fleet().find("Z1").value().pins, api::DrivePins::stored);
}

}  // namespace
}  // namespace keyward::engine
