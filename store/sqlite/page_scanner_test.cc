#include "store/sqlite/page_scanner.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "store/sqlite/test_support.h"

namespace keyward::store {
namespace {

using namespace sqlite_testing;

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

TEST(PageScanner, NamesFileOffsetAndNeedleOfEveryHit) {
  const TestDirectory directory;
  std::filesystem::create_directory(directory.file("keystores"));
  write_file(directory.file("keystores/S3.db"), std::string(100, 'x') + "canary-1canary-1");
  write_file(directory.file("keystores/S3.db-wal"), "canary-two and canary-1");
  write_file(directory.file("empty"), "");
  const ByteView needles[] = {as_bytes("canary-1"), as_bytes("canary-two"), as_bytes("not there")};
  const auto hits = scan_files_for(directory.path(), needles);
  ASSERT_THAT(hits, Succeeds());
  EXPECT_THAT(*hits, testing::ElementsAre(ScanHit{directory.file("keystores/S3.db"), 100, 0},
                                          ScanHit{directory.file("keystores/S3.db"), 108, 0},
                                          ScanHit{directory.file("keystores/S3.db-wal"), 0, 1},
                                          ScanHit{directory.file("keystores/S3.db-wal"), 15, 0}));
}

TEST(PageScanner, FindsNeedlesAcrossPiecesOnceAndAtTheVeryEnd) {
  const TestDirectory directory;
  constexpr std::size_t kPiece = 4u << 20;
  const std::string needle = "a needle that is rather long";
  for (const std::size_t at : {std::size_t{0}, kPiece - 1, kPiece - 20, kPiece, kPiece + 3,
                               2 * kPiece - 5, 2 * kPiece + needle.size()}) {
    std::string content(2 * kPiece + 2 * needle.size(), '.');
    content.replace(at, needle.size(), needle);
    write_file(directory.file("x"), content);
    const ByteView view = as_bytes(needle);
    const auto hits = scan_files_for(directory.path(), {&view, 1});
    ASSERT_THAT(hits, Succeeds());
    EXPECT_THAT(*hits, testing::ElementsAre(ScanHit{directory.file("x"), at, 0}));
  }
}

TEST(PageScanner, TellsApartNeedlesWithTheSameStart) {
  const TestDirectory directory;
  write_file(directory.file("x"), "same startB");
  const ByteView needles[] = {as_bytes("same startA"), as_bytes("same startB"),
                              as_bytes("same startB and more")};
  const auto hits = scan_files_for(directory.path(), needles);
  EXPECT_THAT(*hits, testing::ElementsAre(ScanHit{directory.file("x"), 0, 1}));
}

TEST(PageScanner, StopsAtTheGreatestNumberOfHits) {
  const TestDirectory directory;
  write_file(directory.file("x"), std::string(1000, 'a'));
  const ByteView needle = as_bytes("aaaaaaaa");
  EXPECT_EQ(scan_files_for(directory.path(), {&needle, 1}, 10)->size(), 10u);
}

TEST(PageScanner, RefusesShortNeedlesAndMissingDirectories) {
  const TestDirectory directory;
  const ByteView needle = as_bytes("short");
  EXPECT_THAT(scan_files_for(directory.path(), {&needle, 1}),
              FailsWith(ErrorCode::invalid_argument));
  const ByteView good = as_bytes("long enough");
  EXPECT_THAT(scan_files_for(directory.file("none"), {&good, 1}), FailsWith(ErrorCode::not_found));
}

TEST(PageScanner, FollowsNoSymbolicLink) {
  const TestDirectory directory;
  const TestDirectory elsewhere;
  write_file(elsewhere.file("x"), "long enough");
  std::filesystem::create_symlink(elsewhere.file("x"), directory.file("link"));
  const ByteView needle = as_bytes("long enough");
  EXPECT_TRUE(scan_files_for(directory.path(), {&needle, 1})->empty());
}

}  // namespace
}  // namespace keyward::store
