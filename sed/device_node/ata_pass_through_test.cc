// ATA commands as hdparm and sedutil send them, and what a SATL answers.
#include "sed/device_node/ata_pass_through.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

constexpr std::string_view kFreeze = "8506200000000000000000000000f500";

class AtaPassThroughTest : public DriveTest {
 protected:
  ScsiReply run(std::string_view cdb, ByteView data_out = {}) {
    AtaDevice device(drive());
    return ata_pass_through(device, from_hex(cdb).value(), data_out);
  }
  // 16 bytes: protocol, flags, feature, count, LBA's three lowest bytes, command.
  ScsiReply run16(unsigned protocol, unsigned flags, unsigned feature, unsigned count, unsigned lba,
                  unsigned command, ByteView data_out = {}) {
    Bytes cdb(16);
    const auto put = [&](std::size_t n, unsigned value) { cdb[n] = static_cast<std::byte>(value); };
    put(0, 0x85);
    put(1, protocol << 1);
    put(2, flags);
    put(4, feature);
    put(6, count);
    put(8, lba);
    put(10, lba >> 8);
    put(12, lba >> 16);
    put(14, command);
    AtaDevice device(drive());
    return ata_pass_through(device, cdb, data_out);
  }
  static Bytes password(std::string_view text) {
    Bytes words(512);
    std::ranges::copy(as_bytes(text), words.begin() + 2);
    return words;
  }
  unsigned word(std::size_t n) {
    const Bytes page = run16(4, 0x0E, 0, 1, 0, 0xEC).data;
    return std::to_integer<unsigned>(page.at(2 * n)) | std::to_integer<unsigned>(page.at(2 * n + 1))
                                                           << 8;
  }
};

constexpr unsigned kIn = 0x0E, kOut = 0x06, kNone = 0x00, kCheck = 0x20;

TEST_F(AtaPassThroughTest, IdentifyDevice) {
  const ScsiReply reply = run16(4, kIn, 0, 1, 0, 0xEC);
  EXPECT_EQ(reply.status, kScsiGood);
  EXPECT_TRUE(reply.sense.empty());
  EXPECT_EQ(reply.data, drive().identify(IdentifyPage::ata_device).value());
  EXPECT_EQ(run("a1080e000100000000ec0000").data, reply.data);
}

TEST_F(AtaPassThroughTest, CheckConditionBringsTheRegisters) {
  const ScsiReply reply = run16(3, kCheck, 0, 0, 0, 0xE5);
  EXPECT_EQ(reply.status, kScsiCheckCondition);
  EXPECT_EQ(to_hex(reply.sense),
            "7201001d0000000e"
            "090c0000"
            "00ff"
            "000000000000"
            "4050");
}

TEST_F(AtaPassThroughTest, AnAbortIsDescriptorSenseWithTheErrorRegister) {
  const ScsiReply reply = run16(3, kNone, 0, 0, 0, 0xB0);
  EXPECT_EQ(reply.status, kScsiCheckCondition);
  EXPECT_EQ(to_hex(reply.sense),
            "720b00000000000e"
            "090c0004"
            "0000"
            "000000000000"
            "4051");
  EXPECT_TRUE(reply.data.empty());
}

TEST_F(AtaPassThroughTest, ProtocolAndDirectionMustFitTheCommand) {
  const auto refused = [&](const ScsiReply& reply) {
    EXPECT_EQ(reply.status, kScsiCheckCondition);
    return to_hex(Bytes{reply.sense.at(0), reply.sense.at(2), reply.sense.at(12)}) == "700524";
  };
  EXPECT_TRUE(refused(run16(5, kOut, 0, 1, 0, 0xEC, Bytes(512))));
  EXPECT_TRUE(refused(run16(4, kOut, 0, 1, 0, 0xEC)));
  EXPECT_TRUE(refused(run16(4, 0x0C, 0, 1, 0, 0xEC)));  // No length.
  EXPECT_TRUE(refused(run16(3, kNone, 0, 1, 0, 0xEC)));
  EXPECT_TRUE(refused(run16(1, kNone, 0, 0, 0, 0x08)));  // A reset.
}

