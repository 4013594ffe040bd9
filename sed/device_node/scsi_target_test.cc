// CDB in, data and sense out, byte by byte as SPC-5, SBC-4 and SAT-3 have them.
#include "sed/device_node/scsi_target.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <random>

#include "base/text.h"
#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

class ScsiTargetTest : public DriveTest {
 protected:
  ScsiTargetTest() { options_.identity = {"5000c500a1b2c3d4", "KW1", "TESTED DRIVE", "2.0"}; }

  ScsiReply run(std::string_view cdb, ByteView data_out = {}) {
    ScsiTarget target(drive());
    return target.execute({.cdb = from_hex(cdb).value(), .data_out = data_out});
  }
  // The data of a command that must go well.
  std::string data(std::string_view cdb) {
    const ScsiReply reply = run(cdb);
    EXPECT_EQ(reply.status, kScsiGood) << cdb << ": " << to_hex(reply.sense);
    return to_hex(reply.data);
  }
  // "KKAAQQ" of fixed format sense.
  std::string sense(std::string_view cdb, ByteView data_out = {}) {
    const ScsiReply reply = run(cdb, data_out);
    EXPECT_EQ(reply.status, kScsiCheckCondition) << cdb;
    EXPECT_EQ(reply.sense.size(), 18u);
    EXPECT_EQ(reply.sense.at(0), std::byte{0x70});
    EXPECT_EQ(reply.sense.at(7), std::byte{10});
    EXPECT_TRUE(reply.data.empty());
    return to_hex(Bytes{reply.sense.at(2), reply.sense.at(12), reply.sense.at(13)});
  }
  void lock_everything() {
    take_ownership();
    ASSERT_EQ(admin_sets(kGlobalRange, wire::nam(5, wire::num(1)) + wire::nam(6, wire::num(1)) +
                                           wire::nam(7, wire::num(1)) + wire::nam(8, wire::num(1))),
              kSuccess);
  }
};

TEST_F(ScsiTargetTest, WhatNobodyServesIsAnInvalidOpcode) {
  EXPECT_EQ(sense("c00000000000"), "052000");
  EXPECT_EQ(sense("ff00000000000000000000000000000000"), "052000");
  EXPECT_EQ(sense(""), "052000");
}

TEST_F(ScsiTargetTest, AServiceActionThatIsMissingIsAnInvalidField) {
  EXPECT_EQ(sense("9e110000000000000000000000200000"), "052400");
  EXPECT_EQ(sense("a30500000000000001000000"), "052400");
}

TEST_F(ScsiTargetTest, ACdbThatIsTooShortIsAnInvalidField) {
  EXPECT_EQ(sense("a20100018000"), "052400");
}

TEST_F(ScsiTargetTest, InquiryGivesAsMuchAsTheAllocationLength) {
  EXPECT_EQ(data("120000002400"),
            "000007025b000002" + to_hex(as_bytes("ATA     TESTED DRIVE    2.0 ")));
  EXPECT_EQ(data("120000000500"), "000007025b");
  EXPECT_EQ(data("120000000000"), "");
  EXPECT_EQ(data("12000001ff00").size(), 2 * 96u);
  EXPECT_EQ(sense("120080002400"), "052400");  // A page code without EVPD.
}

TEST_F(ScsiTargetTest, VitalProductData) {
  EXPECT_EQ(data("12010000ff00"), "00000005008083b0b1");
  EXPECT_EQ(data("12018000ff00"), "00800014" + to_hex(as_bytes("KW1                 ")));
  EXPECT_THAT(data("12018300ff00"), ::testing::EndsWith("01030008"
                                                        "5000c500a1b2c3d4"));
  EXPECT_EQ(data("1201b000ff00"),
            "00b0003c"
            "00000000"
            "00010000" +
                std::string(2 * (64 - 12), '0'));
  EXPECT_EQ(data("1201b100ff00"), "00b1003c0001" + std::string(2 * (64 - 6), '0'));
  EXPECT_EQ(data("1201b1000600"), "00b1003c0001");
  EXPECT_EQ(sense("1201c000ff00"), "052400");
}

TEST_F(ScsiTargetTest, Capacity) {
  EXPECT_EQ(data("25000000000000000000"), "0000ffff00000200");
  EXPECT_EQ(data("9e100000000000000000000000200000"),
            "000000000000ffff"
            "00000200"
            "0003" +
                std::string(2 * 18, '0'));
  options_.sector_bytes = 4096;
  options_.backing_file = directory_ / "large";
  reopen();
  EXPECT_EQ(data("9e1000000000000000000000000e0000"),
            "000000000000ffff"
            "00001000"
            "0000");
}

