// What the commands of a well-behaved host do.
#include "sed/nvme_tcp/server_fixture.h"

namespace keyward::sed::nvme {
namespace {

class CommandsTest : public ServerTest {};

TEST_F(CommandsTest, AHostConnectsEnablesItsControllerAndSeesTheDrive) {
  serve();
  NvmeHost host = this->host();
  const Pdu greeting = host.greet();
  ASSERT_EQ(greeting.type, 0x01);
  EXPECT_EQ(greeting.all.size(), 128u);
  EXPECT_EQ(read_le(greeting.all, 8, 4), 0u) << "version 0, no alignment, no digests";
  EXPECT_EQ(read_le(greeting.all, 12, 4), 131072u);
  const Answer connected = host.connect(kNqn);
  ASSERT_EQ(connected.status, kGood);
  EXPECT_EQ(connected.result, 1u);
  const Answer capabilities = host.run({.opcode = 0x7F, .nsid = 0x04, .cdw10 = 1, .cdw11 = 0});
  EXPECT_EQ(capabilities.result & 0xFFFF, 31u) << "MQES";
  EXPECT_EQ(capabilities.result >> 37 & 1, 1u) << "NVM command set";
  EXPECT_EQ(host.run({.opcode = 0x7F, .nsid = 0x04, .cdw11 = 0x08}).result, 0x00010400u);
  EXPECT_EQ(host.run({.opcode = 0x7F, .nsid = 0x04, .cdw11 = 0x1C}).result, 0u) << "CSTS";
  EXPECT_EQ(host.run(identify(1), 4096).status, kSequenceError) << "before it is enabled";
  EXPECT_EQ(host.enable(), kGood);
  EXPECT_EQ(host.run({.opcode = 0x7F, .nsid = 0x04, .cdw11 = 0x1C}).result, 1u);

  const Octets page = host.run(identify(1), 4096).data;
  ASSERT_EQ(page.size(), 4096u);
  EXPECT_EQ(page.substr(4, 20), "KWEMU0000001        ");
  EXPECT_EQ(read_le(page, 78, 2), 1u) << "CNTLID";
  EXPECT_EQ(read_le(page, 256, 2), 1u) << "OACS: Security Send and Receive alone";
  EXPECT_NE(read_le(page, 320, 2), 0u) << "KAS";
  EXPECT_EQ(read_le(page, 514, 2), 32u) << "MAXCMD";
  EXPECT_EQ(read_le(page, 536, 4) & 3, 1u) << "SGLS";
  EXPECT_EQ(page.substr(768, kNqn.size() + 1), kNqn + '\0');
  EXPECT_EQ(read_le(page, 1792, 4), (64u + 8192) / 16) << "IOCCSZ";
  EXPECT_EQ(read_le(page, 1796, 4), 1u) << "IORCSZ";
}

TEST_F(CommandsTest, TheNamespaceIsListedAndNamed) {
  serve();
  NvmeHost host = admin();
  const Octets list = host.run(identify(2, 0), 4096).data;
  EXPECT_EQ(read_le(list, 0, 4), 1u);
  EXPECT_EQ(list.substr(4), Octets(4092, '\0'));
  EXPECT_EQ(host.run(identify(2, 1), 4096).data, Octets(4096, '\0'));
  EXPECT_EQ(host.run(identify(2, 0xFFFFFFFF), 4096).status, kInvalidNamespace);
  const Octets space = host.run(identify(0, 1), 4096).data;
  EXPECT_EQ(read_le(space, 0, 8), 65536u);
  EXPECT_EQ(space[130], 9) << "512 bytes";
  const Octets names = host.run(identify(3, 1), 4096).data;
  EXPECT_EQ(names.substr(0, 12), Octets("\x01\x08\0\0\x50\x00\xc5\x00\xa0\x00\x00\x01", 12));
  EXPECT_EQ(names.substr(12), Octets(4084, '\0'));
  EXPECT_EQ(host.run(identify(0, 2), 4096).status, kInvalidNamespace);
  EXPECT_EQ(host.run(identify(6, 0), 4096).status, kInvalidField);
}

TEST_F(CommandsTest, ADriveWithoutANameGetsAUuidThatStays) {
  options_.identity.wwn.clear();
  serve();
  NvmeHost host = admin();
  const Octets names = host.run(identify(3, 1), 4096).data;
  EXPECT_EQ(names.substr(0, 4), Octets("\x03\x10\0\0", 4));
  EXPECT_EQ(static_cast<unsigned char>(names[10]) >> 4, 8) << "its version";
  EXPECT_EQ(host.run(identify(3, 1), 4096).data, names);
}

TEST_F(CommandsTest, FeaturesLogsAndHousekeepingAreAnswered) {
  serve();
  NvmeHost host = admin();
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 7, .cdw11 = 0x00030003}).result, 0x00030003u);
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 7, .cdw11 = 0x00630063}).result, 0x00070007u);
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 7, .cdw11 = 0xFFFF}).status, kInvalidField);
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 0x0B, .cdw11 = 0x1FF}).status, kGood);
  EXPECT_EQ(host.run({.opcode = 0x0A, .cdw10 = 0x0B}).result, 0x1FFu);
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 0x0F, .cdw11 = 60000}).status, kGood);
  EXPECT_EQ(host.run({.opcode = 0x0A, .cdw10 = 0x0F}).result, 60000u);
  EXPECT_EQ(host.run({.opcode = 0x09, .cdw10 = 0x8000000B}).status, kNotSaveable);
  EXPECT_EQ(host.run({.opcode = 0x0A, .cdw10 = 0x02}).status, kInvalidField);
  const Answer smart = host.run({.opcode = 0x02, .nsid = 0xFFFFFFFF, .cdw10 = 127u << 16 | 2}, 512);
  EXPECT_EQ(read_le(smart.data, 1, 2), 300u);
  EXPECT_EQ(smart.data.size(), 512u);
  EXPECT_EQ(host.run({.opcode = 0x02, .cdw10 = 127u << 16 | 2}, 256).status, kSglLength);
  EXPECT_EQ(host.run({.opcode = 0x02, .cdw10 = 5}, 4096).status, kInvalidLog);
  EXPECT_EQ(host.run({.opcode = 0x18}).status, kGood) << "Keep Alive";
  EXPECT_EQ(host.run({.opcode = 0x08, .cdw10 = 1}).result, 1u) << "Abort: not aborted";
  EXPECT_EQ(host.run({.opcode = 0x05}).status, kInvalidOpcode) << "Create I/O Completion Queue";
}

