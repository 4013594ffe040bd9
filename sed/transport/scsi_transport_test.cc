#include "sed/transport/scsi_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "sed/transport/scsi_node_fixture.h"
#include "sed/transport/scsi_sense.h"

namespace keyward::sed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

ErrorCode code_of(const auto& result) { return result ? ErrorCode{255} : result.error().code; }

class ScsiTransportTest : public ::testing::Test {
 protected:
  ScsiTransportTest() {
    std::string name = ::testing::TempDir() + "keyward-scsi-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    options_.backing_file = directory_ / "a.drive";
    options_.identity = {"5000c500abcdef01", "SER 01", "A MODEL OF 16 CH", "FW12"};
    options_.sectors = 4096;
    options_.data_store_bytes = options_.shadow_mbr_bytes = 1u << 16;
  }
  ~ScsiTransportTest() override { std::filesystem::remove_all(directory_); }

  // The transport, over a node with these quirks.
  ScsiTransport& open(const ScsiQuirks& quirks = {}) {
    auto opened = try_open(quirks);
    transport_ = std::move(opened).value();
    node_->requests.clear();
    return *transport_;
  }
  Result<std::unique_ptr<ScsiTransport>> try_open(const ScsiQuirks& quirks = {}) {
    transport_.reset();
    if (drive_ == nullptr) drive_ = EmulatedDrive::open(options_).value();
    auto node = std::make_unique<ScsiNode>(*drive_);
    node->quirks = quirks;
    node->asked = &asked_;
    node_ = node.get();
    return ScsiTransport::open(std::move(node));
  }

  std::vector<std::string> cdbs() const {
    std::vector<std::string> all;
    for (const ScsiNode::Request& request : node_->requests) all.push_back(request.cdb);
    return all;
  }

  // STACK_RESET of ComID 1000h and its answer (Core, 3.3.4.7.5): a round trip that the TPer knows.
  static void stack_reset(ScsiTransport& transport) {
    Bytes request{std::byte{0x10}, std::byte{}, std::byte{}, std::byte{},
                  std::byte{},     std::byte{}, std::byte{}, std::byte{2}};
    ASSERT_TRUE(transport.send(Protocol::com_id, 0x1000, request));
    Bytes answer(512);
    const auto size = transport.receive(Protocol::com_id, 0x1000, answer);
    ASSERT_TRUE(size) << size.error().message;
    EXPECT_EQ(*size, 512u);
    EXPECT_EQ(to_hex(ByteView(answer).first(16)), "10000000000000020000000400000000");
  }

  // A parameter list of ATA Security for the password "p" and so on.
  static Bytes list(char password, unsigned flag = 0, unsigned master = 0) {
    Bytes bytes(36);
    bytes[0] = static_cast<std::byte>(flag);
    bytes[1] = static_cast<std::byte>(master);
    std::fill(bytes.begin() + 2, bytes.begin() + 34, static_cast<std::byte>(password));
    return bytes;
  }
  static unsigned security_state(ScsiTransport& transport) {
    Bytes answer(16);
    EXPECT_TRUE(transport.receive(Protocol::ata, 0, answer));
    return std::to_integer<unsigned>(answer[9]);
  }

  std::filesystem::path directory_;
  EmulatedDriveOptions options_;
  std::unique_ptr<EmulatedDrive> drive_;
  ScsiNode* node_ = nullptr;
  std::size_t asked_ = 0;  // Since the start, over all nodes.
  std::unique_ptr<ScsiTransport> transport_;
};

TEST_F(ScsiTransportTest, ASataDriveIsKnownAfterTwoCommands) {
  const auto transport = try_open().value();
  EXPECT_THAT(cdbs(),
              ElementsAre("12 00 00 00 24 00", "85 08 0e 00 00 00 01 00 00 00 00 00 00 00 ec 00"));
  EXPECT_EQ(node_->requests[0].size, 36u);
  EXPECT_EQ(node_->requests[1].size, 512u);
  EXPECT_EQ(node_->requests[0].timeout_ms, 30000u);
  EXPECT_EQ(transport->identity().wwn, "5000c500abcdef01");
  EXPECT_EQ(transport->identity().serial, "SER 01");
  EXPECT_EQ(transport->identity().model, "A MODEL OF 16 CH");
  EXPECT_EQ(transport->identity().firmware, "FW12");
}