TEST_F(ScsiTargetTest, ModeSense) {
  const std::string caching = "081204" + std::string(2 * 17, '0'),
                    control = "0a0a02" + std::string(2 * 9, '0');
  EXPECT_EQ(data("1a083f00ff00"), "23000000" + caching + control);
  EXPECT_EQ(data("5a08080000000000ff00"), "001a000000000000" + caching);
  EXPECT_EQ(data("1a084a00ff00"), "0f0000000a0a" + std::string(2 * 10, '0'));  // Changeable: none.
  EXPECT_EQ(data("1a083f000400"), "23000000");
  EXPECT_EQ(sense("1a08ff00ff00"), "053900");  // Saved values.
  EXPECT_EQ(sense("1a081c00ff00"), "052400");
}

TEST_F(ScsiTargetTest, ReadAndWriteOfBothLengths) {
  const Bytes written = sectors('w', 2);
  EXPECT_EQ(run("2a00000000070000020000", written).status, kScsiGood);
  EXPECT_EQ(run("28000000000700000200").data, written);
  EXPECT_EQ(run("88000000000000000007000000020000").data, written);
  EXPECT_EQ(run("8a000000000000000008000000010000", sectors('x')).status, kScsiGood);
  EXPECT_EQ(run("28000000000800000100").data, sectors('x'));
  EXPECT_EQ(data("28000000000700000000"), "");
  EXPECT_EQ(sense("28000000ffff00000200"), "052100");
  EXPECT_EQ(sense("2a00000000070000020000", sectors('w', 1)), "0b4b00");
  EXPECT_EQ(sense("88000000000000000000000100010000"), "052400");  // Longer than B0h allows.
  EXPECT_EQ(run("35000000000000000000").status, kScsiGood);
}

TEST_F(ScsiTargetTest, ALockedRangeBehindASatlIsASecurityConflict) {
  lock_everything();
  EXPECT_EQ(sense("28000000000000000100"), "057479");
  EXPECT_EQ(sense("2a000000000000000100", sectors('x')), "057479");
}

TEST_F(ScsiTargetTest, ALockedRangeOfASasDriveHasNoAccessRights) {
  options_.bus = Bus::sas;
  lock_everything();
  EXPECT_EQ(sense("28000000000000000100"), "072002");
}

TEST_F(ScsiTargetTest, ReportLunsWantsRoomForOne) {
  EXPECT_EQ(data("a00000000000000000400000"),
            "00000008"
            "00000000"
            "0000000000000000");
  EXPECT_EQ(sense("a000000000000000000f0000"), "052400");
}

TEST_F(ScsiTargetTest, OperationCodesAreWhatIsServed) {
  const std::string all = data("a30c00000000000020000000");
  ASSERT_GT(all.size(), 8u);
  EXPECT_EQ(all.size() - 8, 2 * std::stoul(all.substr(0, 8), nullptr, 16));
  for (std::size_t at = 8; at < all.size(); at += 16) {
    const std::string opcode = all.substr(at, 2), action = all.substr(at + 4, 4);
    const bool serves_action = all.substr(at + 10, 2) == "01";
    // Each is asked about by itself.
    const std::string one = data("a30c" + std::string(serves_action ? "02" : "01") + opcode +
                                 action + "0000200000" + "00");
    EXPECT_EQ(one.substr(0, 8), "0003" + all.substr(at + 12, 4)) << opcode;
    EXPECT_EQ(one.substr(8, 2), opcode);
    EXPECT_EQ(one.size(), 8 + 2 * std::stoul(all.substr(at + 12, 4), nullptr, 16)) << opcode;
  }
  EXPECT_EQ(data("a30c01c00000000020000000"), "00010000");
  EXPECT_EQ(sense("a30c019e0000000020000000"), "052400");  // It has service actions.
  EXPECT_EQ(sense("a30c02120000000020000000"), "052400");  // It has none.
  EXPECT_EQ(data("a30c81000000000020000000"),
            "00830006"
            "000000000000"
            "000a" +
                std::string(20, '0'));
}

TEST_F(ScsiTargetTest, OnlyASatlHasAtaPassThrough) {
  constexpr std::string_view kIdentify12 = "a1080e000100000000ec0000";
  EXPECT_EQ(data(kIdentify12).size(), 2 * 512u);
  options_.bus = Bus::sas;
  options_.backing_file = directory_ / "sas";
  reopen();
  EXPECT_EQ(sense(kIdentify12), "052000");
}

