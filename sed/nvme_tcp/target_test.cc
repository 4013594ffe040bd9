// Names, addresses, and the parts of pdu.h that no conversation reaches.
#include "sed/nvme_tcp/server_fixture.h"

namespace keyward::sed::nvme {
namespace {

class TargetTest : public DriveTest {
 protected:
  TargetTest() { options_.bus = Bus::nvme; }
  Result<std::string> add() {
    drive_ = EmulatedDrive::open(options_).value();
    return target_.add(*drive_);
  }
  Target target_;
};

TEST_F(TargetTest, ADriveOfAnotherBusIsUnsupported) {
  options_.bus = Bus::sata;
  EXPECT_EQ(add().error().code, ErrorCode::unsupported);
}

TEST_F(TargetTest, ASerialNumberThatMakesNoNameIsInvalid) {
  options_.identity.serial = "A B";
  EXPECT_EQ(add().error().code, ErrorCode::invalid_argument);
}

TEST_F(TargetTest, TwoDrivesOfOneSerialNumberAreRefused) {
  EXPECT_EQ(add().value(), kNqn);
  EXPECT_EQ(target_.add(*drive_).error().code, ErrorCode::already_exists);
}

TEST_F(TargetTest, AnAddressThatOthersReachNeedsPermission) {
  EXPECT_EQ(Server::start(target_, {.address = "0.0.0.0", .port = 0}).error().code,
            ErrorCode::not_permitted);
  EXPECT_EQ(Server::start(target_, {.address = "::", .port = 0}).error().code,
            ErrorCode::not_permitted);
  EXPECT_NE(Server::start(target_, {.address = "0.0.0.0", .port = 0, .allow_remote = true})
                .value()
                ->port(),
            0);
}

TEST_F(TargetTest, APortInUseIsNamed) {
  const auto first = Server::start(target_, {.port = 0}).value();
  const auto second = Server::start(target_, {.port = first->port()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::io);
  EXPECT_TRUE(second.error().message.contains(std::to_string(first->port())));
}

TEST(ParseListenTest, TakesAnAddressAndAPort) {
  const ServerOptions v4 = parse_listen("127.0.0.2:4421").value();
  EXPECT_EQ(v4.address, "127.0.0.2");
  EXPECT_EQ(v4.port, 4421);
  EXPECT_EQ(parse_listen("[::1]:0").value().address, "::1");
  for (const std::string_view wrong :
       {"", ":", "4420", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:4420x", "::1:4420", "[127.0.0.1]:4420", "localhost:4420", "[::1]", "[]:1"})
    EXPECT_EQ(parse_listen(wrong).error().code, ErrorCode::invalid_argument) << wrong;
}

TEST(PduTest, ATermReqCarriesNoMoreThanItsLimit) {
  const Bytes term = build_term_req({FatalStatus::sequence_error, 0}, Bytes(4096));
  EXPECT_EQ(term.size(), 152u);
  EXPECT_EQ(get_field(term, 4, 4), 152u);
}

TEST(PduTest, TheIcReqsAlignmentIsInDwords) {
  Bytes pdu(128);
  const CommonHeader header{PduType::ic_req, 0, 128, 0, 128};
  EXPECT_EQ(parse_ic_req(header, pdu)->data_alignment, 4u);
  pdu[10] = std::byte{31};
  EXPECT_EQ(parse_ic_req(header, pdu)->data_alignment, 128u);
  pdu[10] = std::byte{32};
  EXPECT_EQ(parse_ic_req(header, pdu).error().field, 10u);
}

}  // namespace
}  // namespace keyward::sed::nvme