TEST_F(ScsiTransportTest, ASasDriveTellsItsNameInVitalProductData) {
  options_.bus = Bus::sas;
  const auto transport = try_open().value();
  EXPECT_THAT(cdbs(),
              ElementsAre("12 00 00 00 24 00", "85 08 0e 00 00 00 01 00 00 00 00 00 00 00 ec 00",
                          "a1 08 0e 00 01 00 00 00 00 ec 00 00", "12 01 00 00 fc 00",
                          "12 01 80 00 fc 00", "12 01 83 00 fc 00"));
  EXPECT_EQ(transport->identity().wwn, "5000c500abcdef01");
  EXPECT_EQ(transport->identity().serial, "SER 01");
  EXPECT_EQ(transport->identity().model, "A MODEL OF 16 CH");
}

TEST_F(ScsiTransportTest, ASataDriveThatHidesIdentifyHasTheSameName) {
  options_.identity.model = "A MODEL OF MORE THAN 16 CHARACTERS";
  const auto transport = try_open({.no_pass_through = true}).value();
  EXPECT_EQ(transport->identity().wwn, "5000c500abcdef01");
  EXPECT_EQ(transport->identity().serial, "SER 01");
  EXPECT_EQ(transport->identity().model, "A MODEL OF MORE THAN 16 CHARACTERS");
}

TEST_F(ScsiTransportTest, WhatIsNoDiskIsRefusedBeforeAnythingElseIsSent) {
  const auto opened = try_open({.device_type = 0x05});
  EXPECT_EQ(code_of(opened), ErrorCode::unsupported);
  EXPECT_THAT(opened.error().message, HasSubstr("device type 05h"));
  EXPECT_EQ(asked_, 1u);
  EXPECT_TRUE(try_open({.device_type = 0x14}));
}

TEST_F(ScsiTransportTest, EachPageIsWhatTheDriveSays) {
  options_.identity.model = std::string(40, 'M');
  ScsiTransport& transport = open();
  for (const IdentifyPage page : {IdentifyPage::ata_device, IdentifyPage::scsi_vpd_pages,
                                  IdentifyPage::scsi_vpd_serial, IdentifyPage::scsi_vpd_device}) {
    EXPECT_EQ(transport.identify(page).value(), drive_->identify(page).value());
  }
  Bytes inquiry = drive_->identify(IdentifyPage::scsi_inquiry).value();
  inquiry.resize(36);
  EXPECT_EQ(transport.identify(IdentifyPage::scsi_inquiry).value(), inquiry);
  EXPECT_EQ(code_of(transport.identify(IdentifyPage::nvme_controller)), ErrorCode::unsupported);
}

TEST_F(ScsiTransportTest, DiscoveryGoesInBlocksByteForByte) {
  ScsiTransport& transport = open();
  Bytes buffer(2048);
  EXPECT_EQ(transport.receive(Protocol::tcg, 1, buffer).value(), 2048u);
  ASSERT_THAT(cdbs(), ElementsAre("a2 01 00 01 80 00 00 00 00 04 00 00"));
  EXPECT_EQ(node_->requests[0].direction, SG_DXFER_FROM_DEV);
  EXPECT_EQ(node_->requests[0].size, 2048u);
  EXPECT_EQ(node_->requests[0].timeout_ms, 30000u);
}

TEST_F(ScsiTransportTest, APayloadIsPaddedToBlocksWithZeros) {
  ScsiTransport& transport = open();
  ASSERT_TRUE(transport.send(Protocol::com_id, 5, Bytes(513, std::byte{1})));
  ASSERT_THAT(cdbs(), ElementsAre("b5 02 00 05 80 00 00 00 00 02 00 00"));
  const Bytes& sent = node_->requests[0].sent;
  ASSERT_EQ(sent.size(), 1024u);
  EXPECT_EQ(std::count(sent.begin(), sent.end(), std::byte{1}), 513);
  EXPECT_EQ(std::count(sent.begin() + 513, sent.end(), std::byte{0}), 511);
  EXPECT_EQ(code_of(transport.send(Protocol::tcg, 5, {})), ErrorCode::invalid_argument);
}

