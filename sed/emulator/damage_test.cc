// Damaged requests: whatever arrives, the drive lives on, and nothing is lost or opened by it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "sed/emulator/drive_fixture.h"

namespace keyward::sed {
namespace {

using namespace wire;

class DamageTest : public DriveTest {
 protected:
  DamageTest() {
    const char* seed = std::getenv("KEYWARD_SEED");
    seed_ = seed == nullptr ? std::random_device{}() : std::strtoul(seed, nullptr, 10);
    std::printf("KEYWARD_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    random_.seed(seed_);
    options_.try_limit = 0;
  }

  std::size_t below(std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>(0, limit - 1)(random_);
  }

  // A few bytes changed, some bytes taken out or doubled, or the end cut off.
  std::string damaged(std::string packet) {
    for (std::size_t n = 1 + below(3); n > 0; --n) {
      const std::size_t at = below(packet.size());
      switch (below(4)) {
        case 0:
          packet[at] = static_cast<char>(below(256));
          break;
        case 1:
          packet.erase(at, 1 + below(4));
          break;
        case 2:
          packet.insert(at, packet.substr(at, 1 + below(8)));
          break;
        default:
          packet.resize(std::max<std::size_t>(at, 24));
      }
      if (packet.size() < 24) packet.resize(24);
    }
    return packet;
  }

  // Methods that change the state only with the PIN, which damage does not find.
  std::vector<Tokens> requests() const {
    return {call(0xFF, 0xFF01, nam(0, lst(nam(tok("MaxComPacketSize"), num(4096))))),
            call(0xFF, 0xFF02,
                 num(1) + uid(kAdminSp) + num(1) + nam(0, tok("wrong")) + nam(3, uid(kSid))),
            call(kPinMsid, 0x0000000600000016, lst(nam(3, num(3)) + nam(4, num(3)))),
            call(kPinSid, 0x0000000600000017, nam(1, lst(nam(3, tok("stolen"))))),
            call(kThisSp, 0x0000000600000601, num(32)),
            call(0x0000000700000000, 0x000000060000000D, uid(kPinSid) + uid(0x0000000600000017)),
            call(kThisSp, 0x000000060000001C, uid(kSid) + nam(0, tok("wrong"))),
            call(kAdminSp, 0x0000000600000202, ""),
            std::string("\xFB\x00", 2),
            std::string("\xFC\x00", 2)};
  }

  std::uint64_t seed_ = 0;
  std::mt19937_64 random_;
};

TEST_F(DamageTest, NoDamagedRequestOpensOrStopsTheDrive) {
  SCOPED_TRACE("KEYWARD_SEED=" + std::to_string(seed_));
  take_ownership();
  write(0, 'A');
  const std::vector<Tokens> all = requests();
  Bytes buffer(65536);
  for (int n = 0; n < 4000; ++n) {
    WireHost h = host();
    const bool control = below(2) == 0;
    if (!control) h.start(kAdminSp);
    const Tokens& tokens = all[below(all.size())];
    h.send_raw(damaged(h.envelope(tokens, control ? 0 : h.tsn(), control ? 0 : 0x69)));
    drive().security_receive(1, 0x1000, buffer);
    std::string reset({0x10, 0, 0, 0, 0, 0, 0, 2});
    drive().security_send(2, 0x1000, std::as_bytes(std::span(reset)));
  }
  EXPECT_GT(drive().commands(), 12000u);
  reopen();
  WireHost h = host();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "owner"}).status, kSuccess);
  EXPECT_EQ(read(0), sectors('A'));
}

// The same for what lies outside of ComPackets.
TEST_F(DamageTest, AnyProtocolAndLengthIsAnswered) {
  SCOPED_TRACE("KEYWARD_SEED=" + std::to_string(seed_));
  take_ownership();
  constexpr std::uint8_t kProtocols[] = {0x00, 0x01, 0x02, 0x03, 0xEF, 0xFF};
  constexpr std::uint16_t kSpecifics[] = {0, 1, 2, 3, 4, 5, 6, 0x1000, 0x1001, 0xFFFF};
  for (int n = 0; n < 4000; ++n) {
    Bytes buffer(below(3) == 0 ? below(40) : below(1024));
    for (std::byte& byte : buffer) byte = static_cast<std::byte>(below(256));
    const std::uint8_t protocol = kProtocols[below(std::size(kProtocols))];
    const std::uint16_t specific = kSpecifics[below(std::size(kSpecifics))];
    if (below(2) == 0)
      drive().security_send(protocol, specific, buffer);
    else
      drive().security_receive(protocol, specific, buffer);
  }
  drive().power_cycle();
  WireHost h = host();
  EXPECT_EQ(h.start(kAdminSp, {.authority = kSid, .pin = "owner"}).status, kSuccess);
}

TEST_F(DriveTest, ADriveIsPoweredOnInOnePlaceOnly) {
  drive();
  const auto second = EmulatedDrive::open(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  reopen();
}

}  // namespace
}  // namespace keyward::sed
