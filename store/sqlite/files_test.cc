#include "store/sqlite/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "store/sqlite/test_support.h"

namespace keyward::store {
namespace {

using sqlite_testing::TestDirectory;
using ::testing::HasSubstr;

TEST(StateLock, NamesTheOwnerAtOnce) {
  const TestDirectory directory;
  const std::string path = directory.file("lock");
  const auto held = StateLock::acquire(path);
  ASSERT_TRUE(held);
  const auto begun = std::chrono::steady_clock::now();
  const auto second = StateLock::acquire(path);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds{1});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy);
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(::getpid())));
}

// The owner dies while a child of its own, not yet another program, still has its files.
TEST(StateLock, WaitsForTheChildOfADeadOwner) {
  const TestDirectory directory;
  const std::string path = directory.file("lock");
  const pid_t owner = ::fork();
  ASSERT_GE(owner, 0);
  if (owner == 0) {
    const auto held = StateLock::acquire(path);
    if (::fork() == 0) ::usleep(300'000);
    ::_exit(held ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(owner, &status, 0), owner);
  ASSERT_EQ(status, 0);
  const auto lock = StateLock::acquire(path);
  EXPECT_TRUE(lock) << lock.error().message;
}

}  // namespace
}  // namespace keyward::store