TEST_F(CommandsTest, AsyncEventRequestsAreHeldUpToTheirLimit) {
  serve();
  NvmeHost host = admin();
  for (int n = 0; n < 4; ++n) host.send(host.capsule({.opcode = 0x0C}, 0, 0, 0));
  const Answer next = host.run({.opcode = 0x18});
  EXPECT_EQ(next.id, host.last_id()) << "the next answer is not an event's";
  EXPECT_EQ(host.run({.opcode = 0x0C}).status, kEventLimit);
}

TEST_F(CommandsTest, Level0DiscoveryComesOverSecurityReceive) {
  serve();
  NvmeHost host = admin();
  const Answer level0 = host.run(security_receive(0x01, 0x0001, 2048), 2048);
  ASSERT_EQ(level0.status, kGood);
  ASSERT_EQ(level0.data.size(), 2048u);
  Bytes direct(2048);
  ASSERT_EQ(drive().security_receive(0x01, 0x0001, direct), BusStatus::good);
  EXPECT_EQ(level0.data, Octets(reinterpret_cast<const char*>(direct.data()), direct.size()));
  EXPECT_NE(level0.data.find(Octets("\x02\x03", 2)), Octets::npos) << "the Opal 2 feature";
  EXPECT_EQ(host.run(security_receive(0x00, 0x0000, 512), 512).status, kGood);
  EXPECT_EQ(host.run(security_receive(0xEF, 0x0000, 512), 512).status, kInvalidField)
      << "ATA Security is for SATA";
  EXPECT_EQ(host.run(security_receive(0x01, 0x0001, 2048), 1024).status, kSglLength);
  EXPECT_EQ(host.run(security_receive(0x01, 0x0001, 1u << 20), 131072).status, kInvalidField);
}

