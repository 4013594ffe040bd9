#include "cli/terminal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace keyward::cli {
namespace {

// A pipe with `content` in it, whose writing end is closed.
class Pipe {
 public:
  explicit Pipe(std::string content) {
    EXPECT_EQ(::pipe(ends_), 0);
    writer_ = std::jthread([this, content = std::move(content)] {
      std::string_view rest = content;
      while (!rest.empty()) {
        const ssize_t written = ::write(ends_[1], rest.data(), rest.size());
        if (written <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(written));
      }
      ::close(ends_[1]);
    });
  }
  ~Pipe() { ::close(ends_[0]); }
  int reader() const { return ends_[0]; }

 private:
  int ends_[2] = {-1, -1};
  std::jthread writer_;
};

std::string text_of(const SecretBytes& secret) {
  return {reinterpret_cast<const char*>(secret.reveal().data()), secret.size()};
}

TEST(ReadSecretTest, APipesBytesComeWholeWithTheirNewline) {
  const Pipe pipe(std::string("a\0b\n", 4));
  const auto secret = read_secret(pipe.reader(), "", 16);
  ASSERT_TRUE(secret) << secret.error().message;
  EXPECT_EQ(text_of(*secret), std::string("a\0b\n", 4));
}

TEST(ReadSecretTest, AnEmptySecretIsRefused) {
  const Pipe pipe("");
  const auto secret = read_secret(pipe.reader(), "", 16);
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code, ErrorCode::invalid_argument);
}

TEST(ReadSecretTest, TheLongestIsTakenAndOneByteMoreRefused) {
  const std::size_t size_max = 1u << 20;
  const Pipe fits(std::string(size_max, 'x'));
  const auto secret = read_secret(fits.reader(), "", size_max);
  ASSERT_TRUE(secret) << secret.error().message;
  EXPECT_EQ(secret->size(), size_max);
  const Pipe too_long(std::string(size_max + 1, 'x'));
  EXPECT_FALSE(read_secret(too_long.reader(), "", size_max));
}

TEST(ReadSecretTest, AClosedDescriptorIsAnIoError) {
  const auto secret = read_secret(999, "", 16);
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code, ErrorCode::io);
}

TEST(ProgressLineTest, ShowsBarRateAndTimeLeft) {
  api::RekeyStatus status;
  status.domain = "S3";
  status.state = api::DomainState::in_progress;
  status.phase = "reencrypt";
  status.entries_done = 270'000;
  status.entries_total = 1'000'000;
  status.entries_per_second = 251'000.4;
  status.seconds_left = 3;
  EXPECT_EQ(progress_line(status),
            "S3            reencrypt  [#####---------------]  27 %  270,000/1,000,000  251,000/s  "
            "3 s left");
}

TEST(ProgressLineTest, AnEmptyDomainIsWholeNotDividedByZero) {
  api::RekeyStatus status;
  status.domain = "FTP";
  status.phase = "verify";
  EXPECT_NE(progress_line(status).find("100 %  0/0"), std::string::npos) << progress_line(status);
}

TEST(ProgressLineTest, TheReportNamesWhatStillOpensTheOldKey) {
  api::RekeyStatus status;
  status.domain = "S3";
  status.outcome = api::RekeyOutcome::destroyed_except;
  status.except = {"passphrase:safe"};
  EXPECT_EQ(progress_line(status), "S3            DESTROYED EXCEPT passphrase:safe");
}

}  // namespace
}  // namespace keyward::cli
