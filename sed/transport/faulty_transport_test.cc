#include "sed/transport/faulty_transport.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "sed/emulator/emulated_drive.h"

namespace keyward::sed {
namespace {

class FaultyTransportTest : public ::testing::Test {
 protected:
  FaultyTransportTest() {
    std::string name = ::testing::TempDir() + "keyward-faulty-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    EmulatedDriveOptions options;
    options.backing_file = directory_ / "a.drive";
    options.sectors = 64;
    options.data_store_bytes = options.shadow_mbr_bytes = 1u << 16;
    drive_ = EmulatedDrive::open(options).value();
  }
  ~FaultyTransportTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
  std::unique_ptr<EmulatedDrive> drive_;
  Bytes buffer_ = Bytes(512);
};

TEST_F(FaultyTransportTest, EachCallFailsWhenItsTurnComesAndTakesEffectOnlyIfPlanned) {
  using Call = std::function<bool(FaultyTransport&)>;
  const Call calls[] = {
      [&](FaultyTransport& to) { return to.identify(IdentifyPage::ata_device).has_value(); },
      [&](FaultyTransport& to) { return to.receive(Protocol::tcg, 1, buffer_).has_value(); },
      [&](FaultyTransport& to) { return to.send(Protocol::com_id, 5, buffer_).has_value(); },
      [&](FaultyTransport& to) { return to.blocks()->write(0, buffer_).has_value(); },
      [&](FaultyTransport& to) { return to.blocks()->read(0, buffer_).has_value(); },
  };
  for (const FaultMoment moment : {FaultMoment::before_effect, FaultMoment::after_effect}) {
    for (std::size_t n = 1; n <= std::size(calls); ++n) {
      FaultPlan plan(n, moment, {ErrorCode::timeout, "planned"});
      FaultyTransport transport(drive_->connect(), plan);
      const std::uint64_t before = drive_->commands();
      for (std::size_t i = 1; i <= std::size(calls); ++i)
        EXPECT_EQ(calls[i - 1](transport), i != n) << "call " << i << " with a fault at " << n;
      const bool lost = moment == FaultMoment::before_effect;
      EXPECT_EQ(drive_->commands() - before, std::size(calls) - (lost ? 1 : 0));
    }
  }
}

TEST_F(FaultyTransportTest, AfterACrashNothingIsHeardOfTheDrive) {
  FaultPlan plan(2, FaultMoment::crash_before, {ErrorCode::unavailable, "power cut"});
  FaultyTransport transport(drive_->connect(), plan);
  EXPECT_TRUE(transport.blocks()->reread_partitions());
  EXPECT_FALSE(transport.receive(Protocol::tcg, 1, buffer_));
  EXPECT_FALSE(transport.blocks()->reread_partitions());
  EXPECT_EQ(transport.identity().serial, drive_->options().identity.serial);
  EXPECT_EQ(transport.blocks()->sector_count(), 64u);
  EXPECT_EQ(drive_->commands(), 0u);
}

}  // namespace
}  // namespace keyward::sed