TEST_F(ScsiTransportTest, AnOddBufferIsFilledAndNotOverrun) {
  ScsiTransport& transport = open();
  Bytes whole(512), part(100), empty;
  ASSERT_TRUE(transport.receive(Protocol::tcg, 1, whole));
  EXPECT_EQ(transport.receive(Protocol::tcg, 1, part).value(), 100u);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin()));
  EXPECT_EQ(node_->requests[1].size, 512u);
  EXPECT_EQ(code_of(transport.receive(Protocol::tcg, 1, empty)), ErrorCode::invalid_argument);
}

TEST_F(ScsiTransportTest, ARoundTripGoesEachWayAndTheWayIsLearntOnce) {
  struct Case {
    ScsiQuirks quirks;
    std::vector<std::string> cdbs;
  };
  const Case cases[] = {
      {{}, {"b5 02 10 00 80 00 00 00 00 01 00 00", "a2 02 10 00 80 00 00 00 00 01 00 00"}},
      {{.counts_bytes = true},
       {"b5 02 10 00 80 00 00 00 00 01 00 00", "b5 02 10 00 00 00 00 00 02 00 00 00",
        "a2 02 10 00 00 00 00 00 02 00 00 00"}},
      {{.refuses_security_protocol = true},
       {"b5 02 10 00 80 00 00 00 00 01 00 00", "85 0a 06 00 02 00 01 00 00 00 00 00 10 00 5e 00",
        "85 08 0e 00 02 00 01 00 00 00 00 00 10 00 5c 00"}},
      {{.refuses_security_protocol = true, .no_long_pass_through = true},
       {"b5 02 10 00 80 00 00 00 00 01 00 00", "a1 0a 06 02 01 00 00 10 00 5e 00 00",
        "a1 08 0e 02 01 00 00 10 00 5c 00 00"}},
  };
  for (const Case& one : cases) {
    ScsiTransport& transport = open(one.quirks);
    stack_reset(transport);
    EXPECT_EQ(cdbs(), one.cdbs);
    node_->requests.clear();
    stack_reset(transport);
    EXPECT_EQ(node_->requests.size(), 2u);
  }
}

TEST_F(ScsiTransportTest, AComIdAndAProtocolThatTheDriveLacksAreToldApart) {
  for (const bool fixed_sense : {false, true}) {
    ScsiTransport& transport = open({.fixed_sense = fixed_sense});
    Bytes buffer(512);
    const auto com_id = transport.send(Protocol::tcg, 0x4444, buffer);
    EXPECT_EQ(code_of(com_id), ErrorCode::invalid_argument);
    EXPECT_EQ(com_id.error().native, 0x052400u);
    const auto protocol = transport.receive(static_cast<Protocol>(0x77), 0, buffer);
    EXPECT_EQ(code_of(protocol), ErrorCode::unsupported);
    EXPECT_THAT(protocol.error().message, HasSubstr("no security protocol 77h"));
  }
}

TEST_F(ScsiTransportTest, ADriveWithoutSecurityCommandsIsUnsupported) {
  options_.bus = Bus::sas;
  ScsiTransport& transport = open({.refuses_security_protocol = true});
  Bytes buffer(512);
  const auto received = transport.receive(Protocol::tcg, 1, buffer);
  EXPECT_EQ(code_of(received), ErrorCode::unsupported);
  EXPECT_THAT(received.error().message, HasSubstr("takes no security commands"));
  EXPECT_EQ(node_->requests.size(), 1u);
}

TEST_F(ScsiTransportTest, TheKernelsOwnFilterIsNamed) {
  ScsiTransport& transport = open({.refuses_security_protocol = true, .no_trusted_filter = false});
  Bytes buffer(512);
  const auto received = transport.receive(Protocol::tcg, 1, buffer);
  EXPECT_EQ(code_of(received), ErrorCode::not_permitted);
  EXPECT_THAT(received.error().message, HasSubstr("libata.allow_tpm"));
}