TEST_F(ScsiTargetTest, SecurityProtocolsListInBlocksAndInBytes) {
  EXPECT_EQ(data("a20000008000000000010000").size(), 2 * 512u);
  EXPECT_EQ(data("a20000000000000000080000"), "0000000000000004");
  EXPECT_EQ(data("a200000000000000000c0000"), "0000000000000004000102ef");
}

TEST_F(ScsiTargetTest, SecuritySendThenReceive) {
  // VERIFY_COMID_VALID of 1000h.
  Bytes request(512);
  request[0] = std::byte{0x10};
  request[7] = std::byte{0x01};
  EXPECT_EQ(run("b50210008000000000010000", request).status, kScsiGood);
  EXPECT_EQ(data("a20210008000000000010000").substr(0, 32),
            "1000000000000001"
            "0000002200000002");
}

TEST_F(ScsiTargetTest, WhatADriveRefusesDiffersByBus) {
  EXPECT_EQ(sense("a25500008000000000010000"), "0b0000");  // ABRT, through a SATL.
  EXPECT_EQ(sense("b50107fe8000000000010000", Bytes(511)), "0b4b00");
  options_.bus = Bus::sas;
  options_.backing_file = directory_ / "sas";
  reopen();
  EXPECT_EQ(sense("a25500008000000000010000"), "052400");
}

TEST_F(ScsiTargetTest, FaultsOfTheBusHaveNoSense) {
  EmulatorFaults faults;
  faults.busy_commands = 1;
  drive().set_faults(faults);
  EXPECT_EQ(run("28000000000000000100").status, kScsiBusy);
  faults = {};
  faults.time_outs = 1;
  drive().set_faults(faults);
  EXPECT_EQ(run("000000000000").host_status, 3);
  faults = {};
  faults.dead = true;
  drive().set_faults(faults);
  for (const char* cdb :
       {"000000000000", "120000002400", "28000000000000000100", "a20000008000000000010000"}) {
    const ScsiReply reply = run(cdb);
    EXPECT_EQ(reply.host_status, 1) << cdb;
    EXPECT_EQ(reply.status, kScsiGood) << cdb;
    EXPECT_TRUE(reply.data.empty() && reply.sense.empty()) << cdb;
  }
}

TEST_F(ScsiTargetTest, AnyCdbAtAllIsAnsweredInsideItsRules) {
  const char* given = std::getenv("KEYWARD_SEED");
  const auto seed = given == nullptr ? std::random_device{}() : std::strtoul(given, nullptr, 10);
  SCOPED_TRACE("KEYWARD_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr unsigned kOpcodes[] = {0x00, 0x03, 0x12, 0x1A, 0x25, 0x28, 0x2A, 0x35, 0x5A, 0x85,
                                   0x88, 0x8A, 0x9E, 0xA0, 0xA1, 0xA2, 0xA3, 0xB5, 0xC0};
  ScsiTarget target(drive());
  for (int n = 0; n < 4000; ++n) {
    Bytes cdb(random() % 17), data_out(random() % 3 * 512);
    // Many zeros, so that lengths and addresses are small.
    for (std::byte& byte : cdb) byte = static_cast<std::byte>(random() % 3 == 0 ? random() : 0);
    for (std::byte& byte : data_out) byte = static_cast<std::byte>(random());
    if (!cdb.empty()) cdb[0] = static_cast<std::byte>(kOpcodes[random() % std::size(kOpcodes)]);
    const ScsiReply reply = target.execute({.cdb = cdb, .data_out = data_out});
    EXPECT_EQ(reply.host_status, 0) << to_hex(cdb);
    EXPECT_LE(reply.data.size(), ScsiTarget::kTransferBytesMax) << to_hex(cdb);
    EXPECT_EQ(reply.status == kScsiCheckCondition, !reply.sense.empty()) << to_hex(cdb);
    if (reply.sense.empty()) continue;
    const bool fixed = reply.sense[0] == std::byte{0x70};
    EXPECT_EQ(reply.sense.size(), fixed ? 18u : 22u) << to_hex(cdb);
    EXPECT_NE(reply.sense[fixed ? 2 : 1], std::byte{0}) << to_hex(cdb);
  }
}

}  // namespace
}  // namespace keyward::sed
