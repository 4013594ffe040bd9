// Bytes and ioctls of a node, on the test's own memory; names; buffers in pieces.
#include "sed/device_node/device_node.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "sed/device_node/attached_drive.h"
#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

class OwnMemory final : public CallerMemory {
 public:
  int read(std::uint64_t address, MutableByteView into) override {
    if (address == 0 && !into.empty()) return EFAULT;
    if (!into.empty()) std::memcpy(into.data(), pointer(address), into.size());
    return 0;
  }
  int write(std::uint64_t address, ByteView from) override {
    if (address == 0 && !from.empty()) return EFAULT;
    if (!from.empty()) std::memcpy(pointer(address), from.data(), from.size());
    return 0;
  }

 private:
  static void* pointer(std::uint64_t address) { return reinterpret_cast<void*>(address); }
};

template <typename T>
std::uint64_t address_of(T& object) {
  return reinterpret_cast<std::uintptr_t>(&object);
}

class DeviceNodeTest : public DriveTest {
 protected:
  DeviceNode node(std::string_view path = "/dev/sdq") {
    return make_nodes(path, drive()).value().back();
  }
  template <typename T>
  T answer(std::uint64_t request, T value = {}) {
    EXPECT_EQ(node().ioctl(request, address_of(value), memory_), 0);
    return value;
  }
  // An SG_IO that gives data, with what it needs.
  struct SgCall {
    explicit SgCall(std::string_view text, std::size_t size)
        : cdb(from_hex(text).value()), data(size) {
      header.interface_id = 'S';
      header.dxfer_direction = SG_DXFER_FROM_DEV;
      header.cmd_len = static_cast<unsigned char>(cdb.size());
      header.mx_sb_len = sizeof sense;
      header.dxfer_len = static_cast<unsigned>(size);
      header.dxferp = data.data();
      header.cmdp = reinterpret_cast<unsigned char*>(cdb.data());
      header.sbp = sense;
    }
    Bytes cdb, data;
    unsigned char sense[32] = {};
    sg_io_hdr_t header{};
  };
  long sg(SgCall& call) { return node().ioctl(SG_IO, address_of(call.header), memory_); }

  OwnMemory memory_;
};

TEST_F(DeviceNodeTest, BytesAtAnyOffset) {
  DeviceNode disk = node();
  write(0, 'a', 4);
  const Bytes middle(700, std::byte{'m'});
  EXPECT_EQ(disk.write(500, middle), 700);
  Bytes all(2048);
  EXPECT_EQ(disk.read(0, all), 2048);
  EXPECT_EQ(std::ranges::count(all, std::byte{'m'}), 700);
  EXPECT_EQ(all.at(499), std::byte{'a'});
  EXPECT_EQ(all.at(500), std::byte{'m'});
  EXPECT_EQ(all.at(1199), std::byte{'m'});
  EXPECT_EQ(all.at(1200), std::byte{'a'});
}

TEST_F(DeviceNodeTest, TheEndOfTheDisk) {
  DeviceNode disk = node();
  const std::uint64_t size = disk.size_bytes();
  Bytes buffer(1024);
  EXPECT_EQ(disk.read(size - 100, buffer), 100);
  EXPECT_EQ(disk.read(size, buffer), 0);
  EXPECT_EQ(disk.write(size - 100, buffer), 100);
  EXPECT_EQ(disk.write(size, buffer), -ENOSPC);
}

TEST_F(DeviceNodeTest, ALockedRangeIsAnInputOutputError) {
  take_ownership();
  ASSERT_EQ(admin_sets(kRange1, wire::nam(3, wire::num(8)) + wire::nam(4, wire::num(8)) +
                                    wire::nam(5, wire::num(1)) + wire::nam(7, wire::num(1)) +
                                    wire::nam(6, wire::num(1)) + wire::nam(8, wire::num(1))),
            kSuccess);
  DeviceNode disk = node();
  Bytes buffer(4096);
  EXPECT_EQ(disk.read(0, buffer), 4096);
  EXPECT_EQ(disk.read(4096, buffer), -EIO);
  EXPECT_EQ(disk.read(2048, buffer), -EIO);  // It straddles both.
  EXPECT_EQ(disk.write(4096, buffer), -EIO);
  EXPECT_EQ(disk.write(2048, buffer), -EIO);
  EXPECT_EQ(read(4), sectors(0));  // Nothing of it was written.
}

