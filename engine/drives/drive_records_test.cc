#include "engine/drives/drive_records.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

TEST(DriveRecordsTest, EachMarkOfARestoreIsTakenOnceAndIsAnother) {
  EngineRig rig;
  const std::string state = rig.state().string();
  const std::filesystem::path mark = rig.state() / "restored";
  DriveRecords records(rig.backend().control(), rig.clock());
  EXPECT_FALSE(records.take_restored_mark(state).value());
  EXPECT_EQ(records.restored().value(), "");
  std::ofstream(mark).close();
  EXPECT_TRUE(records.take_restored_mark(state).value());
  EXPECT_FALSE(std::filesystem::exists(mark));
  const std::string first = records.restored().value();
  EXPECT_NE(first, "");
  EXPECT_FALSE(records.take_restored_mark(state).value());
  EXPECT_EQ(records.restored().value(), first);
  std::ofstream(mark).close();
  EXPECT_TRUE(records.take_restored_mark(state).value());
  EXPECT_NE(records.restored().value(), first);
}

// Then it stays, and with it what it stands for.
TEST(DriveRecordsTest, AMarkThatCannotBeStoredIsNotRemoved) {
  EngineRig rig;
  const std::filesystem::path mark = rig.state() / "restored";
  std::ofstream(mark).close();
  FaultPlan plan(1, FaultMoment::before_effect, {ErrorCode::io, "planned"});
  FaultyControlStore control(rig.backend().control(), plan);
  for (int n = 1; n <= 2; ++n) {
    plan.arm(static_cast<std::size_t>(n), FaultMoment::before_effect);
    EXPECT_FALSE(DriveRecords(control, rig.clock()).take_restored_mark(rig.state().string()));
    EXPECT_TRUE(std::filesystem::exists(mark));
  }
}

TEST(DriveRecordsTest, ARecordIsKeptAndWrittenOnceADay) {
  EngineRig rig;
  DriveRecords records(rig.backend().control(), rig.clock());
  DriveRecord record = records.load("5000c500a1b2c3d4").value();
  EXPECT_FALSE(record.last_seen);
  record.serial = "Z1";
  const auto version = [&] {
    return rig.backend().control().load("drive/5000c500a1b2c3d4").value().version;
  };
  ASSERT_TRUE(records.save(record));
  const std::uint64_t first = version();
  ASSERT_TRUE(records.save(record));
  EXPECT_EQ(version(), first);
  rig.advance(std::chrono::hours{24});
  ASSERT_TRUE(records.save(record));
  EXPECT_GT(version(), first);
  ASSERT_EQ(records.load_all().value().size(), 1u);
  EXPECT_EQ(records.load_all().value().front().serial, "Z1");
}

}  // namespace
}  // namespace keyward::engine
