#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/text.h"

namespace keyward {
namespace {

class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string directory = "/tmp/keyward-file-XXXXXX";
    root_ = mkdtemp(directory.data());
  }
  ~FileTest() override { std::filesystem::remove_all(root_); }
  static Bytes bytes(std::string_view text) {
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
  }
  std::string root_;
};

TEST_F(FileTest, WhatIsWrittenIsReadAndReplacedWhole) {
  const std::string path = root_ + "/file";
  for (const char* text : {"first, which is longer", "second", ""}) {
    ASSERT_TRUE(write_file_durably(path, as_bytes(text)).has_value());
    EXPECT_EQ(read_file(path, 100).value(), bytes(text));
  }
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST_F(FileTest, ErrorsNameTheFileAndItsKind) {
  const std::string path = root_ + "/missing/file";
  EXPECT_EQ(read_file(path, 10).error().code, ErrorCode::not_found);
  EXPECT_EQ(write_file_durably(path, {}).error().code, ErrorCode::not_found);
  EXPECT_NE(read_file(path, 10).error().message.find(path), std::string::npos);
  EXPECT_EQ(read_file(root_, 10).error().code, ErrorCode::io);
}

TEST_F(FileTest, AFileLongerThanAllowedIsExhausted) {
  const std::string path = root_ + "/file";
  ASSERT_TRUE(write_file_durably(path, as_bytes("12345")).has_value());
  EXPECT_EQ(read_file(path, 5).value().size(), 5u);
  EXPECT_EQ(read_file(path, 4).error().code, ErrorCode::exhausted);
  const Bytes large(100'000, std::byte{7});
  ASSERT_TRUE(write_file_durably(path, large));
  EXPECT_EQ(read_file(path, 1u << 20).value(), large);
  EXPECT_EQ(read_file(path, large.size()).value(), large);
  EXPECT_EQ(read_file(path, large.size() - 1).error().code, ErrorCode::exhausted);
}

TEST_F(FileTest, AFullDiskIsExhaustedAndTheOldContentStays) {
  EXPECT_EQ(write_file_durably("/dev/full/x", {}).error().code, ErrorCode::io);
  const std::string path = root_ + "/file";
  ASSERT_TRUE(write_file_durably(path, as_bytes("old")).has_value());
  std::filesystem::create_symlink("/dev/full", path + ".new");
  EXPECT_EQ(write_file_durably(path, as_bytes("new")).error().code, ErrorCode::exhausted);
  EXPECT_EQ(read_file(path, 10).value(), bytes("old"));
}

TEST_F(FileTest, ADescriptorIsClosedByItsLastOwner) {
  const int number = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    Descriptor first(number);
    const Descriptor second = std::move(first);
    EXPECT_FALSE(first.is_open());  // NOLINT(bugprone-use-after-move): that is the question.
    EXPECT_EQ(second.get(), number);
    EXPECT_NE(::fcntl(number, F_GETFD), -1);
  }
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

}  // namespace
}  // namespace keyward
