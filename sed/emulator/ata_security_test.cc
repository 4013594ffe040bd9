// The ATA Security feature set by its state table (ACS-3, 4.20), over both of its ways in.
#include <gtest/gtest.h>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using enum AtaSecurityCommand;

class AtaSecurityTest : public DriveTest {
 protected:
  AtaSecurityTest() { options_.family = Family::ata_security; }

  enum class Who { user, master };
  static Bytes words(Who who, std::string_view password, unsigned flags = 0) {
    Bytes data(512);
    if (who == Who::master) data[0] |= std::byte{1};
    data[0] |= static_cast<std::byte>(flags);
    data[1] = static_cast<std::byte>(flags >> 8);
    for (std::size_t n = 0; n < password.size(); ++n)
      data[2 + n] = static_cast<std::byte>(password[n]);
    return data;
  }
  static constexpr unsigned kMaximum = 0x100, kEnhanced = 0x02;

  BusStatus run(AtaSecurityCommand command, const Bytes& data = {}) {
    return drive().ata_security(command, data);
  }
  unsigned word(std::size_t n) {
    const Bytes page = drive().identify(IdentifyPage::ata_device).value();
    return std::to_integer<unsigned>(page[2 * n]) | std::to_integer<unsigned>(page[2 * n + 1]) << 8;
  }
};

TEST_F(AtaSecurityTest, AUserPasswordLocksAtTheNextPowerOn) {
  write(0, 'A');
  EXPECT_EQ(word(82) & 2, 2u);
  EXPECT_EQ(word(128), 0x21u);
  ASSERT_EQ(run(set_password, words(Who::user, "secret")), BusStatus::good);
  EXPECT_EQ(word(128), 0x23u);
  EXPECT_EQ(word(85) & 2, 2u);
  EXPECT_EQ(read(0), sectors('A'));
  drive().hardware_reset();
  EXPECT_EQ(read(0), sectors('A'));
  drive().power_cycle();
  EXPECT_EQ(word(128), 0x27u);
  EXPECT_TRUE(read(0).empty());
  EXPECT_EQ(status_, BusStatus::aborted);
  EXPECT_EQ(write(0, 'B'), BusStatus::aborted);
  for (const auto command : {set_password, disable_password})
    EXPECT_EQ(run(command, words(Who::user, "secret")), BusStatus::aborted);
  EXPECT_EQ(run(freeze_lock), BusStatus::aborted);
  EXPECT_EQ(run(unlock, words(Who::user, "secret")), BusStatus::good);
  EXPECT_EQ(read(0), sectors('A'));
  EXPECT_EQ(run(disable_password, words(Who::user, "wrong")), BusStatus::aborted);
  EXPECT_EQ(run(disable_password, words(Who::user, "secret")), BusStatus::good);
  reopen();
  EXPECT_EQ(word(128), 0x21u);
}

TEST_F(AtaSecurityTest, FiveWrongPasswordsAreTheLimitUntilAReset) {
  run(set_password, words(Who::user, "secret"));
  drive().power_cycle();
  for (int n = 0; n < 5; ++n) EXPECT_EQ(run(unlock, words(Who::user, "no")), BusStatus::aborted);
  EXPECT_EQ(word(128), 0x37u);
  EXPECT_EQ(run(unlock, words(Who::user, "secret")), BusStatus::aborted);
  EXPECT_EQ(run(erase_prepare), BusStatus::good);
  EXPECT_EQ(run(erase_unit, words(Who::user, "secret")), BusStatus::aborted);
  drive().hardware_reset();
  EXPECT_EQ(run(unlock, words(Who::user, "secret")), BusStatus::good);
}

TEST_F(AtaSecurityTest, TheMasterUnlocksInHighAndOnlyErasesInMaximum) {
  Bytes master = words(Who::master, "master");
  master[34] = std::byte{0x34};
  master[35] = std::byte{0x12};
  EXPECT_EQ(word(92), 0xFFFEu);
  ASSERT_EQ(run(set_password, master), BusStatus::good);
  EXPECT_EQ(word(92), 0x1234u);
  EXPECT_EQ(word(128), 0x21u);  // A master password does not enable security.
  run(set_password, words(Who::user, "secret"));
  drive().power_cycle();
  EXPECT_EQ(run(unlock, words(Who::master, "master")), BusStatus::good);
  run(set_password, words(Who::user, "secret", kMaximum));
  EXPECT_EQ(word(128), 0x123u);
  drive().power_cycle();
  EXPECT_EQ(run(unlock, words(Who::master, "master")), BusStatus::aborted);
  EXPECT_EQ(run(erase_prepare), BusStatus::good);
  EXPECT_EQ(run(erase_unit, words(Who::master, "master")), BusStatus::good);
  EXPECT_EQ(word(128), 0x21u);
}