TEST_F(ScsiTransportTest, APassThroughHasALimit) {
  ScsiTransport& transport = open({.refuses_security_protocol = true});
  Bytes most(255 * 512), more(256 * 512);
  EXPECT_TRUE(transport.receive(Protocol::tcg, 1, most));
  EXPECT_EQ(code_of(transport.receive(Protocol::tcg, 1, more)), ErrorCode::invalid_argument);
}

// Properties, without arguments (Core, 5.2.2.1), in a ComPacket for ComID 1000h.
Bytes properties_request() {
  const std::string call = "f8a800000000000000ffa8000000000000ff01f0f1f9f0000000f1";
  const std::size_t size = call.size() / 2, padded = (size + 3) / 4 * 4;
  std::string packet =
      "00000000"
      "1000"
      "0000"
      "00000000"
      "00000000";
  packet += fmt::format("{:08x}", 24 + 12 + padded);
  packet +=
      "00000000"
      "00000000"
      "00000000"
      "0000"
      "0000"
      "00000000";
  packet += fmt::format("{:08x}", 12 + padded);
  packet +=
      "000000000000"
      "0000" +
      fmt::format("{:08x}", size) + call;
  packet.append(2 * (padded - size), '0');
  return from_hex(packet).value();
}

TEST_F(ScsiTransportTest, OutOfSequenceIsAConflict) {
  ScsiTransport& transport = open();
  ASSERT_TRUE(transport.send(Protocol::tcg, 0x1000, properties_request()));
  EXPECT_EQ(code_of(transport.send(Protocol::tcg, 0x1000, properties_request())),
            ErrorCode::conflict);
  Bytes answer(2048);
  EXPECT_TRUE(transport.receive(Protocol::tcg, 0x1000, answer));
}