TEST_F(AtaPassThroughTest, SecurityStatesAsHdparmGoesThroughThem) {
  EXPECT_EQ(word(128), 0x21u);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF1, password("secret")).status, kScsiGood);
  EXPECT_EQ(word(128), 0x23u);
  drive().power_cycle();
  EXPECT_EQ(word(128), 0x27u);
  EXPECT_EQ(run16(4, kIn, 0, 1, 0, 0x20).status, kScsiCheckCondition);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF2, password("wrong")).sense.at(11), std::byte{0x04});
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF2, password("secret")).status, kScsiGood);
  EXPECT_EQ(run16(4, kIn, 0, 1, 0, 0x20).status, kScsiGood);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF6, password("secret")).status, kScsiGood);
  EXPECT_EQ(word(128), 0x21u);
  EXPECT_EQ(run(kFreeze).status, kScsiCheckCondition);  // CK_COND, with status 50h.
  EXPECT_EQ(run(kFreeze).sense.at(21), std::byte{0x50});
  EXPECT_EQ(word(128), 0x29u);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF1, password("late")).sense.at(21), std::byte{0x51});
}

TEST_F(AtaPassThroughTest, EraseUnitComesRightAfterItsPreparation) {
  write(9, 'd');
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF1, password("p")).status, kScsiGood);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF4, password("p")).status, kScsiCheckCondition);
  EXPECT_EQ(run16(3, kNone, 0, 0, 0, 0xF3).status, kScsiGood);
  EXPECT_EQ(run16(5, kOut, 0, 1, 0, 0xF4, password("p")).status, kScsiGood);
  EXPECT_EQ(read(9), sectors(0));
}

TEST_F(AtaPassThroughTest, TrustedReceiveAndSend) {
  // As sedutil asks: protocol 1, ComID 0001h, 2048 bytes.
  const ScsiReply discovery = run("a1080e0104000100005c0000");
  EXPECT_EQ(discovery.status, kScsiGood);
  EXPECT_EQ(discovery.data.size(), 2048u);
  EXPECT_EQ(to_hex(ByteView(discovery.data).subspan(4, 4)), "00000001");
  Bytes request(512);
  request[0] = std::byte{0x10};
  request[7] = std::byte{0x01};
  EXPECT_EQ(run16(5, kOut, 2, 1, 0x100000, 0x5E, request).status, kScsiGood);
  EXPECT_EQ(to_hex(ByteView(run16(4, kIn, 2, 1, 0x100000, 0x5C).data).first(8)),
            "1000000000000001");
  EXPECT_EQ(run16(6, kIn, 0, 1, 0, 0x5D).data.size(), 512u);  // DMA.
  EXPECT_EQ(run16(4, kIn, 0x55, 1, 0, 0x5C).sense.at(11), std::byte{0x04});
}

TEST_F(AtaPassThroughTest, SectorsOf28And48Bits) {
  EXPECT_EQ(run16(5, kOut, 0, 2, 5, 0x30, sectors('a', 2)).status, kScsiGood);
  EXPECT_EQ(run16(4, kIn, 0, 2, 5, 0x20).data, sectors('a', 2));
  EXPECT_EQ(run("85090e00000001000500000000402400").data, sectors('a'));  // EXT.
  EXPECT_EQ(run("850d0600000001000600000000403500", sectors('b')).status, kScsiGood);
  EXPECT_EQ(read(6), sectors('b'));
  const ScsiReply beyond = run16(4, kIn, 0, 1, 0xFFFFFF, 0x20);
  EXPECT_EQ(to_hex(ByteView(beyond.sense).first(4)), "72052100");
  EXPECT_EQ(beyond.sense.at(11), std::byte{0x10});
}

TEST_F(AtaPassThroughTest, LogsThatAreThere) {
  const Bytes directory = run16(4, kIn, 0, 1, 0x00, 0x2F).data;
  EXPECT_EQ(to_hex(ByteView(directory).first(2)), "0100");
  EXPECT_EQ(to_hex(ByteView(directory).subspan(0x60, 2)), "0200");
  const Bytes both = run16(4, kIn, 0, 2, 0x30, 0x2F).data;
  ASSERT_EQ(both.size(), 1024u);
  EXPECT_EQ(to_hex(ByteView(both).subspan(8, 3)), "020001");
  EXPECT_EQ(to_hex(ByteView(both).subspan(512)),
            to_hex(drive().identify(IdentifyPage::ata_device).value()));
  EXPECT_EQ(run16(4, kIn, 0, 1, 0x0230, 0x2F).status, kScsiCheckCondition);  // No page 2.
  EXPECT_EQ(run16(4, kIn, 0, 1, 0x04, 0x2F).status, kScsiCheckCondition);
}

TEST_F(AtaPassThroughTest, ABusyDriveHasNoRegisters) {
  EmulatorFaults faults;
  faults.busy_commands = 1;
  drive().set_faults(faults);
  const ScsiReply reply = run16(4, kIn, 0, 1, 0, 0xEC);
  EXPECT_EQ(reply.status, kScsiBusy);
  EXPECT_TRUE(reply.sense.empty());
}

}  // namespace
}  // namespace keyward::sed