TEST_F(CommandsTest, AComPacketGoesInItsCapsuleAndOneByR2t) {
  serve();
  NvmeHost host = admin();
  // Properties in the control session, as a host begins.
  wire::WireHost tcg(drive());
  const Octets packet = tcg.envelope(wire::call(0xFF, 0xFF01, {}), 0, 0);
  const auto size = static_cast<std::uint32_t>(packet.size());
  EXPECT_EQ(host.run_in_capsule(security_send(0x01, tcg.com_id(), size), packet).status, kGood);
  const Answer reply = host.run(security_receive(0x01, tcg.com_id(), 2048), 2048);
  EXPECT_NE(reply.data.find("MaxComPacketSize"), Octets::npos);
  EXPECT_EQ(host.run_with_r2t(security_send(0x01, tcg.com_id(), size), packet, 100).status, kGood);
  EXPECT_EQ(host.run(security_receive(0x01, tcg.com_id(), 2048), 2048).data, reply.data);
  EXPECT_EQ(host.run_in_capsule(security_send(0x01, tcg.com_id(), 4096), packet).status,
            kInvalidField)
      << "the transfer length is not the data's";
}

TEST_F(CommandsTest, GarbageInSecuritySendIsTheDrivesToRefuse) {
  serve();
  NvmeHost host = admin();
  const Octets garbage(512, '\xA5');
  EXPECT_NE(host.run_in_capsule(security_send(0x01, 0x1000, 512), garbage).status, -1);
  EXPECT_NE(host.run_in_capsule(security_send(0x01, 0x7777, 512), garbage).status, kGood);
  EXPECT_EQ(host.run_in_capsule(security_send(0x42, 0x1000, 512), garbage).status, kInvalidField);
  EXPECT_EQ(host.run(identify(1), 4096).status, kGood);
}

TEST_F(CommandsTest, WhatIsWrittenInACapsuleOrByR2tIsReadBack) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  Octets text;
  for (unsigned n = 0; n < 131072; ++n) text += static_cast<char>(n * 31 >> 3);
  EXPECT_EQ(host.run_in_capsule(write_sectors(0, 16), text.substr(0, 8192)).status, kGood);
  EXPECT_EQ(host.run(read_sectors(0, 16), 8192).data, text.substr(0, 8192));
  EXPECT_EQ(host.run_with_r2t(write_sectors(100, 256), text, 10000).status, kGood);
  EXPECT_EQ(host.run_with_r2t(write_sectors(1000, 1), text.substr(0, 512)).status, kGood);
  EXPECT_EQ(host.run(read_sectors(100, 256), 131072).data, text);
  EXPECT_EQ(host.run(read_sectors(1000, 1), 512).data, text.substr(0, 512));
  EXPECT_EQ(host.run({.opcode = 0x00, .nsid = 1}).status, kGood) << "Flush";
  EXPECT_EQ(host.run(read_sectors(65535, 2), 1024).status, kLbaOutOfRange);
  EXPECT_EQ(host.run_in_capsule(write_sectors(0, 2), text.substr(0, 512)).status, kSglLength);
  EXPECT_EQ(host.run(read_sectors(0, 2), 512).status, kSglLength);
  EXPECT_EQ(host.run(read_sectors(0, 257), 131072).status, kInvalidField) << "more than MDTS";
  EXPECT_EQ(host.run({.opcode = 0x02, .nsid = 2}, 512).status, kInvalidNamespace);
  EXPECT_EQ(host.run({.opcode = 0x08, .nsid = 1}).status, kInvalidOpcode) << "Write Zeroes";
}

TEST_F(CommandsTest, WritesWhoseDataAreStillToComeAreServedSideBySide) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  const Octets first(1024, '1'), second(1024, '2');
  host.send(host.capsule(write_sectors(10, 2), 0, 1024, 0x5A));
  const std::uint16_t first_id = host.last_id();
  host.send(host.capsule(write_sectors(20, 2), 0, 1024, 0x5A));
  const std::uint16_t second_id = host.last_id();
  const Pdu first_r2t = host.receive(), second_r2t = host.receive();
  ASSERT_EQ(first_r2t.type, 0x09);
  ASSERT_EQ(second_r2t.type, 0x09);
  const auto first_tag = static_cast<std::uint16_t>(read_le(first_r2t.all, 10, 2));
  const auto second_tag = static_cast<std::uint16_t>(read_le(second_r2t.all, 10, 2));
  host.send(NvmeHost::h2c_data(second_id, second_tag, 0, second.substr(0, 512), false));
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, kGood) << "a command in between";
  host.send(NvmeHost::h2c_data(first_id, first_tag, 0, first, true));
  EXPECT_EQ(host.answer().id, first_id);
  host.send(NvmeHost::h2c_data(second_id, second_tag, 512, second.substr(512), true));
  EXPECT_EQ(host.answer().id, second_id);
  EXPECT_EQ(host.run(read_sectors(10, 2), 1024).data, first);
  EXPECT_EQ(host.run(read_sectors(20, 2), 1024).data, second);
}

