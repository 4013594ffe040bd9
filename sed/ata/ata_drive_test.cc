// ATA Security's operations against the strict emulator, and its answers taken apart.
#include "sed/ata/ata_drive.h"

#include "sed/drive_rig_fixture.h"

namespace keyward::sed {
namespace {

using ::testing::HasSubstr;

class AtaDriveTest : public ::testing::Test {
 protected:
  std::unique_ptr<Drive> take(char pin = 'a') {
    auto drive = rig_.attach();
    drive->take_ownership(rig_.pin(pin)).value();
    return drive;
  }
  // What the emulator says that hosts would see.
  unsigned word(std::size_t n) {
    const Bytes page = rig_.drive().identify(IdentifyPage::ata_device).value();
    return std::to_integer<unsigned>(page[2 * n]) | std::to_integer<unsigned>(page[2 * n + 1]) << 8;
  }
  DriveRig rig_{{.family = Family::ata_security}};
};

TEST_F(AtaDriveTest, TakenItLocksWithThePowerAndOpensByItsPin) {
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  EXPECT_EQ(word(92), 0x4B57u);
  EXPECT_EQ(word(128) & 0x102, 2u);  // Enabled, level high.
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  rig_.write(0, 'A');
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(0).empty());
  drive = rig_.attach();
  const DriveState state = drive->state().value();
  EXPECT_EQ(state.feature, "ATA Security");
  EXPECT_EQ(state.owner, Owner::unknown);
  EXPECT_EQ(state.pin, pin_tag(rig_.pin('a')).value());
  EXPECT_EQ(state.access, Access::locked);
  EXPECT_EQ(rig_.commands_of([&] { drive->set_access(rig_.pin('a'), Access::unlocked).value(); }),
            3u);
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::locked), FailsWith(ErrorCode::unsupported));
  EXPECT_THAT(drive->prove(rig_.pin('a')), Succeeds());
}

TEST_F(AtaDriveTest, TheMasterPasswordIsOursToo) {
  take();
  rig_.drive().power_cycle();
  Bytes factory(512);
  factory[0] = std::byte{1};
  EXPECT_EQ(rig_.drive().ata_security(AtaSecurityCommand::unlock, factory), BusStatus::aborted);
  const SecretBytes master = authority_pin(rig_.pin('a'), "ATA master").value();
  std::ranges::copy(master.reveal(), factory.begin() + 2);
  EXPECT_EQ(rig_.drive().ata_security(AtaSecurityCommand::unlock, factory), BusStatus::good);
}

TEST_F(AtaDriveTest, AWrongPinIsSentThreeTimesOfFive) {
  auto drive = take();
  rig_.drive().power_cycle();
  for (int n = 0; n < 3; ++n)
    EXPECT_THAT(drive->set_access(rig_.pin('x'), Access::unlocked),
                FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->set_access(rig_.pin('x'), Access::unlocked), FailsWith(ErrorCode::locked_out));
  EXPECT_EQ(word(128) & 0x10, 0u);  // The drive still listens.
}

TEST_F(AtaDriveTest, AChangedPinIsTheOnlyOne) {
  auto drive = take();
  rig_.drive().power_cycle();
  ASSERT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  rig_.drive().power_cycle();
  EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->set_access(rig_.pin('b'), Access::unlocked), Succeeds());
}

TEST_F(AtaDriveTest, EraseDestroysTheDataAndThePassword) {
  auto drive = take();
  rig_.write(0, 'A');
  EXPECT_THAT(drive->erase(EraseMethod::ata_enhanced, rig_.pin('x'), Destroy::all_data),
              FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->erase(EraseMethod::crypto_erase, rig_.pin('a'), Destroy::all_data),
              FailsWith(ErrorCode::unsupported));
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  rig_.drive().power_cycle();
  ASSERT_THAT(drive->erase(EraseMethod::ata_enhanced, rig_.pin('a'), Destroy::all_data),
              Succeeds());
  EXPECT_NE(rig_.read(0), rig_.pattern('A'));
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
  // Without a password there is nothing to tell it from a drive with data: so it is erased.
  rig_.write(0, 'B');
  ASSERT_THAT(drive->erase(EraseMethod::ata_enhanced, rig_.pin('a'), Destroy::all_data),
              Succeeds());
  EXPECT_NE(rig_.read(0), rig_.pattern('B'));
}

