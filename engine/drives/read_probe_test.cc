#include "engine/drives/read_probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "engine/testing/memory_blocks.h"

namespace keyward::engine {
namespace {

constexpr std::string_view kSeed = "0b6f9c1e-0000-4000-8000-000000000001";

TEST(ReadProbe, SpreadsItsSectorsOverTheWholeDrive) {
  for (const std::uint64_t count : {std::uint64_t{65}, std::uint64_t{1'000'003},
                                    std::uint64_t{31'251'759'104}, ~std::uint64_t{0}}) {
    const auto sectors = probe_sectors(count, kSeed);
    ASSERT_EQ(sectors.size(), kProbeSectors) << count;
    EXPECT_EQ(sectors.front(), 0u);
    EXPECT_EQ(sectors.back(), count - 1);
    EXPECT_TRUE(std::ranges::is_sorted(sectors));
    EXPECT_EQ(std::set(sectors.begin(), sectors.end()).size(), kProbeSectors) << count;
    for (std::size_t i = 1; i < kProbeSectors; ++i)
      EXPECT_LE(sectors[i] - sectors[i - 1], 2 * (count / 62 + 1)) << count << " at " << i;
  }
}

TEST(ReadProbe, TakesAllSectorsOfASmallDrive) {
  EXPECT_TRUE(probe_sectors(0, kSeed).empty());
  EXPECT_EQ(probe_sectors(3, kSeed), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(probe_sectors(64, kSeed).size(), 64u);
}

TEST(ReadProbe, ChoosesByTheSeedAlone) {
  EXPECT_EQ(probe_sectors(1'000'000, kSeed), probe_sectors(1'000'000, kSeed));
  EXPECT_NE(probe_sectors(1'000'000, kSeed), probe_sectors(1'000'000, "another"));
}

// Computed apart, with Python's hashlib, from what the header says.
TEST(ReadProbe, ChoosesWhatTheDocumentSays) {
  const auto sectors = probe_sectors(1'000'000, kSeed);
  EXPECT_EQ((std::vector<std::uint64_t>{sectors[1], sectors[2], sectors[62]}),
            (std::vector<std::uint64_t>{9859, 17592, 988586}));
  MemoryBlocks blocks(1'000'000);
  EXPECT_EQ(ReadProbe::take(&blocks, kSeed).text(),
            "ab6452f9361a3b8b34f224529e48f25ed790aa72d3620b7ec2970080b9721db9");
}

TEST(ReadProbe, SaysThatAllSectorsChanged) {
  MemoryBlocks blocks(5000);
  const ReadProbe before = ReadProbe::take(&blocks, kSeed);
  blocks.new_media_key();
  const ProbeVerdict verdict = compare(before, ReadProbe::take(&blocks, kSeed));
  EXPECT_EQ(verdict.text, "all 64 sampled sectors changed");
  EXPECT_FALSE(verdict.data_remain);
}

TEST(ReadProbe, FindsOneSectorOfDataThatRemains) {
  MemoryBlocks blocks(5000);
  const ReadProbe before = ReadProbe::take(&blocks, kSeed);
  blocks.new_media_key();
  blocks.keep_old.insert(probe_sectors(5000, kSeed)[17]);
  const ProbeVerdict verdict = compare(before, ReadProbe::take(&blocks, kSeed));
  EXPECT_EQ(verdict.text, "1 of 64 sampled sectors still hold the data that they held before");
  EXPECT_TRUE(verdict.data_remain);
}

TEST(ReadProbe, DoesNotTakeBlankSectorsForData) {
  MemoryBlocks blocks(5000);
  const auto sectors = probe_sectors(5000, kSeed);
  blocks.blank.insert(sectors[3]);
  blocks.blank.insert(sectors[4]);
  const ReadProbe before = ReadProbe::take(&blocks, kSeed);
  blocks.new_media_key();
  const ProbeVerdict some = compare(before, ReadProbe::take(&blocks, kSeed));
  EXPECT_EQ(some.text,
            "all 62 sampled sectors that held data changed; 2 were blank before and are now");
  EXPECT_FALSE(some.data_remain);

  blocks.blank.insert(sectors.begin(), sectors.end());
  const ReadProbe empty = ReadProbe::take(&blocks, kSeed);
  EXPECT_EQ(compare(empty, empty).text,
            "all 64 sampled sectors were blank before and are now: this shows nothing");
}

TEST(ReadProbe, ALockedDriveIsAskedOnce) {
  MemoryBlocks blocks(5000);
  blocks.error = ErrorCode::not_permitted;
  const ReadProbe locked = ReadProbe::take(&blocks, kSeed);
  EXPECT_EQ(blocks.reads, 1u);
  EXPECT_EQ(locked.text(), "not readable: the drive says no\\x0a");
  blocks.error.reset();
  const ReadProbe open = ReadProbe::take(&blocks, kSeed);
  EXPECT_EQ(compare(locked, open).text,
            "nothing to compare: the sectors could not be read before the erase");
  EXPECT_EQ(compare(open, locked).text,
            "nothing to compare: the sectors could not be read after the erase");
  EXPECT_FALSE(compare(open, locked).data_remain);
}

TEST(ReadProbe, LeavesOutABadSector) {
  MemoryBlocks blocks(5000);
  blocks.bad.insert(probe_sectors(5000, kSeed)[9]);
  const ReadProbe before = ReadProbe::take(&blocks, kSeed);
  EXPECT_EQ(before.sectors.size(), 63u);
  EXPECT_NE(before.text().find(" (63 of 64 sectors: the drive says no"), std::string::npos);
  blocks.new_media_key();
  EXPECT_EQ(compare(before, ReadProbe::take(&blocks, kSeed)).text,
            "all 63 sampled sectors changed");
}

TEST(ReadProbe, WithoutSectorsThereIsNothingToRead) {
  EXPECT_EQ(ReadProbe::take(nullptr, kSeed).text(), "not readable: its sectors cannot be reached");
  MemoryBlocks none(0);
  EXPECT_EQ(ReadProbe::take(&none, kSeed).text(), "not readable: it has no sectors");
}

}  // namespace
}  // namespace keyward::engine
