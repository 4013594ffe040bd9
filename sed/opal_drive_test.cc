// The Opal family's operations against the strict emulator: what works, and what each refusal says.
#include "sed/opal_drive.h"

#include "sed/drive_rig_fixture.h"

namespace keyward::sed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class OpalFamilyTest : public ::testing::TestWithParam<Family> {
 protected:
  OpalFamilyTest() : rig_({.family = GetParam()}) {}
  DriveRig rig_;
};

std::string family_name(const ::testing::TestParamInfo<Family>& info) {
  if (info.param == Family::opal2) return "Opal2";
  return info.param == Family::ruby ? "Ruby" : "Pyrite2";
}

INSTANTIATE_TEST_SUITE_P(Families, OpalFamilyTest,
                         ::testing::Values(Family::opal2, Family::pyrite2, Family::ruby),
                         family_name);

TEST_P(OpalFamilyTest, TakenItLocksWithThePowerAndOpensByItsPin) {
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
  EXPECT_FALSE(drive->state().value().locking_enabled);
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  ASSERT_EQ(rig_.write(0, 'A'), BusStatus::good);
  DriveState state = drive->state().value();
  EXPECT_EQ(state.owner, Owner::us);
  EXPECT_EQ(state.owner_node, rig_.node());
  EXPECT_EQ(state.pin, pin_tag(rig_.pin('a')).value());
  EXPECT_EQ(state.access, Access::unlocked);
  EXPECT_TRUE(state.locking_enabled);
  EXPECT_EQ(state.tries_left, 3u);  // Of five.

  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(0).empty());
  drive = rig_.attach(drive->knowledge());
  EXPECT_EQ(drive->state().value().access, Access::locked);
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::read_only), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  EXPECT_EQ(rig_.write(0, 'B'), BusStatus::locked);
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::locked), Succeeds());
  EXPECT_TRUE(rig_.read(0).empty());
  EXPECT_THAT(drive->prove(rig_.pin('a')), Succeeds());
}