TEST_F(AtaDriveTest, DisableKeepsTheData) {
  auto drive = take();
  rig_.write(0, 'A');
  rig_.drive().power_cycle();
  auto& ata = dynamic_cast<AtaDrive&>(*drive);
  ASSERT_THAT(ata.disable(rig_.pin('a')), Succeeds());
  EXPECT_THAT(ata.disable(rig_.pin('a')), Succeeds());
  rig_.drive().power_cycle();
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
}

TEST_F(AtaDriveTest, FrozenItSaysSoAndSpendsNoTry) {
  auto drive = rig_.attach();
  ASSERT_THAT(drive->freeze(), Succeeds());
  EXPECT_THAT(drive->freeze(), Succeeds());
  const auto taken = drive->take_ownership(rig_.pin('a'));
  ASSERT_THAT(taken, FailsWith(ErrorCode::conflict));
  EXPECT_THAT(taken.error().message, HasSubstr("frozen"));
  rig_.drive().power_cycle();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
}

TEST_F(AtaDriveTest, AForeignPasswordIsNotTried) {
  Bytes words(512);
  words[2] = std::byte{'p'};
  ASSERT_EQ(rig_.drive().ata_security(AtaSecurityCommand::set_password, words), BusStatus::good);
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::unknown);
  EXPECT_EQ(drive->state().value().pin, std::nullopt);
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
}

TEST_F(AtaDriveTest, ATcgDriveThatAnAtaPasswordHasLockedIsStillADrive) {
  DriveRig rig;
  Bytes words(512);
  words[2] = std::byte{'p'};
  ASSERT_EQ(rig.drive().ata_security(AtaSecurityCommand::set_password, words), BusStatus::good);
  rig.drive().power_cycle();
  auto drive = rig.attach();
  EXPECT_EQ(drive->state().value().feature, "ATA Security");
  EXPECT_THAT(drive->take_ownership(rig.pin('a')), FailsWith(ErrorCode::conflict));
}

TEST_F(AtaDriveTest, ADriveWithoutAnySecurityIsUnsupported) {
  DriveRig rig({.family = Family::ata_security, .bus = Bus::sas});
  EXPECT_THAT(rig.try_attach(), FailsWith(ErrorCode::unsupported));
}

TEST(AtaStatus, IdentifyAndSatTellTheSame) {
  DriveRig rig({.family = Family::ata_security});
  rig.attach()->take_ownership(rig.pin('a')).value();
  rig.drive().power_cycle();
  const auto page = rig.drive().identify(IdentifyPage::ata_device).value();
  const auto transport = rig.drive().connect();
  const ata::AtaStatus sat = ata::read_status(*transport).value();
  const ata::AtaStatus words = ata::parse_identify(page).value();
  for (const auto& status : {sat, words}) {
    EXPECT_TRUE(status.supported && status.enabled && status.locked && status.enhanced_erase);
    EXPECT_FALSE(status.frozen || status.attempts_expired || status.maximum);
    EXPECT_EQ(status.master_id, 0x4B57);
    EXPECT_EQ(status.erase_minutes, 2u);
  }
  EXPECT_THAT(ata::parse_identify(ByteView(page).first(511)), FailsWith(ErrorCode::protocol));
  EXPECT_THAT(ata::parse_sat_status(ByteView(page).first(9)), FailsWith(ErrorCode::protocol));
}

}  // namespace
}  // namespace keyward::sed
