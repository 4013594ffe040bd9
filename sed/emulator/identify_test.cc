// Level 0 discovery, identify data, and the statuses' names on each bus.
#include <gtest/gtest.h>

#include <map>

#include "base/text.h"
#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

class IdentifyTest : public DriveTest {
 protected:
  // The features' bodies by their codes; the header's length is checked on the way.
  std::map<unsigned, Bytes> features() {
    Bytes page(2048);
    EXPECT_EQ(drive().security_receive(1, 0x0001, page), BusStatus::good);
    const auto at = [&](std::size_t n) { return std::to_integer<unsigned>(page[n]); };
    const std::size_t end = 4 + (at(2) << 8 | at(3));
    std::map<unsigned, Bytes> found;
    std::size_t n = 48;
    while (n + 4 <= end) {
      const auto body = page.begin() + static_cast<std::ptrdiff_t>(n + 4);
      found[at(n) << 8 | at(n + 1)] = Bytes(body, body + static_cast<std::ptrdiff_t>(at(n + 3)));
      n += 4 + at(n + 3);
    }
    EXPECT_EQ(n, end);
    return found;
  }
  Bytes page(IdentifyPage which) { return drive().identify(which).value(); }
};

TEST_F(IdentifyTest, OpalsDiscoveryFollowsTheState) {
  auto before = features();
  EXPECT_EQ(to_hex(before[0x0003]).substr(0, 24), "010000000000000000000200");
  EXPECT_EQ(to_hex(before[0x0203]), "10000001000004000900000000000000");
  EXPECT_EQ(before[0x0002][0], std::byte{0x89});
  EXPECT_EQ(before[0x0402][0], std::byte{0x00});
  take_ownership();
  ASSERT_EQ(admin_sets(kGlobalRange, nam(5, num(1)) + nam(6, num(1))), kSuccess);
  ASSERT_EQ(admin_sets(kMbrControl, nam(1, num(1)) + nam(2, num(1))), kSuccess);
  EXPECT_EQ(features()[0x0002][0], std::byte{0xBB});
  drive().power_cycle();
  EXPECT_EQ(features()[0x0002][0], std::byte{0x9F});
  drive().security_send(2, 5, Bytes(512));
  EXPECT_EQ(features()[0x0402][0], std::byte{0x03});
}

TEST_F(IdentifyTest, AVendorsPinShowsInTheIndicatorsAlsoAfterARestart) {
  options_.sid_is_msid = false;
  drive();
  options_.sid_is_msid = true;  // An existing drive stays what it is.
  reopen();
  EXPECT_EQ(to_hex(features()[0x0203]).substr(18, 4), "ffff");
  EXPECT_FALSE(drive().options().sid_is_msid);
}

TEST_F(IdentifyTest, EnterprisesDiscoveryHasItsTwoComIds) {
  options_.family = Family::enterprise;
  options_.bus = Bus::sas;
  auto found = features();
  EXPECT_EQ(to_hex(found[0x0100]).substr(0, 8), "07fe0002");
  EXPECT_FALSE(found.contains(0x0203));
  EXPECT_EQ(found[0x0002][0], std::byte{0xCB});
}

TEST_F(IdentifyTest, PyriteHasTheGlobalRangeAloneAndNoKeys) {
  options_.family = Family::pyrite2;
  auto found = features();
  EXPECT_EQ(to_hex(found[0x0303]), "10000001000000000000000000000000");
  EXPECT_FALSE(found.contains(0x0203) || found.contains(0x0003));
  EXPECT_EQ(found[0x0002][0], std::byte{0x81});
  take_ownership();
  ASSERT_EQ(admin_sets(kGlobalRange, nam(5, num(1)) + nam(7, num(1))), kSuccess);
  EXPECT_TRUE(read(0).empty());
  EXPECT_EQ(status_, BusStatus::locked);
  EXPECT_EQ(admin_sets(kRange1, nam(5, num(1))), kNotAuthorized);
  WireHost h = host();
  start_admin1(h);
  EXPECT_EQ(h.invoke(kGlobalKey, 0x10).status, kNotAuthorized);
  EXPECT_EQ(h.invoke(0x0000080600000000, 0x08).status, kNotAuthorized);
}

TEST_F(IdentifyTest, RubyHasNoSingleUserMode) {
  options_.family = Family::ruby;
  auto found = features();
  EXPECT_EQ(to_hex(found[0x0304]).substr(0, 18), "100000010000040009");
  EXPECT_FALSE(found.contains(0x0201));
  WireHost h = host();
  const std::string msid = h.msid();
  h.start(kAdminSp, {.authority = kSid, .pin = msid});
  EXPECT_EQ(h.invoke(kLockingSp, 0x203, nam(0x060000, uid(0x0000080200000000))).status,
            kInvalidParameter);
  EXPECT_EQ(h.invoke(kLockingSp, 0x203).status, kSuccess);
}

TEST_F(IdentifyTest, ProtocolsAreListed) {
  Bytes list(512);
  drive().security_receive(0, 0, list);
  EXPECT_EQ(to_hex(ByteView(list).first(12)), "0000000000000004000102ef");
}