TEST_F(DeviceNodeTest, APartOfASectorIsNotWrittenWhereTheRestCannotBeRead) {
  write(0, 'k');
  take_ownership();
  ASSERT_EQ(admin_sets(kGlobalRange, wire::nam(5, wire::num(1)) + wire::nam(7, wire::num(1))),
            kSuccess);
  EXPECT_EQ(node().write(100, Bytes(10)), -EIO);
  EXPECT_EQ(node().write(512, Bytes(512)), 512);  // A whole one may be.
  ASSERT_EQ(admin_sets(kGlobalRange, wire::nam(7, wire::num(0))), kSuccess);
  EXPECT_EQ(read(0), sectors('k'));
}

TEST_F(DeviceNodeTest, BlockIoctls) {
  EXPECT_EQ(answer<std::uint64_t>(BLKGETSIZE64), 65536u * 512);
  EXPECT_EQ(answer<unsigned long>(BLKGETSIZE), 65536u);
  EXPECT_EQ(answer<int>(BLKSSZGET), 512);
  EXPECT_EQ(answer<unsigned>(BLKPBSZGET), 4096u);
  EXPECT_EQ(answer<int>(BLKROGET, 7), 0);
  EXPECT_EQ(node().ioctl(BLKFLSBUF, 0, memory_), 0);
  EXPECT_EQ(node().ioctl(BLKRRPART, 0, memory_), 0);
  EXPECT_EQ(node().ioctl(BLKGETSIZE64, 0, memory_), -EFAULT);
  EXPECT_EQ(node().ioctl(0x5401, 0, memory_), -ENOTTY);  // TCGETS.
}

TEST_F(DeviceNodeTest, ZeroOutInsideTheDisk) {
  write(8, 'z', 3);
  std::uint64_t range[2] = {9 * 512, 512};
  EXPECT_EQ(node().ioctl(BLKZEROOUT, address_of(range), memory_), 0);
  EXPECT_EQ(read(8), sectors('z'));
  EXPECT_EQ(read(9), sectors(0));
  EXPECT_EQ(read(10), sectors('z'));
  range[1] = 65536 * 512;
  EXPECT_EQ(node().ioctl(BLKZEROOUT, address_of(range), memory_), -EINVAL);
  EXPECT_EQ(node().ioctl(BLKDISCARD, address_of(range), memory_), -EOPNOTSUPP);
}

TEST_F(DeviceNodeTest, SgIoGivesDataAndWhatIsLeft) {
  SgCall call("120000002400", 2048);
  EXPECT_EQ(sg(call), 0);
  EXPECT_EQ(call.header.status, 0);
  EXPECT_EQ(call.header.resid, 2048 - 36);
  EXPECT_EQ(call.header.info & SG_INFO_OK_MASK, static_cast<unsigned>(SG_INFO_OK));
  EXPECT_EQ(call.header.sb_len_wr, 0);
  EXPECT_EQ(to_hex(ByteView(call.data).subspan(8, 8)), to_hex(as_bytes("ATA     ")));
}

TEST_F(DeviceNodeTest, SgIoGivesSense) {
  SgCall call("c00000000000", 512);
  EXPECT_EQ(sg(call), 0);
  EXPECT_EQ(call.header.status, 2);
  EXPECT_EQ(call.header.masked_status, 1);
  EXPECT_EQ(call.header.driver_status, 8);
  EXPECT_EQ(call.header.info & SG_INFO_OK_MASK, static_cast<unsigned>(SG_INFO_CHECK));
  EXPECT_EQ(call.header.sb_len_wr, 18);
  EXPECT_EQ(call.header.resid, 512);
  EXPECT_EQ(call.sense[2], 0x05);
  call.header.mx_sb_len = 4;
  EXPECT_EQ(sg(call), 0);
  EXPECT_EQ(call.header.sb_len_wr, 4);
}