TEST_P(OpalFamilyTest, TakingItAgainWithTheSamePinIsNothingNew) {
  auto drive = rig_.attach();
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  EXPECT_THAT(drive->take_ownership(rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
}

TEST_P(OpalFamilyTest, AChangedPinIsTheOnlyOne) {
  auto drive = rig_.attach();
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  rig_.ledger().start_count();
  ASSERT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('c')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(drive->state().value().pin, pin_tag(rig_.pin('b')).value());
  EXPECT_EQ(drive->state().value().next_pin, std::nullopt);
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->prove(rig_.pin('b')), Succeeds());
  // And the SID's too.
  EXPECT_THAT(drive->erase(EraseMethod::revert, rig_.pin('b'), Destroy::all_data), Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
}

TEST_P(OpalFamilyTest, EveryRevertDestroysTheData) {
  for (const EraseMethod method :
       {EraseMethod::revert, EraseMethod::revert_locking, EraseMethod::psid_revert}) {
    auto drive = rig_.attach();
    ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
    ASSERT_EQ(rig_.write(7, 'A'), BusStatus::good);
    const SecretBytes credential = method == EraseMethod::psid_revert ? rig_.psid() : rig_.pin('a');
    ASSERT_THAT(drive->erase(method, credential, Destroy::all_data), Succeeds());
    EXPECT_FALSE(rig_.read(7).empty());
    EXPECT_NE(rig_.read(7), rig_.pattern('A'));
    EXPECT_FALSE(drive->state().value().locking_enabled);
    EXPECT_THAT(drive->erase(method, credential, Destroy::all_data), Succeeds());
  }
}

TEST_P(OpalFamilyTest, APsidIsForgivenItsDashesAndLetters) {
  auto drive = rig_.attach();
  ASSERT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  std::string typed;
  for (const char letter : rig_.drive().psid()) {
    typed += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    if (typed.size() % 5 == 4) typed += '-';
  }
  // Three of five tries, since the drive tells how many there are; so far none is the right one.
  for (int n = 0; n < 2; ++n)
    EXPECT_THAT(drive->erase(EraseMethod::psid_revert, secret_text("WRONG"), Destroy::all_data),
                FailsWith(ErrorCode::auth_failed));
  EXPECT_EQ(drive->state().value().owner, Owner::us);
  EXPECT_THAT(drive->erase(EraseMethod::psid_revert, secret_text(typed), Destroy::all_data),
              Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::nobody);
  EXPECT_EQ(drive->state().value().tries_left, std::nullopt);  // New PINs, new tries.
}

class OpalDriveTest : public ::testing::Test {
 protected:
  std::unique_ptr<Drive> take(char pin = 'a') {
    auto drive = rig_.attach();
    drive->take_ownership(rig_.pin(pin)).value();
    return drive;
  }
  DriveRig rig_;
};

TEST_F(OpalDriveTest, AWarmDriveOpensInSixCommands) {
  const Bytes known = take()->knowledge();
  rig_.drive().power_cycle();
  std::unique_ptr<Drive> drive;
  EXPECT_EQ(rig_.commands_of([&] {
    drive = rig_.attach(known);
    drive->set_access(rig_.pin('a'), Access::unlocked).value();
  }),
            6u);
  EXPECT_FALSE(rig_.read(0).empty());
}

TEST_F(OpalDriveTest, AShadowThatIsShownGoesWithTwoCommandsMore) {
  auto drive = take();
  ASSERT_EQ(rig_.write(0, 'A'), BusStatus::good);
  ShadowMbr* shadow = drive->shadow_mbr();
  ASSERT_NE(shadow, nullptr);
  EXPECT_EQ(shadow->size().value(), 1u << 20);
  const Bytes image(300'000, std::byte{'S'});
  EXPECT_LT(rig_.commands_of([&] { shadow->load(rig_.pin('a'), image).value(); }), 24u);
  ASSERT_THAT(shadow->set_enabled(rig_.pin('a'), true), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  const Bytes known = drive->knowledge();
  rig_.drive().power_cycle();
  EXPECT_EQ(rig_.read(0), rig_.pattern('S'));
  drive = rig_.attach(known);
  EXPECT_EQ(rig_.commands_of([&] { drive->set_access(rig_.pin('a'), Access::unlocked).value(); }),
            8u);
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  EXPECT_THAT(drive->shadow_mbr()->set_done(rig_.pin('a'), false), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('S'));
  EXPECT_THAT(drive->shadow_mbr()->set_enabled(rig_.pin('a'), false), Succeeds());
  EXPECT_EQ(rig_.read(0), rig_.pattern('A'));
  EXPECT_THAT(drive->shadow_mbr()->load(rig_.pin('a'), Bytes((1u << 20) + 1)),
              FailsWith(ErrorCode::invalid_argument));
}

TEST_F(OpalDriveTest, AShadowThatStaysIsReported) {
  auto drive = take();
  drive->shadow_mbr()->set_enabled(rig_.pin('a'), true).value();
  EmulatorFaults faults;
  faults.shadow_mbr_stays = true;
  rig_.drive().set_faults(faults);
  EXPECT_THAT(drive->shadow_mbr()->set_enabled(rig_.pin('a'), false), FailsWith(ErrorCode::io));
}

TEST_F(OpalDriveTest, KnowledgeOfAnotherDriveOrDamagedIsNotUsed) {
  const Bytes known = take()->knowledge();
  Bytes damaged = known;
  damaged[9] ^= std::byte{1};
  EXPECT_EQ(rig_.commands_of([&] { rig_.attach(known); }), 0u);
  EXPECT_GT(rig_.commands_of([&] { rig_.attach(damaged); }), 0u);
  DriveRig other({.identity = {"5000c500a0000002", "KWEMU0000002", "KEYWARD EMULATED", "1.0"}});
  EXPECT_GT(other.commands_of([&] { other.attach(known); }), 0u);
}

TEST_F(OpalDriveTest, KnowledgeThatIsWrongIsThrownAway) {
  auto drive = take();
  auto known = Knowledge::parse(drive->knowledge(), drive->identity()).value();
  known.com_id = 0x1234;
  drive = rig_.attach(known.render(drive->identity()));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_EQ(Knowledge::parse(drive->knowledge(), drive->identity())->com_id, 0x1000);
}

// Takes what is sent to a ComID that it does not have, and never answers.
class SilentDrive final : public SecurityTransport {
 public:
  explicit SilentDrive(std::unique_ptr<SecurityTransport> target) : target_(std::move(target)) {}
  const DriveIdentity& identity() const override { return target_->identity(); }
  Result<Bytes> identify(IdentifyPage page) override { return target_->identify(page); }
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload) override {
    if (specific == kNotItsComId) return {};
    return target_->send(protocol, specific, payload);
  }
  Result<std::size_t> receive(Protocol protocol, std::uint16_t specific,
                              MutableByteView buffer) override {
    if (specific != kNotItsComId) return target_->receive(protocol, specific, buffer);
    std::ranges::fill(buffer, std::byte{0});
    buffer[4] = static_cast<std::byte>(kNotItsComId >> 8);
    buffer[5] = static_cast<std::byte>(kNotItsComId & 0xFF);
    return buffer.size();
  }
  static constexpr std::uint16_t kNotItsComId = 0x1234;

 private:
  std::unique_ptr<SecurityTransport> target_;
};

TEST_F(OpalDriveTest, KnowledgeThatTheDriveIsSilentOnIsAskedForAnewTheNextTime) {
  auto drive = take();
  auto known = Knowledge::parse(drive->knowledge(), drive->identity()).value();
  known.com_id = SilentDrive::kNotItsComId;
  const Bytes stale = known.render(drive->identity());
  drive = attach_drive(std::make_unique<SilentDrive>(rig_.drive().connect()), rig_.clock(),
                       {rig_.node(), &rig_.ledger(), stale})
              .value();
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), FailsWith(ErrorCode::timeout));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
}

TEST_F(OpalDriveTest, AMarkerThatWasLostIsWrittenAgainByThePinsOwner) {
  auto drive = take();
  drive->ranges()->place(rig_.pin('a'), 3, 1024, 64).value();
  {
    const auto transport = rig_.drive().connect();
    tcg::Channel channel =
        tcg::Channel::open(*transport, rig_.clock(), tcg::discover(*transport).value(), {}).value();
    const SecretBytes pin = authority_pin(rig_.pin('a'), "Admin1").value();
    tcg::Session session =
        tcg::Session::start(channel, tcg::sp::kLocking, {tcg::authority::admin(1), &pin},
                            tcg::Session::Mode::write)
            .value();
    session.write_table(tcg::kDataStore, 0, Bytes(1024)).value();
    session.close().value();
  }
  drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::unknown);
  EXPECT_THAT(drive->take_ownership(rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::us);
  rig_.drive().power_cycle();
  ASSERT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_FALSE(rig_.read(1024).empty());
}

TEST_F(OpalDriveTest, KnowledgeOfAnOwnedDriveThatWasRevertedSaysThatNobodyOwnsIt) {
  const Bytes known = take()->knowledge();
  rig_.attach()->erase(EraseMethod::psid_revert, rig_.psid(), Destroy::all_data).value();
  auto drive = rig_.attach(known);
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), FailsWith(ErrorCode::conflict));
}