TEST_F(IdentifyTest, AnAtaDriveTellsWhoItIs) {
  const Bytes words = page(IdentifyPage::ata_device);
  ASSERT_EQ(words.size(), 512u);
  unsigned sum = 0;
  for (const std::byte byte : words) sum += std::to_integer<unsigned>(byte);
  EXPECT_EQ(sum % 256, 0u);
  EXPECT_EQ(words[20], std::byte{'W'});  // "KWEMU…", two characters swapped in each word.
  EXPECT_EQ(words[21], std::byte{'K'});
  EXPECT_EQ(to_hex(ByteView(words).subspan(200, 8)), "0000010000000000");
  EXPECT_EQ(to_hex(ByteView(words).subspan(216, 8)), "005000c500a00100");
  EXPECT_EQ(drive().identify(IdentifyPage::nvme_controller).error().code, ErrorCode::unsupported);
}

TEST_F(IdentifyTest, ScsiPagesHaveTheirLengths) {
  const Bytes inquiry = page(IdentifyPage::scsi_inquiry);
  EXPECT_EQ(inquiry.size(), 5u + std::to_integer<unsigned>(inquiry[4]));
  EXPECT_EQ(to_hex(page(IdentifyPage::scsi_vpd_pages)), "00000003008083");
  EXPECT_EQ(page(IdentifyPage::scsi_vpd_serial).size(), 24u);
  const Bytes device = page(IdentifyPage::scsi_vpd_device);
  EXPECT_EQ(device.size(), 4u + std::to_integer<unsigned>(device[3]));
  EXPECT_EQ(to_hex(ByteView(device).last(12)),
            "01030008"
            "5000c500a0000001");
}

TEST_F(IdentifyTest, AnNvmeDriveSupportsSecurityCommands) {
  options_.bus = Bus::nvme;
  options_.sector_bytes = 4096;
  const Bytes controller = page(IdentifyPage::nvme_controller);
  EXPECT_EQ(controller.size(), 4096u);
  EXPECT_EQ(controller[256], std::byte{1});
  const Bytes space = page(IdentifyPage::nvme_namespace);
  EXPECT_EQ(to_hex(ByteView(space).first(8)), "0000010000000000");
  EXPECT_EQ(space[130], std::byte{12});
  EXPECT_EQ(to_hex(ByteView(space).subspan(120, 8)), "5000c500a0000001");
  EXPECT_EQ(drive().identify(IdentifyPage::ata_device).error().code, ErrorCode::unsupported);
}

TEST_F(IdentifyTest, StatusesHaveEachBussNames) {
  EXPECT_EQ(nvme_status(BusStatus::locked).type, 2);
  EXPECT_EQ(nvme_status(BusStatus::locked).code, 0x86);
  EXPECT_EQ(sense_code(BusStatus::locked).key, 7);
  EXPECT_EQ(sense_code(BusStatus::out_of_sequence).additional, 0x2C);
  EXPECT_EQ(to_result(BusStatus::locked).error().native, 0x072002u);
  EXPECT_TRUE(to_result(BusStatus::good).has_value());
  for (int n = 1; n <= static_cast<int>(BusStatus::media_error); ++n)
    EXPECT_FALSE(to_result(static_cast<BusStatus>(n)).has_value()) << n;
}

TEST_F(IdentifyTest, ATransportGivesErrorsThatCallersKnow) {
  take_ownership();
  ASSERT_EQ(admin_sets(kGlobalRange, nam(5, num(1)) + nam(7, num(1))), kSuccess);
  auto transport = drive().connect();
  EXPECT_EQ(transport->identity().serial, "KWEMU0000001");
  Bytes sector(512);
  EXPECT_EQ(transport->blocks()->read(0, sector).error().code, ErrorCode::not_permitted);
  EXPECT_TRUE(transport->blocks()->write(0, sector).has_value());
  EXPECT_EQ(transport->send(Protocol::tcg, 0x7777, sector).error().code,
            ErrorCode::invalid_argument);
  EXPECT_EQ(transport->send(Protocol{0x22}, 1, sector).error().code, ErrorCode::unsupported);
}

TEST_F(IdentifyTest, LabelIsReadWithoutPoweringTheDriveOn) {
  EXPECT_EQ(EmulatedDrive::label(options_.backing_file).error().code, ErrorCode::not_found);
  options_.identity.serial = "LABELLED";
  options_.family = Family::ruby;
  const std::string psid = drive().psid();
  const auto written = std::filesystem::last_write_time(options_.backing_file.string() + ".state");
  const DriveLabel label = EmulatedDrive::label(options_.backing_file).value();
  EXPECT_EQ(label.psid, psid);
  EXPECT_EQ(label.options.identity.serial, "LABELLED");
  EXPECT_EQ(label.options.family, Family::ruby);
  EXPECT_EQ(label.options.sectors, options_.sectors);
  EXPECT_EQ(std::filesystem::last_write_time(options_.backing_file.string() + ".state"), written);
}

}  // namespace
}  // namespace keyward::sed