TEST_F(CommandsTest, ALockedRangeAnswersAccessDenied) {
  take_ownership();
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  const Octets text(512, 'x');
  ASSERT_EQ(host.run_in_capsule(write_sectors(8, 1), text).status, kGood);
  // ReadLockEnabled, WriteLockEnabled, ReadLocked, WriteLocked.
  using wire::nam, wire::num;
  ASSERT_EQ(
      admin_sets(kGlobalRange, nam(5, num(1)) + nam(6, num(1)) + nam(7, num(1)) + nam(8, num(1))),
      kSuccess);
  const Answer read = host.run(read_sectors(8, 1), 512);
  EXPECT_EQ(read.status, kAccessDenied);
  EXPECT_TRUE(read.data.empty());
  EXPECT_EQ(host.run_in_capsule(write_sectors(8, 1), text).status, kAccessDenied);
  EXPECT_EQ(host.run_with_r2t(write_sectors(8, 1), text).status, kAccessDenied);
  ASSERT_EQ(admin_sets(kGlobalRange, nam(7, num(0)) + nam(8, num(0))), kSuccess);
  EXPECT_EQ(host.run(read_sectors(8, 1), 512).data, text);
}

// A Controller Level Reset is what TCG calls a hardware reset.
TEST_F(CommandsTest, DisablingTheControllerLocksARangeThatAsksForItAtHardwareResets) {
  take_ownership();
  serve();
  using wire::lst, wire::nam, wire::num;
  ASSERT_EQ(
      admin_sets(kGlobalRange, nam(5, num(1)) + nam(6, num(1)) + nam(9, lst(num(0) + num(1)))),
      kSuccess);
  NvmeHost keep = admin();
  NvmeHost host = io();
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, kGood);
  EXPECT_EQ(keep.run({.opcode = 0x7F, .cdw11 = 0x14, .cdw12 = 0x00460000}).status, kGood);
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, kSequenceError) << "it is disabled";
  EXPECT_EQ(keep.enable(), kGood);
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, kAccessDenied);
}

TEST_F(CommandsTest, DataToTheHostAreAlignedAsItAsked) {
  serve();
  NvmeHost host = this->host();
  ASSERT_EQ(host.greet(31).type, 0x01);
  ASSERT_EQ(host.connect(kNqn).status, kGood);
  ASSERT_EQ(host.enable(), kGood);
  host.send(host.capsule(identify(1), 0, 4096, 0x5A));
  const Pdu data = host.receive();
  ASSERT_EQ(data.type, 0x07);
  EXPECT_EQ(data.pdo, 128);
  EXPECT_EQ(data.all.size(), 128u + 4096);
  EXPECT_EQ(data.flags, 0x04) << "LAST_PDU, and a response follows";
  EXPECT_EQ(host.answer().status, kGood);
}

TEST_F(CommandsTest, ADeadDriveAnswersThatItIsNotReady) {
  serve();
  NvmeHost keep = admin();
  NvmeHost host = io();
  drive().set_faults({.dead = true});
  EXPECT_EQ(keep.run(identify(1), 4096).status, 0x082);
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, 0x082);
  drive().set_faults({});
  EXPECT_EQ(host.run(read_sectors(0, 1), 512).status, kGood);
}

TEST_F(CommandsTest, TheQueueHeadGoesRoundItsEntries) {
  serve();
  NvmeHost host = this->host();
  ASSERT_EQ(host.greet().type, 0x01);
  const Answer connected = host.connect(kNqn, 0, 0xFFFF, 0, 3);
  EXPECT_EQ(connected.head, 1u);
  ASSERT_EQ(host.enable(), kGood);
  for (const unsigned head : {3u, 0u, 1u, 2u}) EXPECT_EQ(host.run({.opcode = 0x18}).head, head);
}

}  // namespace
}  // namespace keyward::sed::nvme