TEST_F(OpalDriveTest, AWrongPinIsSentTwiceAndNoMore) {
  auto drive = take();
  EXPECT_THAT(drive->prove(rig_.pin('x')), FailsWith(ErrorCode::auth_failed));
  EXPECT_EQ(drive->state().value().tries_left, 2u);
  for (int n = 0; n < 2; ++n) static_cast<void>(drive->prove(rig_.pin('x')));
  EXPECT_EQ(rig_.commands_of([&] {
    EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::locked_out));
  }),
            0u);
  EXPECT_EQ(drive->state().value().tries_left, 0u);
  // Two tries are left: whoever has made sure gives them back.
  rig_.ledger().forget(drive_key(drive->identity())).value();
  EXPECT_THAT(drive->prove(rig_.pin('a')), Succeeds());
}

TEST_F(OpalDriveTest, ALockedOutAuthorityIsNotAskedAgain) {
  auto drive = take();
  EmulatorFaults faults;
  faults.locked_out = true;
  rig_.drive().set_faults(faults);
  EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::locked_out));
  EXPECT_EQ(rig_.commands_of([&] {
    EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::locked_out));
  }),
            0u);
  rig_.drive().set_faults({});
  // The SID still has its tries, and may revert what Admin1 cannot.
  EXPECT_THAT(drive->erase(EraseMethod::revert_locking, rig_.pin('a'), Destroy::all_data),
              Succeeds());
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
}

