// The Enterprise class's operations against the strict emulator.
#include "sed/enterprise_drive.h"

#include "sed/drive_rig_fixture.h"

namespace keyward::sed {
namespace {

using ::testing::HasSubstr;

SecretBytes read_msid(tcg::Channel& channel) {
  tcg::Session session =
      tcg::Session::start(channel, tcg::sp::kAdmin, {}, tcg::Session::Mode::read).value();
  Bytes pin = *tcg::bytes_in(session.get(tcg::pin::kMsid, {3, 3}).value(), 3);
  return SecretBytes::take_from(pin).value();
}

class EnterpriseDriveTest : public ::testing::Test {
 protected:
  std::unique_ptr<Drive> take(char pin = 'a') {
    auto drive = rig_.attach();
    drive->take_ownership(rig_.pin(pin)).value();
    return drive;
  }
  DriveRig rig_{{.family = Family::enterprise, .bus = Bus::sas}};
};

TEST_F(EnterpriseDriveTest, TakenItLocksWithThePowerAndOpensByItsPin) {
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  EXPECT_THAT(drive->take_ownership(rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  rig_.write(0, 'A');
  const Bytes known = drive->knowledge();
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(0).empty());
  drive = rig_.attach(known);
  EXPECT_EQ(rig_.commands_of([&] { drive->set_access(rig_.pin('a'), Access::unlocked).value(); }),
            8u);
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  const DriveState state = drive->state().value();
  EXPECT_EQ(state.feature, "Enterprise");
  EXPECT_EQ(state.owner, Owner::us);
  EXPECT_EQ(state.pin, pin_tag(rig_.pin('a')).value());
  EXPECT_EQ(state.next_pin, std::nullopt);
  EXPECT_EQ(state.tries_left, 3u);
}

TEST_F(EnterpriseDriveTest, NoAuthorityKeepsTheFactorysPin) {
  take();
  const auto transport = rig_.drive().connect();
  const tcg::Discovery found = tcg::discover(*transport).value();
  tcg::Channel channel = tcg::Channel::open(*transport, rig_.clock(), found, {}).value();
  const SecretBytes msid = read_msid(channel);
  std::vector<std::pair<tcg::Uid, tcg::Uid>> all = {
      {tcg::sp::kAdmin, tcg::authority::kSid},
      {tcg::sp::kEnterpriseLocking, tcg::authority::kEraseMaster}};
  for (std::uint32_t n = 0; n <= 8; ++n)
    all.emplace_back(tcg::sp::kEnterpriseLocking, tcg::authority::band_master(n));
  for (const auto& [provider, authority] : all)
    EXPECT_THAT(
        tcg::Session::start(channel, provider, {authority, &msid}, tcg::Session::Mode::write),
        FailsWith(ErrorCode::auth_failed));
}

TEST_F(EnterpriseDriveTest, AChangedPinIsTheOnlyOne) {
  auto drive = take();
  ASSERT_THAT(drive->ranges()->place(rig_.pin('a'), 2, 1024, 64), Succeeds());
  rig_.ledger().start_count();
  ASSERT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('c')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  rig_.drive().power_cycle();
  EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->set_access(rig_.pin('b'), Access::unlocked), Succeeds());
  EXPECT_FALSE(rig_.read(0).empty());
  EXPECT_FALSE(rig_.read(1024).empty());
  EXPECT_THAT(drive->erase(EraseMethod::revert, rig_.pin('b'), Destroy::all_data), Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
}

TEST_F(EnterpriseDriveTest, BandsAreApartAlignedAndEachIsErasedAlone) {
  auto drive = take();
  RangeTable& bands = *drive->ranges();
  const auto misaligned = bands.place(rig_.pin('a'), 1, 1025, 64);
  ASSERT_THAT(misaligned, FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(misaligned.error().message, HasSubstr("multiple of 8 sectors"));
  ASSERT_THAT(bands.place(rig_.pin('a'), 1, 1024, 64), Succeeds());
  EXPECT_EQ(bands.list(rig_.pin('a')).value()[1].first_sector, 1024u);
  rig_.write(0, 'G');
  rig_.write(1024, 'B');
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(1024).empty());
  ASSERT_THAT(bands.set_access(rig_.pin('a'), 1, Access::read_only), Succeeds());
  EXPECT_EQ(rig_.read(1024), rig_.pattern('B'));
  EXPECT_EQ(bands.list(rig_.pin('a')).value()[1].access, Access::read_only);
  ASSERT_THAT(bands.erase(rig_.pin('a'), 1, Destroy::all_data), Succeeds());
  EXPECT_NE(rig_.read(1024), rig_.pattern('B'));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('G'));
  // It locks again, and its BandMaster has our PIN.
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(1024).empty());
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_THAT(bands.grant_user(rig_.pin('a'), 1, 1), FailsWith(ErrorCode::unsupported));
  EXPECT_THAT(bands.place(rig_.pin('a'), 1, 0, 0), Succeeds());
  EXPECT_FALSE(bands.list(rig_.pin('a')).value()[1].lockable);
}

TEST_F(EnterpriseDriveTest, ABandMasterThatCameDisabledIsEnabledWhenItsBandIsPlaced) {
  {
    const auto transport = rig_.drive().connect();
    const tcg::Discovery found = tcg::discover(*transport).value();
    tcg::Channel channel = tcg::Channel::open(*transport, rig_.clock(), found, {}).value();
    const SecretBytes msid = read_msid(channel);
    tcg::Session session =
        tcg::Session::start(channel, tcg::sp::kEnterpriseLocking,
                            {tcg::authority::kEraseMaster, &msid}, tcg::Session::Mode::write)
            .value();
    session.set(tcg::authority::band_master(3), {{tcg::column::authority::kEnabled, 0u}}).value();
    session.close().value();
  }
  auto drive = take();
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  ASSERT_THAT(drive->ranges()->place(rig_.pin('a'), 3, 1024, 64), Succeeds());
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(1024).empty());
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_FALSE(rig_.read(1024).empty());
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
}

