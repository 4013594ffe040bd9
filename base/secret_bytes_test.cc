#include "base/secret_bytes.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/log.h"
#include "base/process.h"
#include "base/text.h"

namespace keyward {
namespace {

static_assert(!std::is_copy_constructible_v<SecretBytes>);
static_assert(!std::is_copy_assignable_v<SecretBytes>);
static_assert(std::is_nothrow_move_constructible_v<SecretBytes>);

bool is_zero(ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// The lines of /proc/self/smaps about the mapping that holds `address`.
std::string mapping_of(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  std::string lines;
  bool is_inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long first = 0;
    unsigned long last = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &last) == 2) {
      const auto wanted = reinterpret_cast<unsigned long>(address);
      is_inside = first <= wanted && wanted < last;
    }
    if (is_inside) lines += line + '\n';
  }
  return lines;
}

// Runs in a child, which may ruin its limits; true when it exits with 0.
template <typename Body>
bool in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class Pipe {
 public:
  explicit Pipe(std::string_view content) {
    EXPECT_EQ(::pipe2(ends_, O_CLOEXEC | O_NONBLOCK), 0);
    EXPECT_EQ(::write(ends_[1], content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
    ::close(ends_[1]);
  }
  ~Pipe() { ::close(ends_[0]); }
  int reader() const { return ends_[0]; }

 private:
  int ends_[2];
};

std::string read_back(std::string_view content, std::size_t size_max = 100) {
  const Pipe pipe(content);
  const Result<SecretBytes> secret = SecretBytes::read_from(pipe.reader(), size_max);
  if (!secret) return std::string(error_code_name(secret.error().code));
  const ByteView bytes = secret->reveal();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(SecretBytesTest, AllSizesAreZeroedAlignedAndWritableToTheLastByte) {
  for (const std::size_t size :
       {0u, 1u, 63u, 64u, 65u, 256u, 4095u, 4096u, 4097u, 65536u, 1048576u, 1048577u}) {
    SecretBytes secret = SecretBytes::allocate(size).value();
    EXPECT_EQ(secret.size(), size);
    EXPECT_TRUE(is_zero(secret.reveal())) << size;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(secret.reveal().data()) % 64, 0u) << size;
    std::ranges::fill(secret.reveal_mutable(), std::byte{0xa5});
  }
}

TEST(SecretBytesTest, MemoryIsWipedBeforeSomebodyElseGetsIt) {
  for (const std::size_t size : {1u, 32u, 100u, 4096u, 5000u}) {
    for (int round = 0; round < 50; ++round) {
      SecretBytes secret = SecretBytes::allocate(size).value();
      ASSERT_TRUE(is_zero(secret.reveal())) << size << " " << round;
      std::ranges::fill(secret.reveal_mutable(), std::byte{0xff});
    }
  }
}

TEST(SecretBytesTest, BothKindsOfMemoryAreLockedNotDumpedAndNotInherited) {
  for (const std::size_t size : {32u, 100000u}) {
    const SecretBytes secret = SecretBytes::random(size).value();
    const std::string mapping = mapping_of(secret.reveal().data());
    const std::size_t flags = mapping.find("VmFlags:");
    ASSERT_NE(flags, std::string::npos) << mapping;
    const std::string line = mapping.substr(flags, mapping.find('\n', flags) - flags) + " ";
    EXPECT_NE(line.find(" lo "), std::string::npos) << line;
    EXPECT_NE(line.find(" dd "), std::string::npos) << line;
    EXPECT_NE(line.find(" wf "), std::string::npos) << line;
    EXPECT_TRUE(in_child([&] { return is_zero(secret.reveal()); }));
    EXPECT_FALSE(is_zero(secret.reveal()));
  }
}

TEST(SecretBytesTest, AChildMayGoOnUsingTheArena) {
  const SecretBytes before = SecretBytes::random(32).value();
  EXPECT_TRUE(in_child([] {
    for (int round = 0; round < 1000; ++round)
      if (!is_zero(SecretBytes::allocate(48).value().reveal())) return false;
    return true;
  }));
}

TEST(SecretBytesTest, TakingWipesTheSource) {
  Bytes source(40, std::byte{7});
  const SecretBytes secret = SecretBytes::take_from(source).value();
  EXPECT_TRUE(is_zero(source));
  EXPECT_EQ(to_hex(secret.reveal().first(2)), "0707");
}

TEST(SecretBytesTest, MovingLeavesNothingBehindAndSelfAssignmentIsHarmless) {
  SecretBytes first = SecretBytes::random(32).value();
  const SecretBytes copy = first.duplicate().value();
  SecretBytes second = std::move(first);
  EXPECT_TRUE(constant_time_equal(second.reveal(), copy.reveal()));
  SecretBytes third = SecretBytes::random(5000).value();
  third = std::move(second);
  EXPECT_TRUE(constant_time_equal(third.reveal(), copy.reveal()));
  SecretBytes& alias = third;
  third = std::move(alias);
  EXPECT_TRUE(constant_time_equal(third.reveal(), copy.reveal()));
}

TEST(SecretBytesTest, TruncatingWipesTheRest) {
  for (const std::size_t size : {100u, 5000u}) {
    SecretBytes secret = SecretBytes::random(size).value();
    const std::byte* data = secret.reveal().data();
    secret.truncate(10);
    EXPECT_EQ(secret.size(), 10u);
    EXPECT_TRUE(is_zero({data + 10, size - 10}));
    EXPECT_FALSE(is_zero(secret.reveal()));
  }
}

TEST(SecretBytesTest, ReadingTakesExactlyOneNewlineOff) {
  EXPECT_EQ(read_back("secret"), "secret");
  EXPECT_EQ(read_back("secret\n"), "secret");
  EXPECT_EQ(read_back("secret\n\n"), "secret\n");
  EXPECT_EQ(read_back("secret\r\n"), "secret\r");
  EXPECT_EQ(read_back("\nsecret"), "\nsecret");
  EXPECT_EQ(read_back(std::string_view("a\0b", 3)), std::string("a\0b", 3));
}

TEST(SecretBytesTest, ReadingRefusesNothingAndTooMuch) {
  EXPECT_EQ(read_back(""), "invalid_argument");
  EXPECT_EQ(read_back("\n"), "invalid_argument");
  EXPECT_EQ(read_back("12345", 5), "12345");
  EXPECT_EQ(read_back("12345\n", 5), "12345");
  EXPECT_EQ(read_back("123456", 5), "invalid_argument");
  EXPECT_EQ(read_back("123456\n", 5), "invalid_argument");
  EXPECT_EQ(read_back("12345\n\n", 5), "invalid_argument");
  EXPECT_EQ(read_back(std::string(60000, 'x'), 5), "invalid_argument");
  EXPECT_EQ(SecretBytes::read_from(-1, 5).error().code, ErrorCode::io);
}

TEST(SecretBytesTest, AMebibyteComesThrough) {
  const std::string path = "/tmp/keyward-secret-" + std::to_string(::getpid());
  std::ofstream(path) << std::string(1048576, 'x');
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(SecretBytes::read_from(descriptor, 1048576).value().size(), 1048576u);
  ::lseek(descriptor, 0, SEEK_SET);
  EXPECT_FALSE(SecretBytes::read_from(descriptor, 1048575).has_value());
  ::close(descriptor);
  ::unlink(path.c_str());
}

TEST(SecretBytesTest, LargeOnesAreReusedWhenTheSizeIsAboutTheSame) {
  const std::byte* first = SecretBytes::random(1'000'000).value().reveal().data();
  const SecretBytes again = SecretBytes::allocate(1'000'100).value();
  EXPECT_EQ(again.reveal().data(), first);
  EXPECT_TRUE(is_zero(again.reveal()));
}

TEST(SecretBytesTest, ManyLargeOnesOfManySizesComeAndGo) {
  std::vector<SecretBytes> held;
  for (std::size_t size = 4097; size < 1'100'000; size += size / 7) {
    held.push_back(SecretBytes::random(size).value());
    if (held.size() == 4) held.erase(held.begin());
  }
  for (int round = 0; round < 300; ++round) held.push_back(SecretBytes::random(5000).value());
  held.clear();
  EXPECT_TRUE(is_zero(SecretBytes::allocate(5000).value().reveal()));
}

TEST(SecretBytesTest, ThreadsNeverShareABlock) {
  std::vector<std::jthread> threads;
  std::atomic<int> clashes = 0;
  for (int thread = 1; thread <= 4; ++thread)
    threads.emplace_back([&, mark = static_cast<std::byte>(thread)] {
      std::vector<SecretBytes> held;
      for (int round = 0; round < 3000; ++round) {
        held.push_back(SecretBytes::allocate(static_cast<std::size_t>(round % 300)).value());
        std::ranges::fill(held.back().reveal_mutable(), mark);
        if (held.size() < 20) continue;
        for (const SecretBytes& secret : held)
          if (!std::ranges::all_of(secret.reveal(), [&](std::byte is) { return is == mark; }))
            ++clashes;
        held.clear();
      }
    });
  threads.clear();
  EXPECT_EQ(clashes, 0);
}

TEST(ConstantTimeEqualTest, ComparesLengthsAndEveryByte) {
  Bytes a(33, std::byte{1});
  Bytes b = a;
  EXPECT_TRUE(constant_time_equal(a, b));
  EXPECT_TRUE(constant_time_equal({}, {}));
  EXPECT_FALSE(constant_time_equal(a, ByteView(b).first(32)));
  for (std::size_t at = 0; at < a.size(); ++at) {
    b[at] ^= std::byte{0x80};
    EXPECT_FALSE(constant_time_equal(a, b)) << at;
    b[at] ^= std::byte{0x80};
  }
}

// Gives up CAP_IPC_LOCK, which lifts the limit for root, and sets the limit.
bool limit_locked_memory(rlim_t bytes) {
  const rlimit limit{bytes, bytes};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return false;
  return ::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0;
}

TEST(LockedMemoryLimitTest, WhatCannotBeLockedIsExhaustedAndSaysHowToRaiseTheLimit) {
  EXPECT_TRUE(in_child([] {
    if (!limit_locked_memory(1 << 20)) return false;
    const Result<SecretBytes> secret = SecretBytes::allocate(2 << 20);
    return !secret && secret.error().code == ErrorCode::exhausted &&
           secret.error().message.find("LimitMEMLOCK") != std::string::npos;
  }));
}

TEST(LockedMemoryLimitTest, TheArenaItselfRunsIntoTheLimitAndRecovers) {
  EXPECT_TRUE(in_child([] {
    if (!limit_locked_memory(1 << 20)) return false;
    std::vector<SecretBytes> held;
    while (held.size() < 100000) {
      Result<SecretBytes> secret = SecretBytes::allocate(64);
      if (!secret) break;
      held.push_back(*std::move(secret));
    }
    if (held.size() == 100000) return false;
    held.clear();
    return SecretBytes::allocate(64).has_value();
  }));
}

TEST(LockedMemoryLimitTest, SparesAreGivenUpBeforeItIsExhausted) {
  EXPECT_TRUE(in_child([] {
    if (!limit_locked_memory(4 << 20)) return false;
    for (std::size_t size = 300'000; size < 800'000; size += 100'000)
      if (!SecretBytes::allocate(size)) return false;
    return SecretBytes::allocate(2'600'000).has_value();
  }));
}

TEST(HardenProcessTest, TooLittleLockedMemoryIsExhaustedWhenItIsRequired) {
  EXPECT_TRUE(in_child([] {
    if (!limit_locked_memory(64 << 10)) return false;
    const Result<void> hardened = harden_process(MemoryLock::required);
    return !hardened && hardened.error().code == ErrorCode::exhausted &&
           hardened.error().message.find("allows 64 KiB") != std::string::npos;
  }));
}

TEST(HardenProcessTest, BestEffortWarnsAndGoesOnWithoutLocks) {
  EXPECT_TRUE(in_child([] {
    if (!limit_locked_memory(64 << 10)) return false;
    int warnings = 0;
    set_log_sink(
        [&](LogLevel level, std::string_view) { warnings += level == LogLevel::warning ? 1 : 0; });
    if (!harden_process(MemoryLock::best_effort)) return false;
    const Result<SecretBytes> one = SecretBytes::random(2 << 20);
    const Result<SecretBytes> two = SecretBytes::random(2 << 20);
    return one && two && warnings == 2;  // At the start, and once when it first happens.
  }));
}

TEST(HardenProcessTest, TheProcessIsNotDumpableAndWritesNoCore) {
  EXPECT_TRUE(in_child([] {
    if (!harden_process(MemoryLock::best_effort)) return false;
    rlimit core{1, 1};
    ::getrlimit(RLIMIT_CORE, &core);
    return core.rlim_cur == 0 && core.rlim_max == 0 && ::prctl(PR_GET_DUMPABLE) == 0;
  }));
}

}  // namespace
}  // namespace keyward
