// NVMe commands in, status and data out, as NVMe Base 1.4 has them.
#include "sed/device_node/nvme_target.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

class NvmeTargetTest : public DriveTest {
 protected:
  NvmeTargetTest() {
    options_.bus = Bus::nvme;
    options_.identity = {"00112233445566778899aabbccddeeff", "KW1", "TESTED", "2.0"};
  }
  NvmeReply identify(std::uint32_t structure, std::uint32_t name_space, std::size_t bytes = 4096) {
    return NvmeTarget(drive()).admin(
        {.opcode = 0x06, .namespace_id = name_space, .cdw10 = structure, .data_bytes = bytes});
  }
  NvmeReply security(std::uint8_t opcode, std::uint32_t cdw10, std::uint32_t length,
                     ByteView data_out = {}) {
    return NvmeTarget(drive()).admin({.opcode = opcode,
                                      .cdw10 = cdw10,
                                      .cdw11 = length,
                                      .data_out = data_out,
                                      .data_bytes = length});
  }
};

TEST_F(NvmeTargetTest, IdentifyGivesTheDrivesOwnPages) {
  EXPECT_EQ(identify(1, 0).data, drive().identify(IdentifyPage::nvme_controller).value());
  EXPECT_EQ(identify(0, 1).data, drive().identify(IdentifyPage::nvme_namespace).value());
  EXPECT_EQ(identify(0, 1, 100).data.size(), 100u);
  EXPECT_EQ(identify(0, 2).status, 0x400B);
  EXPECT_EQ(identify(0x10, 1).status, 0x4002);
}

TEST_F(NvmeTargetTest, ActiveNamespacesAndTheirNames) {
  EXPECT_EQ(to_hex(ByteView(identify(2, 0).data).first(8)), "0100000000000000");
  EXPECT_EQ(to_hex(ByteView(identify(2, 1).data).first(8)), "0000000000000000");
  EXPECT_EQ(to_hex(ByteView(identify(3, 1).data).first(21)),
            "02100000"
            "00112233445566778899aabbccddeeff"
            "00");
  options_.identity.wwn = "0011223344556677";
  options_.backing_file = directory_ / "eui";
  reopen();
  EXPECT_EQ(to_hex(ByteView(identify(3, 1).data).first(13)),
            "01080000"
            "0011223344556677"
            "00");
}

TEST_F(NvmeTargetTest, UnknownCommandsAreNotRetried) {
  EXPECT_EQ(NvmeTarget(drive()).admin({.opcode = 0xC0}).status, 0x4001);
  EXPECT_EQ(NvmeTarget(drive()).io({.opcode = 0x09, .namespace_id = 1}).status, 0x4001);
}

TEST_F(NvmeTargetTest, SecuritySendAndReceive) {
  const NvmeReply discovery = security(0x82, 0x01000100, 600);  // Any length.
  EXPECT_EQ(discovery.status, 0);
  EXPECT_EQ(discovery.data.size(), 600u);
  Bytes request(512);
  request[0] = std::byte{0x10};
  request[7] = std::byte{0x01};
  EXPECT_EQ(security(0x81, 0x02100000, 512, request).status, 0);
  EXPECT_EQ(to_hex(ByteView(security(0x82, 0x02100000, 512).data).first(16)),
            "10000000000000010000002200000002");
  EXPECT_EQ(security(0x81, 0x02100000, 513, request).status, 0x4002);
  EXPECT_EQ(security(0x82, 0x55000100, 512).status, 0x4002);
  EXPECT_EQ(security(0x82, 0x01000100, 256 << 10).status, 0x4002);  // More than MDTS.
}

TEST_F(NvmeTargetTest, LogPages) {
  const auto log = [&](std::uint32_t id, std::uint32_t words, std::uint32_t offset = 0) {
    return NvmeTarget(drive()).admin({.opcode = 0x02,
                                      .namespace_id = 0xFFFFFFFF,
                                      .cdw10 = id | (words - 1) << 16,
                                      .cdw12 = offset,
                                      .data_bytes = words * 4});
  };
  EXPECT_EQ(to_hex(ByteView(log(2, 128).data).first(5)), "003601640a");
  EXPECT_EQ(log(2, 128).data.size(), 512u);
  EXPECT_EQ(to_hex(log(3, 3).data), "0100000000000000322e3000");
  EXPECT_EQ(to_hex(log(2, 1, 4).data), "0a000000");
  EXPECT_EQ(log(2, 1, 3).status, 0x4002);
  EXPECT_EQ(log(0x70, 1).status, 0x4109);
}

TEST_F(NvmeTargetTest, ReadWriteAndLocked) {
  NvmeTarget target(drive());
  const Bytes written = sectors('n', 2);
  NvmeCommand command{
      .opcode = 0x01, .namespace_id = 1, .cdw10 = 3, .cdw12 = 1, .data_out = written};
  EXPECT_EQ(target.io(command).status, 0);
  command = {.opcode = 0x02, .namespace_id = 1, .cdw10 = 3, .cdw12 = 1, .data_bytes = 1024};
  EXPECT_EQ(target.io(command).data, written);
  command.cdw10 = 65535;
  EXPECT_EQ(target.io(command).status, 0x4080);
  command.cdw10 = 3;
  command.namespace_id = 2;
  EXPECT_EQ(target.io(command).status, 0x400B);
  command.namespace_id = 1;
  take_ownership();
  ASSERT_EQ(admin_sets(kGlobalRange, wire::nam(5, wire::num(1)) + wire::nam(7, wire::num(1))),
            kSuccess);
  EXPECT_EQ(target.io(command).status, 0x4286);
  EXPECT_TRUE(target.io(command).data.empty());
}

TEST_F(NvmeTargetTest, BusyMayBeRetriedAndADeadDriveSaysNothing) {
  EmulatorFaults faults;
  faults.busy_commands = 1;
  drive().set_faults(faults);
  EXPECT_EQ(security(0x82, 0x01000100, 512).status, 0x0082);
  faults = {};
  faults.dead = true;
  drive().set_faults(faults);
  EXPECT_EQ(security(0x82, 0x01000100, 512).bus, BusStatus::gone);
  EXPECT_EQ(identify(1, 0).bus, BusStatus::gone);
}

}  // namespace
}  // namespace keyward::sed