TEST_F(EnterpriseDriveTest, EveryEraseDestroysTheData) {
  for (const EraseMethod method :
       {EraseMethod::crypto_erase, EraseMethod::revert, EraseMethod::psid_revert}) {
    auto drive = take();
    ASSERT_EQ(rig_.write(7, 'A'), BusStatus::good);
    const SecretBytes credential = method == EraseMethod::psid_revert ? rig_.psid() : rig_.pin('a');
    ASSERT_THAT(drive->erase(method, credential, Destroy::all_data), Succeeds());
    EXPECT_FALSE(rig_.read(7).empty());
    EXPECT_NE(rig_.read(7), rig_.pattern('A'));
    EXPECT_THAT(drive->erase(method, credential, Destroy::all_data), Succeeds());
    EXPECT_EQ(drive->state().value().owner,
              method == EraseMethod::crypto_erase ? Owner::us : Owner::nobody);
  }
  EXPECT_THAT(rig_.attach()->erase(EraseMethod::revert_locking, rig_.pin('a'), Destroy::all_data),
              FailsWith(ErrorCode::unsupported));
}

TEST_F(EnterpriseDriveTest, CutOffInAnEraseItIsOpenedByItsPinAndStillToBeErased) {
  for (std::uint64_t k = 1;; ++k) {
    SCOPED_TRACE(k);
    DriveRig rig({.family = Family::enterprise, .bus = Bus::sas, .ranges = 2});
    auto drive = rig.attach();
    ASSERT_THAT(drive->take_ownership(rig.pin('a')), Succeeds());
    ASSERT_THAT(drive->ranges()->place(rig.pin('a'), 2, 1024, 64), Succeeds());
    EmulatorFaults faults;
    faults.cut_at_command = k;
    rig.drive().set_faults(faults);
    if (drive->erase(EraseMethod::crypto_erase, rig.pin('a'), Destroy::all_data)) break;
    rig.drive().set_faults({});
    rig.drive().power_cycle();
    drive = rig.attach();
    rig.ledger().start_count();
    const bool begun = !drive->state().value().notes.empty();
    ASSERT_THAT(drive->set_access(rig.pin('a'), Access::unlocked), Succeeds());
    EXPECT_LE(rig.ledger().most_in_vain(), 1);
    rig.drive().power_cycle();
    EXPECT_TRUE(rig.read(0).empty() && rig.read(1024).empty());
    EXPECT_EQ(!drive->state().value().notes.empty(), begun);
  }
}

TEST_F(EnterpriseDriveTest, AForeignDriveIsNotTouched) {
  MemoryTryLedger theirs;
  rig_.attach_as(NodeId::random(), theirs)->take_ownership(rig_.pin('f')).value();
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::somebody_else);
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  EXPECT_THAT(drive->take_ownership(rig_.pin('f')), Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::us);
}

TEST_F(EnterpriseDriveTest, SmallPacketsAreEnough) {
  DriveRig rig({.family = Family::enterprise, .bus = Bus::sas, .max_com_packet = 1024});
  auto drive = rig.attach();
  ASSERT_THAT(drive->take_ownership(rig.pin('a')), Succeeds());
  ASSERT_THAT(drive->change_pin(rig.pin('a'), rig.pin('b')), Succeeds());
  EXPECT_THAT(drive->prove(rig.pin('b')), Succeeds());
}

}  // namespace
}  // namespace keyward::sed