TEST_F(DeviceNodeTest, SgIoInPieces) {
  Bytes first(10), second(100);
  sg_iovec_t pieces[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  SgCall call("120000006000", 110);
  call.header.iovec_count = 2;
  call.header.dxferp = pieces;
  EXPECT_EQ(sg(call), 0);
  EXPECT_EQ(call.header.resid, 110 - 96);
  EXPECT_EQ(to_hex(first), "000007025b0000024154");
  EXPECT_EQ(to_hex(ByteView(second).first(2)), "4120");
}

TEST_F(DeviceNodeTest, SgIoRefusesWhatTheKernelDoes) {
  SgCall wrong_interface("120000002400", 36), long_cdb("120000002400", 36),
      no_memory("120000002400", 36);
  wrong_interface.header.interface_id = 'Q';
  EXPECT_EQ(sg(wrong_interface), -EINVAL);
  long_cdb.header.cmd_len = 17;
  EXPECT_EQ(sg(long_cdb), -EINVAL);
  no_memory.header.dxferp = nullptr;
  EXPECT_EQ(sg(no_memory), -EFAULT);
  EXPECT_EQ(node().ioctl(SG_IO, 0, memory_), -EFAULT);
}

TEST_F(DeviceNodeTest, AResetEndsSessions) {
  wire::WireHost host(drive());
  ASSERT_EQ(host.start(kAdminSp).status, kSuccess);
  int what = SG_SCSI_RESET_NOTHING;
  EXPECT_EQ(node().ioctl(SG_SCSI_RESET, address_of(what), memory_), 0);
  EXPECT_EQ(host.invoke(kThisSp, 0x601, wire::num(8)).status, kSuccess);
  what = SG_SCSI_RESET_DEVICE;
  EXPECT_EQ(node().ioctl(SG_SCSI_RESET, address_of(what), memory_), 0);
  EXPECT_NE(host.invoke(kThisSp, 0x601, wire::num(8)).status, kSuccess);
}

TEST_F(DeviceNodeTest, HdioIoctls) {
  std::array<std::byte, 512> page{};
  EXPECT_EQ(node().ioctl(HDIO_GET_IDENTITY, address_of(page), memory_), 0);
  EXPECT_EQ(to_hex(ByteView(page).subspan(54, 16)), to_hex(as_bytes("KEYWARD EMULATED")));
  EXPECT_EQ(to_hex(ByteView(page).subspan(20, 12)), to_hex(as_bytes("KWEMU0000001")));
  EXPECT_EQ(to_hex(ByteView(page).subspan(46, 3)), to_hex(as_bytes("1.0")));
  const Bytes whole = drive().identify(IdentifyPage::ata_device).value();
  EXPECT_EQ(to_hex(ByteView(page).subspan(94)), to_hex(ByteView(whole).subspan(94)));
  std::array<unsigned char, 4 + 512> command{0xEC, 0, 0, 1};
  EXPECT_EQ(node().ioctl(HDIO_DRIVE_CMD, address_of(command), memory_), 0);
  EXPECT_EQ(command[0], 0x50);
  EXPECT_EQ(std::memcmp(command.data() + 4, whole.data(), whole.size()), 0);
  command = {0xE5, 0, 0, 0};
  EXPECT_EQ(node().ioctl(HDIO_DRIVE_CMD, address_of(command), memory_), 0);
  EXPECT_EQ(command[2], 0xFF);  // Active.
  command = {0xB0, 0, 0, 0};
  EXPECT_EQ(node().ioctl(HDIO_DRIVE_CMD, address_of(command), memory_), -EIO);
  EXPECT_EQ(command[0], 0x51);
  EXPECT_EQ(command[1], 0x04);
}

TEST_F(DeviceNodeTest, NvmeIoctls) {
  options_.bus = Bus::nvme;
  std::vector<DeviceNode> nodes = make_nodes("/dev/nvme3", drive()).value();
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0].path(), "/dev/nvme3");
  EXPECT_EQ(nodes[1].path(), "/dev/nvme3n1");
  EXPECT_TRUE(S_ISCHR(nodes[0].mode()) && S_ISBLK(nodes[1].mode()));
  EXPECT_EQ(nodes[1].ioctl(NVME_IOCTL_ID, 0, memory_), 1);
  EXPECT_EQ(nodes[0].ioctl(NVME_IOCTL_ID, 0, memory_), -ENOTTY);
  std::array<std::byte, 4096> page{};
  nvme_passthru_cmd identify{};
  identify.opcode = 0x06;
  identify.cdw10 = 1;
  identify.addr = address_of(page);
  identify.data_len = 4096;
  for (DeviceNode& each : nodes) {
    page.fill(std::byte{0xEE});
    EXPECT_EQ(each.ioctl(NVME_IOCTL_ADMIN_CMD, address_of(identify), memory_), 0);
    EXPECT_EQ(to_hex(page), to_hex(drive().identify(IdentifyPage::nvme_controller).value()));
  }
  nvme_passthru_cmd64 unknown{};
  unknown.opcode = 0xC0;
  EXPECT_EQ(nodes[0].ioctl(NVME_IOCTL_ADMIN64_CMD, address_of(unknown), memory_), 0x4001);
  Bytes buffer(512);
  EXPECT_EQ(nodes[0].read(0, buffer), -EINVAL);
  EXPECT_EQ(nodes[1].read(0, buffer), 512);
  EXPECT_EQ(nodes[0].ioctl(SG_IO, 0, memory_), -ENOTTY);
}