// ATA Security by EFh, and by F1h to F6h where the translation has no EFh, do the same.
class AtaSecurityTransportTest : public ScsiTransportTest,
                                 public ::testing::WithParamInterface<bool> {
 protected:
  AtaSecurityTransportTest() { options_.family = Family::ata_security; }
  ScsiQuirks quirks_{.no_ata_protocol = !GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Ways, AtaSecurityTransportTest, ::testing::Bool(),
                         [](const auto& way) { return way.param ? "Protocol" : "Commands"; });

TEST_P(AtaSecurityTransportTest, APasswordLocksAndUnlocks) {
  ScsiTransport& transport = open(quirks_);
  EXPECT_EQ(security_state(transport), 0x21u);
  ASSERT_TRUE(transport.send(Protocol::ata, 1, list('p')));
  EXPECT_EQ(security_state(transport), 0x23u);
  drive_->power_cycle();
  EXPECT_EQ(security_state(transport), 0x27u);
  EXPECT_EQ(code_of(transport.send(Protocol::ata, 2, list('q'))), ErrorCode::conflict);
  EXPECT_EQ(security_state(transport), 0x27u);
  ASSERT_TRUE(transport.send(Protocol::ata, 2, list('p')));
  EXPECT_EQ(security_state(transport), 0x23u);
  ASSERT_TRUE(transport.send(Protocol::ata, 6, list('p')));
  EXPECT_EQ(security_state(transport), 0x21u);
  ASSERT_TRUE(transport.send(Protocol::ata, 5, {}));
  EXPECT_EQ(security_state(transport), 0x29u);
  EXPECT_EQ(code_of(transport.send(Protocol::ata, 1, list('p'))), ErrorCode::conflict);
}

TEST_P(AtaSecurityTransportTest, FlagsReachTheDrive) {
  ScsiTransport& transport = open(quirks_);
  Bytes master = list('m', 0, 1);
  master[34] = std::byte{0x12};
  master[35] = std::byte{0x34};
  ASSERT_TRUE(transport.send(Protocol::ata, 1, master));
  ASSERT_TRUE(transport.send(Protocol::ata, 1, list('p', 1)));
  Bytes answer(16);
  ASSERT_TRUE(transport.receive(Protocol::ata, 0, answer));
  EXPECT_EQ(to_hex(answer), "000e0001000112340123000000000000");
}

TEST_P(AtaSecurityTransportTest, AnEraseIsPreparedAndMayTakeADay) {
  ScsiTransport& transport = open(quirks_);
  const Bytes data(512, std::byte{0x5A});
  ASSERT_TRUE(transport.blocks()->write(0, data));
  ASSERT_TRUE(transport.send(Protocol::ata, 1, list('p')));
  EXPECT_EQ(code_of(transport.send(Protocol::ata, 4, list('p', 1))), ErrorCode::conflict);
  ASSERT_TRUE(transport.send(Protocol::ata, 3, {}));
  ASSERT_TRUE(transport.send(Protocol::ata, 4, list('p', 1)));
  EXPECT_EQ(node_->requests.back().timeout_ms, 86'400'000u);
  EXPECT_EQ(security_state(transport), 0x21u);
  Bytes read(512);
  ASSERT_TRUE(transport.blocks()->read(0, read));
  EXPECT_NE(read, data);
}

TEST_P(AtaSecurityTransportTest, WhatIsNoCommandIsNotSent) {
  ScsiTransport& transport = open(quirks_);
  for (const std::uint16_t specific : std::initializer_list<std::uint16_t>{0, 7, 0xFFFF})
    EXPECT_EQ(code_of(transport.send(Protocol::ata, specific, list('p'))),
              ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(transport.send(Protocol::ata, 1, Bytes(35))), ErrorCode::invalid_argument);
  EXPECT_TRUE(node_->requests.empty());
  Bytes answer(16);
  EXPECT_EQ(code_of(transport.receive(Protocol::ata, 1, answer)), ErrorCode::invalid_argument);
}

TEST_F(ScsiTransportTest, AtaSecurityByteForByte) {
  options_.family = Family::ata_security;
  ScsiTransport& transport = open();
  ASSERT_TRUE(transport.send(Protocol::ata, 1, list('p')));
  ASSERT_TRUE(transport.send(Protocol::ata, 3, {}));
  Bytes answer(16);
  ASSERT_TRUE(transport.receive(Protocol::ata, 0, answer));
  EXPECT_THAT(cdbs(), ElementsAre("b5 ef 00 01 00 00 00 00 00 24 00 00",
                                  "b5 ef 00 03 00 00 00 00 00 00 00 00",
                                  "a2 ef 00 00 00 00 00 00 00 10 00 00"));
  ScsiTransport& native = open({.no_ata_protocol = true});
  ASSERT_TRUE(native.send(Protocol::ata, 2, list('p')));
  ASSERT_TRUE(native.send(Protocol::ata, 3, {}));
  EXPECT_THAT(cdbs(), ElementsAre("b5 ef 00 02 00 00 00 00 00 24 00 00",
                                  "85 0a 06 00 00 00 01 00 00 00 00 00 00 00 f2 00",
                                  "85 06 00 00 00 00 00 00 00 00 00 00 00 00 f3 00"));
  EXPECT_EQ(node_->requests[1].sent.size(), 512u);
  EXPECT_EQ(node_->requests[2].direction, SG_DXFER_NONE);
}

TEST_F(ScsiTransportTest, ASasDriveHasNoAtaSecurity) {
  options_.bus = Bus::sas;
  ScsiTransport& transport = open();
  EXPECT_EQ(code_of(transport.send(Protocol::ata, 1, list('p'))), ErrorCode::unsupported);
  EXPECT_THAT(cdbs(), Not(::testing::Contains(HasSubstr("f1 00"))));
}

TEST_F(ScsiTransportTest, SectorsAreReadAndWritten) {
  ScsiTransport& transport = open();
  BlockAccess& blocks = *transport.blocks();
  EXPECT_EQ(blocks.sector_bytes(), 512u);
  EXPECT_EQ(blocks.sector_count(), 4096u);
  const Bytes data(1024, std::byte{7});
  ASSERT_TRUE(blocks.write(10, data));
  Bytes read(1024);
  ASSERT_TRUE(blocks.read(10, read));
  EXPECT_EQ(read, data);
  EXPECT_TRUE(node_->requests.empty());  // Neither needed the drive's own command.
  EXPECT_EQ(code_of(blocks.read(4095, read)), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of(blocks.read(0, MutableByteView(read).first(100))), ErrorCode::invalid_argument);
  EXPECT_TRUE(blocks.reread_partitions());
  node_->reads_partitions_busy = true;
  EXPECT_EQ(code_of(blocks.reread_partitions()), ErrorCode::busy);
}

TEST_F(ScsiTransportTest, TheDriveSaysWhyItRefusesSectors) {
  options_.family = Family::ata_security;
  ScsiTransport& transport = open();
  ASSERT_TRUE(transport.send(Protocol::ata, 1, list('p')));
  drive_->power_cycle();
  Bytes sectors(200 * 512);
  node_->requests.clear();
  EXPECT_EQ(code_of(transport.blocks()->read(3, sectors)), ErrorCode::conflict);
  EXPECT_EQ(code_of(transport.blocks()->write(3, sectors)), ErrorCode::conflict);
  EXPECT_THAT(cdbs(), ElementsAre("88 00 00 00 00 00 00 00 00 03 00 00 00 80 00 00",
                                  "8a 00 00 00 00 00 00 00 00 03 00 00 00 80 00 00"));
  // The sense data that drives give for a locked range.
  const Bytes locked{std::byte{0x72}, std::byte{0x07}, std::byte{0x20}, std::byte{0x02}};
  node_->planned.push_back({.sense = locked});
  EXPECT_EQ(code_of(transport.blocks()->read(0, sectors)), ErrorCode::not_permitted);
}

TEST_F(ScsiTransportTest, ACharacterNodeHasNoSectors) {
  EXPECT_EQ(open({.is_character = true}).blocks(), nullptr);
}

TEST_F(ScsiTransportTest, AUnitAttentionMeansThatTheCommandWasNotDone) {
  ScsiTransport& transport = open();
  const Bytes attention{std::byte{0x72}, std::byte{0x06}, std::byte{0x29}, std::byte{0x00}};
  Bytes buffer(512);
  for (int n = 0; n < 3; ++n) node_->planned.push_back({.sense = attention});
  EXPECT_TRUE(transport.receive(Protocol::tcg, 1, buffer));
  EXPECT_EQ(node_->requests.size(), 4u);
  for (int n = 0; n < 4; ++n) node_->planned.push_back({.sense = attention});
  EXPECT_EQ(code_of(transport.receive(Protocol::tcg, 1, buffer)), ErrorCode::busy);
  EXPECT_EQ(node_->requests.size(), 8u);
}

TEST_F(ScsiTransportTest, NothingElseIsEverSentTwice) {
  ScsiTransport& transport = open();
  const Bytes reset{std::byte{0x10}, std::byte{}, std::byte{}, std::byte{},
                    std::byte{},     std::byte{}, std::byte{}, std::byte{2}};
  struct Case {
    ScsiNode::Planned planned;
    ErrorCode code;
  };
  const Case cases[] = {
      {{.error_number = EINTR}, ErrorCode::timeout},
      {{.status = 0x08}, ErrorCode::busy},
      {{.status = 0x28}, ErrorCode::busy},
      {{.status = 0x18}, ErrorCode::conflict},
      {{.status = 0x40}, ErrorCode::timeout},
      {{.status = 0x02}, ErrorCode::io},  // A check condition without sense data.
      {{.host = 0x01}, ErrorCode::unavailable},
      {{.host = 0x03}, ErrorCode::timeout},
      {{.host = 0x08}, ErrorCode::timeout},
      {{.host = 0x07}, ErrorCode::io},
      {{.host = 0x0E}, ErrorCode::unavailable},
      {{.driver = 0x06}, ErrorCode::timeout},
  };
  for (const Case& one : cases) {
    node_->planned.push_back(one.planned);
    node_->requests.clear();
    EXPECT_EQ(code_of(transport.send(Protocol::com_id, 0x1000, reset)), one.code);
    EXPECT_EQ(node_->requests.size(), 1u);
  }
  EXPECT_EQ(drive_->commands(), 2u);  // Those of open().
}

TEST_F(ScsiTransportTest, ADeadDriveIsUnavailableAfterOneCommand) {
  drive_ = EmulatedDrive::open(options_).value();
  drive_->set_faults({.dead = true});
  EXPECT_EQ(code_of(try_open()), ErrorCode::unavailable);
  EXPECT_EQ(asked_, 1u);
}

TEST(ScsiSenseTest, EachSenseHasItsCode) {
  struct Case {
    std::uint64_t sense;
    ErrorCode code;
  };
  const Case cases[] = {
      {0x020401, ErrorCode::busy},
      {0x020402, ErrorCode::unavailable},
      {0x020403, ErrorCode::unavailable},
      {0x020407, ErrorCode::busy},
      {0x023A00, ErrorCode::unavailable},
      {0x031100, ErrorCode::io},
      {0x044400, ErrorCode::io},
      {0x052000, ErrorCode::unsupported},
      {0x052002, ErrorCode::not_permitted},
      {0x052100, ErrorCode::invalid_argument},
      {0x052400, ErrorCode::invalid_argument},
      {0x052600, ErrorCode::invalid_argument},
      {0x052C00, ErrorCode::conflict},
      {0x057471, ErrorCode::not_permitted},
      {0x057479, ErrorCode::not_permitted},
      {0x057440, ErrorCode::conflict},
      {0x062900, ErrorCode::busy},
      {0x072002, ErrorCode::not_permitted},
      {0x072700, ErrorCode::not_permitted},
      {0x0B0000, ErrorCode::conflict},
      {0x0B2E01, ErrorCode::timeout},
      {0x0B4700, ErrorCode::io},
      {0x0D0000, ErrorCode::io},
  };
  for (const Case& one : cases) {
    const ScsiSense sense{static_cast<std::uint8_t>(one.sense >> 16),
                          static_cast<std::uint8_t>(one.sense >> 8),
                          static_cast<std::uint8_t>(one.sense)};
    const auto error = sense_error(sense, "/dev/sdq");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code, one.code) << error->message;
    EXPECT_EQ(error->native, one.sense);
    EXPECT_THAT(error->message, HasSubstr("/dev/sdq: "));
  }
}

