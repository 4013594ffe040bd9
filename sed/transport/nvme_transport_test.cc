#include "sed/transport/nvme_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/text.h"
#include "sed/transport/nvme_node_fixture.h"

namespace keyward::sed {
namespace {

using ::testing::HasSubstr;

ErrorCode code_of(const auto& result) { return result ? ErrorCode{255} : result.error().code; }

class NvmeTransportTest : public ::testing::Test {
 protected:
  NvmeTransportTest() {
    std::string name = ::testing::TempDir() + "keyward-nvme-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options_.backing_file = directory_ / "a.drive";
    options_.identity = {"0025385b91b01234", "SER 01", "A MODEL OF MORE THAN 16", "FW12"};
    options_.bus = Bus::nvme;
    options_.sectors = 4096;
    options_.data_store_bytes = options_.shadow_mbr_bytes = 1u << 16;
  }
  ~NvmeTransportTest() override { std::filesystem::remove_all(directory_); }

  NvmeTransport& open(const NvmeQuirks& quirks = {}) {
    transport_ = try_open(quirks).value();
    node_->requests.clear();
    node_->numbers.clear();
    return *transport_;
  }
  Result<std::unique_ptr<NvmeTransport>> try_open(const NvmeQuirks& quirks = {}) {
    transport_.reset();
    if (drive_ == nullptr) drive_ = EmulatedDrive::open(options_).value();
    auto node = std::make_unique<NvmeNode>(*drive_);
    node->quirks = quirks;
    node->asked = &asked_;
    node_ = node.get();
    return NvmeTransport::open(std::move(node), std::chrono::milliseconds{1234});
  }