TEST_F(OpalDriveTest, RevertedItsLockingSpIsTakenAgainByTheSamePinAlone) {
  auto drive = take();
  drive->erase(EraseMethod::revert_locking, rig_.pin('a'), Destroy::all_data).value();
  EXPECT_EQ(drive->state().value().next_pin, pin_tag(rig_.pin('a')).value());
  EXPECT_THAT(drive->take_ownership(rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(drive->take_ownership(rig_.pin('b')), Succeeds());
}

TEST_F(OpalDriveTest, AForeignDriveIsNotTouched) {
  MemoryTryLedger theirs;
  rig_.attach_as(NodeId::random(), theirs)->take_ownership(rig_.pin('f')).value();
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::somebody_else);
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
  // Who has its PIN makes it theirs by taking it.
  EXPECT_THAT(drive->take_ownership(rig_.pin('f')), Succeeds());
  EXPECT_EQ(drive->state().value().owner, Owner::us);
}

TEST_F(OpalDriveTest, AnSidThatSomebodyElseChangedIsSomebodyElses) {
  MemoryTryLedger theirs;
  auto other = rig_.attach_as(NodeId::random(), theirs);
  other->take_ownership(rig_.pin('f')).value();
  other->erase(EraseMethod::revert_locking, rig_.pin('f'), Destroy::all_data).value();
  auto drive = rig_.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::somebody_else);
  rig_.ledger().start_count();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), FailsWith(ErrorCode::conflict));
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
}

TEST_F(OpalDriveTest, AnSidWithoutMsidNamesTheWaysOn) {
  DriveRig rig({.sid_is_msid = false});
  auto drive = rig.attach();
  EXPECT_EQ(drive->state().value().owner, Owner::unknown);
  const auto taken = drive->take_ownership(rig.pin('a'));
  ASSERT_THAT(taken, FailsWith(ErrorCode::conflict));
  EXPECT_THAT(taken.error().message, HasSubstr("PSID"));
  EXPECT_EQ(rig.ledger().most_in_vain(), 0);
}

TEST_F(OpalDriveTest, BlockedTheSidIsNotAsked) {
  auto drive = rig_.attach();
  ASSERT_THAT(drive->freeze(), Succeeds());
  rig_.ledger().start_count();
  const auto taken = drive->take_ownership(rig_.pin('a'));
  ASSERT_THAT(taken, FailsWith(ErrorCode::conflict));
  EXPECT_THAT(taken.error().message, HasSubstr("Block SID"));
  EXPECT_THAT(drive->state().value().notes, Contains(HasSubstr("Block SID")));
  EXPECT_THAT(drive->erase(EraseMethod::revert, rig_.pin('a'), Destroy::all_data),
              FailsWith(ErrorCode::conflict));
  rig_.drive().power_cycle();
  EXPECT_THAT(drive->take_ownership(rig_.pin('a')), Succeeds());
  ASSERT_THAT(drive->freeze(), Succeeds());
  EXPECT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), FailsWith(ErrorCode::conflict));
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
  EXPECT_EQ(rig_.ledger().most_in_vain(), 0);
}

TEST_F(OpalDriveTest, AnAtaPasswordBesideTcgIsRefusedBeforeAnyPin) {
  Bytes words(512);
  words[2] = std::byte{'p'};
  auto drive = rig_.attach();
  ASSERT_EQ(rig_.drive().ata_security(AtaSecurityCommand::set_password, words), BusStatus::good);
  const auto taken = drive->take_ownership(rig_.pin('a'));
  ASSERT_THAT(taken, FailsWith(ErrorCode::conflict));
  EXPECT_THAT(taken.error().message, HasSubstr("ATA password"));
  EXPECT_THAT(drive->state().value().notes, Contains(HasSubstr("ATA password")));
}