TEST(ScsiSenseTest, BothFormatsAreRead) {
  const Bytes descriptor = from_hex("7205240000000000").value();
  const Bytes fixed = from_hex("700005000000000a00000000240000000000").value();
  for (const Bytes& sense : {descriptor, fixed}) {
    const auto parsed = parse_sense(sense);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->key, 5);
    EXPECT_EQ(parsed->additional, 0x24);
  }
  EXPECT_FALSE(parse_sense({}));
  EXPECT_FALSE(parse_sense(from_hex("00").value()));
  EXPECT_FALSE(parse_sense(from_hex("7205").value()));
  EXPECT_FALSE(parse_sense(from_hex("7000").value()));
  // Cut short before the additional code: the key is there.
  EXPECT_EQ(parse_sense(from_hex("70000b").value())->key, 0x0B);
}

TEST(ScsiSenseTest, SuccessMayComeWithSense) {
  EXPECT_FALSE(sense_error({.key = 0}, "d"));
  EXPECT_FALSE(sense_error({.key = 1, .additional = 0x00, .qualifier = 0x1D}, "d"));
  // ATA PASS-THROUGH INFORMATION AVAILABLE: status 50h is good, 51h is not.
  const auto good = parse_sense(from_hex("7201001d0000000e090c000000000000000000000050").value());
  ASSERT_TRUE(good);
  EXPECT_EQ(good->ata_status, 0x50);
  EXPECT_FALSE(sense_error(*good, "d"));
  const auto bad = parse_sense(from_hex("7201001d0000000e090c000400000000000000000051").value());
  ASSERT_TRUE(bad);
  const auto error = sense_error(*bad, "d");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, ErrorCode::conflict);
  EXPECT_THAT(error->message, AllOf(HasSubstr("status 51"), HasSubstr("error 04")));
  // In the fixed format the registers lie in the information field.
  const auto fixed = parse_sense(from_hex("7000010451000000000000001d00").value());
  ASSERT_TRUE(fixed);
  EXPECT_FALSE(fixed->ata_status);  // 1D/00 is another code than 00/1D.
  const auto really = parse_sense(from_hex("700001045100000000000000001d").value());
  ASSERT_TRUE(really);
  EXPECT_TRUE(sense_error(*really, "d"));
}

}  // namespace
}  // namespace keyward::sed
