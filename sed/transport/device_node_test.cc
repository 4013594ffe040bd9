#include "sed/transport/device_node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sed/transport/device_transport.h"

namespace keyward::sed {
namespace {

using ::testing::HasSubstr;

ErrorCode code_of(const auto& result) { return result ? ErrorCode{255} : result.error().code; }

// A file stands for the node: what needs a block device is tested on nodes in software.
class DeviceNodeTest : public ::testing::Test {
 protected:
  DeviceNodeTest() {
    std::string name = ::testing::TempDir() + "keyward-node-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ / "sdq";
    std::ofstream(path_).put('x');
    std::filesystem::resize_file(path_, kBytes);
  }
  ~DeviceNodeTest() override { std::filesystem::remove_all(directory_); }

  static constexpr std::size_t kBytes = 1u << 20;
  std::filesystem::path directory_;
  std::string path_;
};

TEST_F(DeviceNodeTest, BytesArriveWhateverTheBuffersAlignment) {
  const auto node = DeviceNode::open(path_).value();
  // More than one transfer's worth, from an odd address.
  Bytes data(600 * 1024 + 1), read(data.size());
  for (std::size_t n = 0; n < data.size(); ++n) data[n] = static_cast<std::byte>(n * 7 + n / 512);
  const std::size_t size = 600 * 1024;
  ASSERT_TRUE(node->pwrite(8192, ByteView(data).subspan(1)));
  ASSERT_TRUE(node->pread(8192, MutableByteView(read).subspan(1)));
  EXPECT_TRUE(std::equal(data.begin() + 1, data.end(), read.begin() + 1));
  EXPECT_EQ(std::filesystem::file_size(path_), kBytes);
  EXPECT_EQ(code_of(node->pread(kBytes - 512 * 1024, MutableByteView(read).first(size))),
            ErrorCode::invalid_argument);
}

TEST_F(DeviceNodeTest, OneProcessHasTheNodeAtATime) {
  auto first = DeviceNode::open(path_);
  ASSERT_TRUE(first);
  const auto second = DeviceNode::open(path_);
  EXPECT_EQ(code_of(second), ErrorCode::busy);
  EXPECT_THAT(second.error().message, HasSubstr("another process"));
  first->reset();
  EXPECT_TRUE(DeviceNode::open(path_));
}

TEST_F(DeviceNodeTest, ErrnoBecomesTheCodeThatCallersBranchOn) {
  EXPECT_EQ(code_of(DeviceNode::open(directory_ / "none")), ErrorCode::unavailable);
  const auto node = DeviceNode::open(path_).value();
  EXPECT_FALSE(node->geometry());  // No block device.
  int argument = 0;
  const auto answer = node->ioctl(0x2285, &argument);
  EXPECT_EQ(code_of(answer), ErrorCode::unsupported);
  EXPECT_EQ(answer.error().native, static_cast<std::uint64_t>(ENOTTY));
  EXPECT_THAT(answer.error().message, HasSubstr(path_));
  EXPECT_EQ(node->ioctl(FIONREAD, &argument).value(), 0);
}

TEST_F(DeviceNodeTest, ALinkLeadsToItsNode) {
  std::filesystem::create_symlink("sdq", directory_ / "by-id");
  EXPECT_EQ(code_of(open_device(directory_ / "by-id")), ErrorCode::unsupported);
  const auto node = DeviceNode::open(path_).value();
  EXPECT_EQ(code_of(open_device(directory_ / "by-id")), ErrorCode::busy);
  EXPECT_EQ(code_of(open_device(directory_ / "none")), ErrorCode::unavailable);
}

}  // namespace
}  // namespace keyward::sed