  std::filesystem::path directory_;
  EmulatedDriveOptions options_;
  std::unique_ptr<EmulatedDrive> drive_;
  NvmeNode* node_ = nullptr;
  std::size_t asked_ = 0;  // Since the start, over all nodes.
  std::unique_ptr<NvmeTransport> transport_;
};

TEST_F(NvmeTransportTest, TheDriveIsKnownAfterTwoCommands) {
  const auto transport = try_open({.name_space = 3}).value();
  EXPECT_EQ(transport->identity().wwn, "0025385b91b01234");
  EXPECT_EQ(transport->identity().serial, "SER 01");
  EXPECT_EQ(transport->identity().model, "A MODEL OF MORE THAN 16");
  EXPECT_EQ(transport->identity().firmware, "FW12");
  ASSERT_EQ(node_->requests.size(), 2u);
  const nvme_passthru_cmd& controller = node_->requests[0];
  EXPECT_EQ(node_->numbers[0], NVME_IOCTL_ADMIN_CMD);
  EXPECT_EQ(controller.opcode, 0x06);
  EXPECT_EQ(controller.cdw10, 1u);
  EXPECT_EQ(controller.nsid, 0u);
  EXPECT_EQ(controller.data_len, 4096u);
  EXPECT_EQ(controller.timeout_ms, 1234u);
  EXPECT_EQ(node_->requests[1].cdw10, 0u);
  EXPECT_EQ(node_->requests[1].nsid, 3u);
}

TEST_F(NvmeTransportTest, AControllersNodeHasTheFirstNamespacesName) {
  const auto transport = try_open({.is_controller = true}).value();
  EXPECT_EQ(transport->identity().wwn, "0025385b91b01234");
  EXPECT_EQ(transport->blocks(), nullptr);
  const auto without = try_open({.is_controller = true, .name_space = 2}).value();
  EXPECT_EQ(without->identity().wwn, "");
  EXPECT_EQ(without->identity().serial, "SER 01");
}

TEST_F(NvmeTransportTest, ReceiveIsAdminCommand82) {
  NvmeTransport& transport = open();
  Bytes buffer(2048);
  EXPECT_EQ(transport.receive(Protocol::tcg, 1, buffer).value(), 2048u);
  ASSERT_EQ(node_->requests.size(), 1u);
  const nvme_passthru_cmd& io = node_->requests[0];
  EXPECT_EQ(node_->numbers[0], NVME_IOCTL_ADMIN_CMD);
  EXPECT_EQ(io.opcode, 0x82);
  EXPECT_EQ(io.cdw10, 0x01000100u);
  EXPECT_EQ(io.cdw11, 2048u);
  EXPECT_EQ(io.nsid, 0u);
  EXPECT_EQ(io.timeout_ms, 1234u);
  Bytes again(2048);
  ASSERT_EQ(drive_->security_receive(1, 1, again), BusStatus::good);
  EXPECT_EQ(buffer, again);
  Bytes empty;
  EXPECT_EQ(code_of(transport.receive(Protocol::tcg, 1, empty)), ErrorCode::invalid_argument);
}

TEST_F(NvmeTransportTest, SendIsAdminCommand81InWholeBlocks) {
  NvmeTransport& transport = open();
  const Bytes reset{std::byte{0x10}, std::byte{}, std::byte{}, std::byte{},
                    std::byte{},     std::byte{}, std::byte{}, std::byte{2}};
  ASSERT_TRUE(transport.send(Protocol::com_id, 0x1000, reset));
  ASSERT_EQ(node_->requests.size(), 1u);
  EXPECT_EQ(node_->requests[0].opcode, 0x81);
  EXPECT_EQ(node_->requests[0].cdw10, 0x02100000u);
  EXPECT_EQ(node_->requests[0].cdw11, 512u);
  Bytes answer(512);
  ASSERT_TRUE(transport.receive(Protocol::com_id, 0x1000, answer));
  EXPECT_EQ(to_hex(ByteView(answer).first(16)), "10000000000000020000000400000000");
  EXPECT_EQ(code_of(transport.send(Protocol::tcg, 1, {})), ErrorCode::invalid_argument);
}

TEST_F(NvmeTransportTest, PagesOfOtherBusesAreUnsupported) {
  NvmeTransport& transport = open();
  for (const IdentifyPage page : {IdentifyPage::nvme_controller, IdentifyPage::nvme_namespace})
    EXPECT_EQ(transport.identify(page).value(), drive_->identify(page).value());
  for (const IdentifyPage page : {IdentifyPage::ata_device, IdentifyPage::scsi_inquiry})
    EXPECT_EQ(code_of(transport.identify(page)), ErrorCode::unsupported);
}

TEST_F(NvmeTransportTest, AComIdAndAProtocolThatTheDriveLacksAreToldApart) {
  NvmeTransport& transport = open();
  Bytes buffer(512);
  EXPECT_EQ(code_of(transport.send(Protocol::tcg, 0x4444, buffer)), ErrorCode::invalid_argument);
  const auto protocol = transport.send(Protocol::ata, 1, buffer);
  EXPECT_EQ(code_of(protocol), ErrorCode::unsupported);
  EXPECT_THAT(protocol.error().message, HasSubstr("no security protocol EFh"));
}

TEST_F(NvmeTransportTest, NothingIsSentToAControllerWithoutSecurityCommands) {
  NvmeTransport& transport = open({.no_security_commands = true});
  Bytes buffer(512);
  EXPECT_EQ(code_of(transport.send(Protocol::tcg, 1, buffer)), ErrorCode::unsupported);
  EXPECT_EQ(code_of(transport.receive(Protocol::tcg, 1, buffer)), ErrorCode::unsupported);
  EXPECT_TRUE(node_->requests.empty());
}

TEST_F(NvmeTransportTest, EachStatusHasItsCodeAndNothingIsSentTwice) {
  NvmeTransport& transport = open();
  struct Case {
    int status;
    ErrorCode code;
  };
  const Case cases[] = {
      {0x4001, ErrorCode::unsupported},
      {0x0007, ErrorCode::timeout},
      {0x400C, ErrorCode::conflict},
      {0x0082, ErrorCode::busy},
      {0x401D, ErrorCode::busy},
      {0x4015, ErrorCode::not_permitted},
      {0x4286, ErrorCode::not_permitted},
      {0x4281, ErrorCode::io},
      {0x0006, ErrorCode::io},
      {0x0370, ErrorCode::unavailable},
      {0x0371, ErrorCode::timeout},
      {0x000B, ErrorCode::unavailable},
      {-EINTR, ErrorCode::timeout},
  };
  Bytes buffer(512);
  for (const Case& one : cases) {
    node_->requests.clear();
    node_->planned.push_back(one.status);
    const auto done = transport.send(Protocol::com_id, 0x1000, buffer);
    EXPECT_EQ(code_of(done), one.code) << one.status;
    EXPECT_EQ(node_->requests.size(), 1u);
    const unsigned native = one.status > 0 ? static_cast<unsigned>(one.status) & 0x7FF : EINTR;
    EXPECT_EQ(done.error().native, native);
  }
}

TEST_F(NvmeTransportTest, TheDriveSaysWhyItRefusesSectors) {
  NvmeTransport& transport = open();
  BlockAccess& blocks = *transport.blocks();
  const Bytes data(1024, std::byte{7});
  ASSERT_TRUE(blocks.write(10, data));
  Bytes read(1024);
  ASSERT_TRUE(blocks.read(10, read));
  EXPECT_EQ(read, data);
  EXPECT_TRUE(node_->requests.empty());

  drive_->set_faults({.busy_commands = 1});  // pread fails; the drive's own command does not.
  EXPECT_TRUE(blocks.read(10, read));
  ASSERT_EQ(node_->requests.size(), 1u);
  EXPECT_EQ(node_->numbers[0], NVME_IOCTL_IO_CMD);
  EXPECT_EQ(node_->requests[0].opcode, 0x02);
  EXPECT_EQ(node_->requests[0].nsid, 1u);
  EXPECT_EQ(node_->requests[0].cdw10, 10u);
  EXPECT_EQ(node_->requests[0].cdw12, 1u);

  for (const bool is_write : {false, true}) {
    drive_->set_faults({.busy_commands = 1});
    node_->planned.push_back(0x4286);
    EXPECT_EQ(code_of(is_write ? blocks.write(10, data) : blocks.read(10, read)),
              ErrorCode::not_permitted);
  }
  EXPECT_EQ(node_->requests.back().opcode, 0x01);
}

TEST_F(NvmeTransportTest, ADeadDriveIsBusyOrUnavailableAfterOneCommand) {
  drive_ = EmulatedDrive::open(options_).value();
  drive_->set_faults({.dead = true});
  EXPECT_TRUE(is_retryable(code_of(try_open())));
  EXPECT_EQ(asked_, 1u);
}

}  // namespace
}  // namespace keyward::sed