TEST_F(OpalDriveTest, CryptoEraseDestroysAllRangesAndKeepsTheOwner) {
  auto drive = take();
  ASSERT_THAT(drive->ranges()->place(rig_.pin('a'), 1, 1024, 1024), Succeeds());
  rig_.write(0, 'A');
  rig_.write(1024, 'B');
  ASSERT_THAT(drive->erase(EraseMethod::crypto_erase, rig_.pin('a'), Destroy::all_data),
              Succeeds());
  EXPECT_NE(rig_.read(0), rig_.pattern('A'));
  EXPECT_NE(rig_.read(1024), rig_.pattern('B'));
  EXPECT_EQ(drive->state().value().owner, Owner::us);
  EXPECT_THAT(drive->erase(EraseMethod::ata_enhanced, rig_.pin('a'), Destroy::all_data),
              FailsWith(ErrorCode::unsupported));
}

TEST_F(OpalDriveTest, TwoKilobytePacketsAreEnough) {
  DriveRig rig({.max_com_packet = 2048});
  auto drive = rig.attach();
  ASSERT_THAT(drive->take_ownership(rig.pin('a')), Succeeds());
  const Bytes content(5000, std::byte{'d'});
  ASSERT_THAT(drive->data_store()->write(rig.pin('a'), 17, content), Succeeds());
  EXPECT_EQ(drive->data_store()->read(17, 5000).value(), content);
  ASSERT_THAT(drive->shadow_mbr()->load(rig.pin('a'), content), Succeeds());
  ASSERT_THAT(drive->change_pin(rig.pin('a'), rig.pin('b')), Succeeds());
}

TEST_F(OpalDriveTest, PropertiesThatAreCutOffMeanSmallPackets) {
  auto drive = take();
  EmulatorFaults faults;
  faults.short_properties = true;
  rig_.drive().set_faults(faults);
  const Bytes content(5000, std::byte{'d'});
  ASSERT_THAT(drive->data_store()->write(rig_.pin('a'), 17, content), Succeeds());
  EXPECT_EQ(drive->data_store()->read(17, 5000).value(), content);
}

TEST_F(OpalDriveTest, ADriveThatHidesItsLockOutIsNotAskedForEver) {
  auto drive = take();
  EmulatorFaults faults;
  faults.locked_out = true;
  faults.lock_out_says_not_authorized = true;
  rig_.drive().set_faults(faults);
  for (int n = 0; n < 3; ++n)
    EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(drive->prove(rig_.pin('a')), FailsWith(ErrorCode::locked_out));
}

TEST_F(OpalDriveTest, ADeadDriveIsUnavailableAndSpendsOneTry) {
  auto drive = take();
  EmulatorFaults faults;
  faults.dead = true;
  rig_.drive().set_faults(faults);
  for (int n = 0; n < 5; ++n)
    EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked),
                FailsWith(ErrorCode::unavailable));
  rig_.drive().set_faults({});
  EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds());
}