TEST_F(AtaSecurityTest, EraseNeedsPrepareRightBeforeIt) {
  write(0, 'A');
  run(set_password, words(Who::user, "secret"));
  EXPECT_EQ(run(erase_unit, words(Who::user, "secret")), BusStatus::aborted);
  run(erase_prepare);
  EXPECT_EQ(read(0), sectors('A'));
  EXPECT_EQ(run(erase_unit, words(Who::user, "secret")), BusStatus::aborted);
  run(erase_prepare);
  EXPECT_EQ(run(erase_unit, words(Who::user, "wrong")), BusStatus::aborted);
  run(erase_prepare);
  EXPECT_EQ(run(erase_unit, words(Who::user, "secret")), BusStatus::good);
  EXPECT_EQ(read(0), sectors(0));
  EXPECT_EQ(word(128), 0x21u);
}

TEST_F(AtaSecurityTest, EnhancedEraseDestroysTheKey) {
  write(0, 'A');
  run(set_password, words(Who::user, "secret"));
  run(erase_prepare);
  EXPECT_EQ(run(erase_unit, words(Who::user, "secret", kEnhanced)), BusStatus::good);
  EXPECT_NE(read(0), sectors('A'));
  EXPECT_NE(read(0), sectors(0));
}

TEST_F(AtaSecurityTest, FrozenIsFrozenUntilThePowerGoes) {
  ASSERT_EQ(run(freeze_lock), BusStatus::good);
  EXPECT_EQ(word(128), 0x29u);
  EXPECT_EQ(run(freeze_lock), BusStatus::good);
  EXPECT_EQ(run(set_password, words(Who::user, "x")), BusStatus::aborted);
  EXPECT_EQ(run(erase_prepare), BusStatus::aborted);
  drive().hardware_reset();
  EXPECT_EQ(run(set_password, words(Who::user, "x")), BusStatus::aborted);
  drive().power_cycle();
  EXPECT_EQ(run(set_password, words(Who::user, "x")), BusStatus::good);
}

TEST_F(AtaSecurityTest, SatsParameterListsAreTheSameCommands) {
  Bytes parameters(36);
  parameters[0] = std::byte{1};  // MAXLVL.
  parameters[2] = std::byte{'p'};
  EXPECT_EQ(drive().security_send(0xEF, 1, ByteView(parameters).first(35)),
            BusStatus::invalid_length);
  EXPECT_EQ(drive().security_send(0xEF, 7, parameters), BusStatus::invalid_com_id);
  ASSERT_EQ(drive().security_send(0xEF, 1, parameters), BusStatus::good);
  drive().power_cycle();
  Bytes answer(16);
  ASSERT_EQ(drive().security_receive(0xEF, 0, answer), BusStatus::good);
  EXPECT_EQ(answer[1], std::byte{0x0E});
  EXPECT_EQ(answer[6], std::byte{0xFF});
  EXPECT_EQ(answer[8], std::byte{1});
  EXPECT_EQ(answer[9], std::byte{0x27});
  EXPECT_EQ(drive().security_send(0xEF, 2, parameters), BusStatus::good);
  EXPECT_EQ(run(unlock, words(Who::user, "p")), BusStatus::good);
  EXPECT_EQ(drive().security_send(0xEF, 3, {}), BusStatus::good);
  EXPECT_EQ(drive().security_send(0xEF, 4, parameters), BusStatus::good);
  EXPECT_EQ(word(128), 0x21u);
}

TEST_F(AtaSecurityTest, TcgIsNotThere) {
  Bytes buffer(512);
  EXPECT_EQ(drive().security_receive(1, 1, buffer), BusStatus::unsupported_protocol);
  EXPECT_EQ(word(48), 0x4000u);
}

class AtaBesideOpalTest : public AtaSecurityTest {
 protected:
  AtaBesideOpalTest() { options_.family = Family::opal2; }
};

TEST_F(AtaBesideOpalTest, AnActiveLockingSpPutsAtaSecurityAway) {
  EXPECT_EQ(word(128), 0x21u);
  take_ownership();
  EXPECT_EQ(word(128), 0u);
  EXPECT_EQ(word(82) & 2, 0u);
  EXPECT_EQ(run(set_password, words(Who::user, "x")), BusStatus::aborted);
  EXPECT_EQ(run(freeze_lock), BusStatus::aborted);
}

TEST_F(AtaBesideOpalTest, AnAtaPasswordKeepsTheLockingSpFromBeingActivated) {
  ASSERT_EQ(run(set_password, words(Who::user, "x")), BusStatus::good);
  wire::WireHost h = host();
  const std::string msid = h.msid();
  ASSERT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = msid}).status, kSuccess);
  EXPECT_EQ(h.invoke(kLockingSp, 0x203).status, kFail);
  h.end();
  drive().power_cycle();
  Bytes buffer(512);
  EXPECT_EQ(drive().security_receive(1, 1, buffer), BusStatus::aborted);
}

}  // namespace
}  // namespace keyward::sed