TEST_F(DeviceNodeTest, NamesAndNumbersAsLinuxGivesThem) {
  EXPECT_EQ(sd_path(0), "/dev/sda");
  EXPECT_EQ(sd_path(25), "/dev/sdz");
  EXPECT_EQ(sd_path(26), "/dev/sdaa");
  EXPECT_EQ(sd_path(255), "/dev/sdiv");
  EXPECT_EQ(node("/dev/sda").number(), makedev(8, 0));
  EXPECT_EQ(node("/dev/sdp").number(), makedev(8, 240));
  EXPECT_EQ(node("/dev/sdq").number(), makedev(65, 0));
  EXPECT_EQ(node("/dev/sddx").number(), makedev(71, 240));
  EXPECT_EQ(node("/dev/sddy").number(), makedev(128, 0));
  EXPECT_EQ(node("/dev/sdiv").number(), makedev(135, 240));
  for (const char* wrong : {"/dev/sd", "/dev/sdiw", "/dev/sdA", "/dev/sdaaa", "/dev/sda1",
                            "/dev/nvme0n1", "/tmp/sda", ""})
    EXPECT_EQ(make_nodes(wrong, drive()).error().code, ErrorCode::invalid_argument) << wrong;
  options_.bus = Bus::nvme;
  options_.backing_file = directory_ / "nvme";
  reopen();
  for (const char* wrong :
       {"/dev/nvme", "/dev/nvme0n2", "/dev/nvme0n1p1", "/dev/nvme00", "/dev/sda"})
    EXPECT_EQ(make_nodes(wrong, drive()).error().code, ErrorCode::invalid_argument) << wrong;
}

TEST_F(DeviceNodeTest, BuffersInPieces) {
  Bytes a(3), b(5);
  const CallerBuffer buffer{{address_of(a[0]), 3}, {address_of(b[0]), 0}, {address_of(b[0]), 5}};
  EXPECT_EQ(size_of(buffer), 8u);
  EXPECT_EQ(write_pieces(memory_, buffer, 2, as_bytes("xyz")), 0);
  EXPECT_EQ(to_hex(a), "000078");
  EXPECT_EQ(to_hex(b), "797a000000");
  Bytes back(4);
  EXPECT_EQ(read_pieces(memory_, buffer, 1, back), 0);
  EXPECT_EQ(to_hex(back), "0078797a");
  EXPECT_EQ(read_pieces(memory_, buffer, 6, back), EFAULT);
}

TEST_F(DeviceNodeTest, ADriveFileIsOneProcessAtATimeAndANameOneDrives) {
  std::set<std::string> taken;
  EXPECT_EQ(attach_drive(options_.backing_file, "/dev/sdq", taken).error().code,
            ErrorCode::not_found);
  ASSERT_TRUE(EmulatedDrive::open(options_).has_value());
  const AttachedDrive first = attach_drive(options_.backing_file, "", taken).value();
  EXPECT_EQ(taken, std::set<std::string>{first.nodes.front().path()});
  EXPECT_EQ(attach_drive(options_.backing_file, "", taken).error().code, ErrorCode::busy);
  EmulatedDriveOptions other = options_;
  other.backing_file = directory_ / "other";
  ASSERT_TRUE(EmulatedDrive::open(other).has_value());
  EXPECT_EQ(attach_drive(other.backing_file, first.nodes.front().path(), taken).error().code,
            ErrorCode::conflict);
  EXPECT_NE(attach_drive(other.backing_file, "", taken).value().nodes.front().path(),
            first.nodes.front().path());
}

}  // namespace
}  // namespace keyward::sed