TEST_F(OpalDriveTest, TheDataStoreIsEverybodysToReadAndKeepsTheMarker) {
  auto drive = take();
  const std::uint64_t size = drive->data_store()->size().value();
  EXPECT_EQ(size, (10u << 20) - OwnerMarker::kReservedBytes);
  const Bytes content(100'000, std::byte{'d'});
  ASSERT_THAT(drive->data_store()->write(rig_.pin('a'), 0, content), Succeeds());
  EXPECT_EQ(rig_.attach()->data_store()->read(0, content.size()).value(), content);
  EXPECT_THAT(drive->data_store()->read(size, 1), FailsWith(ErrorCode::invalid_argument));
  EXPECT_EQ(drive->state().value().owner, Owner::us);
}

TEST_F(OpalDriveTest, LostRepliesEndInATimeOutAndTheNextCallWorks) {
  auto drive = take();
  for (std::uint32_t lost = 1; lost <= 3; ++lost) {
    EmulatorFaults faults;
    faults.dropped_replies = lost;
    rig_.drive().set_faults(faults);
    const auto opened = drive->set_access(rig_.pin('a'), Access::locked);
    EXPECT_FALSE(opened) << lost;
    rig_.drive().set_faults({});
    EXPECT_THAT(drive->set_access(rig_.pin('a'), Access::unlocked), Succeeds()) << lost;
  }
}

TEST_F(OpalDriveTest, RangesAreApartAligned) {
  auto drive = take();
  RangeTable& ranges = *drive->ranges();
  EXPECT_EQ(ranges.ranges_max(), 8u);
  const auto misaligned = ranges.place(rig_.pin('a'), 1, 1025, 64);
  ASSERT_THAT(misaligned, FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(misaligned.error().message, HasSubstr("multiple of 8 sectors"));
  ASSERT_THAT(ranges.place(rig_.pin('a'), 1, 1024, 64), Succeeds());
  EXPECT_THAT(ranges.place(rig_.pin('a'), 2, 1080, 64), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(ranges.place(rig_.pin('a'), 0, 0, 64), FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(ranges.place(rig_.pin('a'), 9, 2048, 64), FailsWith(ErrorCode::invalid_argument));
  const std::vector<Range> list = ranges.list(rig_.pin('a')).value();
  ASSERT_EQ(list.size(), 9u);
  EXPECT_EQ(list[1].first_sector, 1024u);
  EXPECT_EQ(list[1].sectors, 64u);
  EXPECT_TRUE(list[1].lockable);
  EXPECT_FALSE(list[2].lockable);

  rig_.write(1024, 'R');
  const Bytes known = drive->knowledge();
  rig_.drive().power_cycle();
  EXPECT_TRUE(rig_.read(1024).empty());
  drive = rig_.attach(known);
  EXPECT_EQ(rig_.commands_of([&] { drive->set_access(rig_.pin('a'), Access::unlocked).value(); }),
            8u);
  EXPECT_EQ(rig_.read(1024), rig_.pattern('R'));
  ASSERT_THAT(drive->ranges()->place(rig_.pin('a'), 1, 0, 0), Succeeds());
  EXPECT_FALSE(drive->ranges()->list(rig_.pin('a')).value()[1].lockable);
}

TEST_F(OpalDriveTest, ARangesUserOpensItAndNoOther) {
  auto drive = take();
  RangeTable& ranges = *drive->ranges();
  ASSERT_THAT(ranges.place(rig_.pin('a'), 1, 1024, 64), Succeeds());
  ASSERT_THAT(ranges.place(rig_.pin('a'), 2, 2048, 64), Succeeds());
  ASSERT_THAT(ranges.grant_user(rig_.pin('a'), 1, 3), Succeeds());
  EXPECT_THAT(ranges.grant_user(rig_.pin('a'), 1, 10), FailsWith(ErrorCode::invalid_argument));
  rig_.drive().power_cycle();
  const SecretBytes user = authority_pin(rig_.pin('a'), "User3").value();
  EXPECT_THAT(ranges.set_access_as_user(user, 3, 1, Access::unlocked), Succeeds());
  EXPECT_FALSE(rig_.read(1024).empty());
  EXPECT_TRUE(rig_.read(2048).empty());
  EXPECT_FALSE(ranges.set_access_as_user(user, 3, 2, Access::unlocked));
  ASSERT_THAT(drive->change_pin(rig_.pin('a'), rig_.pin('b')), Succeeds());
  EXPECT_THAT(ranges.set_access_as_user(user, 3, 1, Access::locked),
              FailsWith(ErrorCode::auth_failed));
  EXPECT_THAT(ranges.set_access_as_user(authority_pin(rig_.pin('b'), "User3").value(), 3, 1,
                                        Access::locked),
              Succeeds());
  rig_.write(1024, 'R');
  ASSERT_THAT(ranges.set_access(rig_.pin('b'), 1, Access::unlocked), Succeeds());
  rig_.write(1024, 'R');
  ASSERT_THAT(ranges.erase(rig_.pin('b'), 1, Destroy::all_data), Succeeds());
  EXPECT_NE(rig_.read(1024), rig_.pattern('R'));
}

TEST_F(OpalDriveTest, APyriteDriveHasNeitherRangesNorKeys) {
  DriveRig rig({.family = Family::pyrite2});
  auto drive = rig.attach();
  drive->take_ownership(rig.pin('a')).value();
  EXPECT_EQ(drive->ranges(), nullptr);
  EXPECT_THAT(drive->erase(EraseMethod::crypto_erase, rig.pin('a'), Destroy::all_data),
              FailsWith(ErrorCode::unsupported));
}

}  // namespace
}  // namespace keyward::sed
