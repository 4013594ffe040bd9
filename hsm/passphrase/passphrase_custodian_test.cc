#include "hsm/passphrase/passphrase_custodian.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "hsm/testing/custodian_contract.h"

namespace keyward::hsm {
namespace {

using testing::HasSubstr;

constexpr std::string_view kRight = "correct horse battery staple";
constexpr std::string_view kWrong = "incorrect horse battery staple";
// The floor: a test is not the place to be slow on purpose.
constexpr std::string_view kCheap = "scrypt_n = 16384\n";

SecretBytes secret(std::string_view text) {
  std::string copy(text);
  return SecretBytes::take_from(std::as_writable_bytes(std::span(copy))).value();
}

class PassphraseCustodianTest : public testing::Test {
 protected:
  PassphraseCustodianTest() {
    std::string directory = "/tmp/keyward-passphrase-XXXXXX";
    root_ = mkdtemp(directory.data());
  }
  ~PassphraseCustodianTest() override { std::filesystem::remove_all(root_); }

  std::string state_dir() const { return root_ + "/state/passphrase-safe"; }
  std::string check_path() const { return state_dir() + "/passphrase-safe.check"; }

  Result<std::unique_ptr<Custodian>> open(std::string_view source, std::string_view more = kCheap) {
    const std::string settings = fmt::format("source = \"{}\"\n{}", source, more);
    return open_passphrase_custodian({"passphrase", "safe", settings, state_dir()}, *clock_);
  }
  std::unique_ptr<Custodian> open_with(std::string_view passphrase,
                                       std::string_view more = kCheap) {
    std::unique_ptr<Custodian> custodian = open("prompt", more).value();
    const Result<void> supplied = supply(*custodian, passphrase);
    EXPECT_TRUE(supplied.has_value()) << supplied.error().message;
    return custodian;
  }
  static Result<void> supply(Custodian& custodian, std::string_view passphrase) {
    return dynamic_cast<NeedsPassphrase&>(custodian).supply(secret(passphrase));
  }
  std::string write_file(std::string_view text, mode_t mode = 0600) const {
    const std::string path = root_ + "/passphrase";
    std::filesystem::remove(path);
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  std::string root_;
  std::unique_ptr<Clock> clock_ = real_clock();
};

TEST_F(PassphraseCustodianTest, KeepsTheContract) {
  const std::unique_ptr<Custodian> custodian = open_with(kRight);
  EXPECT_FALSE(custodian->destroys());
  EXPECT_EQ(custodian->id().text, "passphrase:safe");
  check_custodian_contract(*custodian);
}

TEST_F(PassphraseCustodianTest, CopiesOpenAfterARestartAndWithoutTheStateDirectory) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = open_with(kRight)->generate(context).value();
  for (const bool lost : {false, true}) {
    if (lost) std::filesystem::remove_all(state_dir());
    const SecretBytes again = open_with(kRight)->unseal(made.copy, context).value();
    EXPECT_TRUE(constant_time_equal(again.reveal(), made.key.reveal()));
  }
}

TEST_F(PassphraseCustodianTest, OneSaltServesAllThatTheNodeSeals) {
  const SealedKey one = open_with(kRight)->generate(fresh_context()).value().copy;
  const SealedKey two = open_with(kRight)->generate(fresh_context()).value().copy;
  EXPECT_EQ(PassphraseBlob::parse(one.blob)->salt, PassphraseBlob::parse(two.blob)->salt);
  EXPECT_NE(PassphraseBlob::parse(one.blob)->nonce, PassphraseBlob::parse(two.blob)->nonce);
}

TEST_F(PassphraseCustodianTest, WithoutItsPassphraseItIsUnavailableAndSaysHowToGiveIt) {
  const std::unique_ptr<Custodian> custodian = open("prompt").value();
  EXPECT_FALSE(dynamic_cast<NeedsPassphrase&>(*custodian).has_passphrase());
  const auto made = custodian->generate(fresh_context());
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, ErrorCode::unavailable);
  EXPECT_THAT(made.error().message, HasSubstr("keyward custodians unlock passphrase:safe"));
  EXPECT_EQ(custodian->probe().error().code, ErrorCode::unavailable);
  EXPECT_TRUE(custodian->identity().has_value());
  EXPECT_TRUE(supply(*custodian, kRight).has_value());
  EXPECT_TRUE(dynamic_cast<NeedsPassphrase&>(*custodian).has_passphrase());
  EXPECT_TRUE(custodian->probe().has_value());
}

TEST_F(PassphraseCustodianTest, ShortAndOverlongPassphrasesAreRefused) {
  const std::unique_ptr<Custodian> custodian = open("prompt").value();
  EXPECT_EQ(supply(*custodian, "elevenbytes").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(supply(*custodian, std::string(1025, 'x')).error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(supply(*custodian, "twelve bytes").has_value());
  EXPECT_TRUE(supply(*custodian, std::string(1024, 'x')).has_value());
}

TEST_F(PassphraseCustodianTest, AMistypedPassphraseIsRefusedBeforeItSealsAnything) {
  const KeyContext context = fresh_context();
  const std::unique_ptr<Custodian> custodian = open_with(kRight);
  const GeneratedKey made = custodian->generate(context).value();
  const Result<void> refused = supply(*custodian, kWrong);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::auth_failed);
  EXPECT_THAT(refused.error().message, Not(HasSubstr("horse")));
  // The right one is still in place, and after a restart it is the same.
  EXPECT_TRUE(custodian->unseal(made.copy, context).has_value());
  const std::unique_ptr<Custodian> restarted = open("prompt").value();
  EXPECT_EQ(supply(*restarted, kWrong).error().code, ErrorCode::auth_failed);
  EXPECT_EQ(restarted->unseal(made.copy, context).error().code, ErrorCode::unavailable);
  EXPECT_TRUE(supply(*restarted, kRight).has_value());
  EXPECT_TRUE(restarted->unseal(made.copy, context).has_value());
}

TEST_F(PassphraseCustodianTest, WithoutTheCheckFileAWrongPassphraseIsAuthFailedAndNotCorrupt) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = open_with(kRight)->generate(context).value();
  std::filesystem::remove(check_path());
  const std::unique_ptr<Custodian> custodian = open_with(kWrong);
  EXPECT_TRUE(custodian->probe().has_value());
  EXPECT_FALSE(std::filesystem::exists(check_path())) << "a probe remembered a wrong passphrase";
  const auto opened = custodian->unseal(made.copy, context);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::auth_failed);
  EXPECT_THAT(opened.error().message, HasSubstr("keyward custodians unlock passphrase:safe"));
  EXPECT_FALSE(std::filesystem::exists(check_path()));
  EXPECT_TRUE(supply(*custodian, kRight).has_value());
  EXPECT_TRUE(custodian->unseal(made.copy, context).has_value());
  EXPECT_TRUE(std::filesystem::exists(check_path()));
}

TEST_F(PassphraseCustodianTest, ADamagedCheckFileIsMadeAnewAndKeysStillOpen) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = open_with(kRight)->generate(context).value();
  for (const std::string& damage : {std::string("rubbish"), std::string(5000, 'x')}) {
    std::ofstream(check_path(), std::ios::trunc) << damage;
    std::string logged;
    set_log_sink([&](LogLevel, std::string_view text) { logged += text; });
    const std::unique_ptr<Custodian> custodian = open_with(kRight);
    set_log_sink(nullptr);
    EXPECT_THAT(logged, HasSubstr("passphrase-safe.check"));
    EXPECT_TRUE(custodian->unseal(made.copy, context).has_value());
    EXPECT_EQ(supply(*open("prompt").value(), kWrong).error().code, ErrorCode::auth_failed);
  }
}

TEST_F(PassphraseCustodianTest, TheCheckFileIsReadableByItsOwnerAlone) {
  static_cast<void>(open_with(kRight)->generate(fresh_context()).value());
  struct stat status {};
  ASSERT_EQ(::stat(check_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(PassphraseCustodianTest, AFileIsReadAtFirstUseAndAgainWhenItWasWrong) {
  const KeyContext context = fresh_context();
  const GeneratedKey made = open_with(kRight)->generate(context).value();
  const std::string path = root_ + "/passphrase";
  const std::unique_ptr<Custodian> custodian = open("file:" + path).value();
  EXPECT_EQ(custodian->unseal(made.copy, context).error().code, ErrorCode::unavailable);
  write_file(std::string(kWrong) + "\n");
  EXPECT_EQ(custodian->unseal(made.copy, context).error().code, ErrorCode::auth_failed);
  write_file(std::string(kRight) + "\n");
  EXPECT_TRUE(custodian->unseal(made.copy, context).has_value());
}

TEST_F(PassphraseCustodianTest, AFileThatOthersCanReadIsNotUsed) {
  for (const mode_t mode : {0640, 0604, 0660, 0620}) {
    const std::string path = write_file(kRight, mode);
    const auto made = open("file:" + path).value()->generate(fresh_context());
    ASSERT_FALSE(made.has_value()) << mode;
    EXPECT_EQ(made.error().code, ErrorCode::not_permitted) << mode;
  }
  EXPECT_TRUE(
      open("file:" + write_file(kRight, 0400)).value()->generate(fresh_context()).has_value());
}

TEST_F(PassphraseCustodianTest, AFifoInTheFilesPlaceIsRefusedAndNotWaitedFor) {
  const std::string path = root_ + "/fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(open("file:" + path).value()->probe().error().code, ErrorCode::not_permitted);
}

TEST_F(PassphraseCustodianTest, ADescriptorIsReadAtOpenAndClosed) {
  const int descriptor = ::open(write_file(kRight).c_str(), O_RDONLY);
  const auto custodian = open(fmt::format("fd:{}", descriptor));
  ASSERT_TRUE(custodian.has_value()) << custodian.error().message;
  EXPECT_TRUE((*custodian)->probe().has_value());
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
  EXPECT_FALSE(open(fmt::format("fd:{}", descriptor)).has_value());
}

TEST_F(PassphraseCustodianTest, ACredentialComesFromSystemdsDirectory) {
  write_file(kRight, 0440);
  ::setenv("CREDENTIALS_DIRECTORY", root_.c_str(), 1);
  EXPECT_TRUE(open("credential:passphrase").value()->probe().has_value());
  for (const char* name : {"", "..", "a/b"})
    EXPECT_FALSE(open(std::string("credential:") + name).has_value()) << name;
  ::unsetenv("CREDENTIALS_DIRECTORY");
  EXPECT_EQ(open("credential:passphrase").error().code, ErrorCode::invalid_argument);
}

TEST_F(PassphraseCustodianTest, WrongSettingsAreNamed) {
  const auto refused = [&](const std::string& settings) {
    const auto parsed = parse_passphrase_settings(settings);
    EXPECT_FALSE(parsed.has_value()) << settings;
    if (parsed.has_value()) return std::string();
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument) << settings;
    return parsed.error().message;
  };
  EXPECT_THAT(refused(""), HasSubstr("\"source\""));
  EXPECT_THAT(refused("source = \"correct horse battery staple\""), Not(HasSubstr("horse")));
  EXPECT_THAT(refused("source = 3"), HasSubstr("\"source\""));
  EXPECT_THAT(refused("source = \"file:relative\""), HasSubstr("absolute"));
  for (const char* descriptor : {"", "1", "2", "-1", "x", "3x", "99999999999", "1024"})
    EXPECT_THAT(refused(fmt::format("source = \"fd:{}\"", descriptor)), HasSubstr("fd:3"));
  EXPECT_THAT(refused("source = \"prompt\"\npassphrase = \"x\""), HasSubstr("\"passphrase\""));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_n = 8192"), HasSubstr("16384"));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_n = 100000"), HasSubstr("power of two"));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_n = 2097152"), HasSubstr("1048576"));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_n = -1"), HasSubstr("scrypt_n"));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_r = 7"), HasSubstr("r 8"));
  EXPECT_THAT(refused("source = \"prompt\"\nscrypt_n = 1048576\nscrypt_r = 16"),
              HasSubstr("1 GiB"));
  EXPECT_THAT(refused("source = \"prompt"), HasSubstr("TOML"));
}

TEST_F(PassphraseCustodianTest, ThreadsMayUseItAtOnce) {
  const std::unique_ptr<Custodian> custodian = open_with(kRight);
  std::vector<std::jthread> threads;
  std::atomic<int> failures = 0;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        const KeyContext context = fresh_context();
        const auto made = custodian->generate(context);
        if (!made || !custodian->unseal(made->copy, context)) ++failures;
      }
    });
  threads.clear();
  EXPECT_EQ(failures, 0);
}

PassphraseBlob sample_blob() {
  PassphraseBlob blob;
  blob.cost = {1u << 15, 9, 2};
  blob.salt.fill(std::byte{1});
  blob.commitment.fill(std::byte{2});
  blob.nonce.fill(std::byte{3});
  blob.ciphertext.fill(std::byte{4});
  blob.tag.fill(std::byte{5});
  return blob;
}

// The bytes with their digest put right again, as somebody with bad intentions would.
Bytes with_digest(Bytes bytes) {
  bytes.resize(bytes.size() - 16);
  const crypto::Sha256Digest digest = crypto::sha256(bytes);
  bytes.insert(bytes.end(), digest.begin(), digest.begin() + 16);
  return bytes;
}

TEST(PassphraseBlobTest, ComesBackAsItWas) {
  const Bytes bytes = sample_blob().render();
  EXPECT_EQ(bytes.size(), 128u);
  const PassphraseBlob blob = PassphraseBlob::parse(bytes).value();
  EXPECT_EQ(blob.cost.n, 1u << 15);
  EXPECT_EQ(blob.cost.r, 9u);
  EXPECT_EQ(blob.cost.p, 2u);
  EXPECT_EQ(blob.render(), bytes);
}

TEST(PassphraseBlobTest, EveryChangedByteIsCorrupt) {
  const Bytes bytes = sample_blob().render();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    Bytes changed = bytes;
    changed[at] ^= std::byte{1};
    EXPECT_EQ(PassphraseBlob::parse(changed).error().code, ErrorCode::corrupt) << at;
  }
}

TEST(PassphraseBlobTest, ACostOutsideTheLimitsIsRefusedBeforeMemoryIsSpent) {
  const auto with_cost = [](int log2_n, int r, int p) {
    Bytes bytes = sample_blob().render();
    bytes[1] = static_cast<std::byte>(log2_n);
    bytes[2] = static_cast<std::byte>(r);
    bytes[3] = static_cast<std::byte>(p);
    return PassphraseBlob::parse(with_digest(bytes));
  };
  EXPECT_TRUE(with_cost(14, 8, 1).has_value());
  EXPECT_TRUE(with_cost(20, 8, 4).has_value());
  for (const auto& [log2_n, r, p] : {std::tuple{13, 8, 1},
                                     {21, 8, 1},
                                     {63, 8, 1},
                                     {64, 8, 1},
                                     {255, 8, 1},
                                     {0, 8, 1},
                                     {17, 7, 1},
                                     {17, 17, 1},
                                     {17, 0, 1},
                                     {17, 8, 0},
                                     {17, 8, 5},
                                     {20, 9, 1}})
    EXPECT_EQ(with_cost(log2_n, r, p).error().code, ErrorCode::corrupt) << log2_n << r << p;
}

TEST(PassphraseBlobTest, AFormatOfALaterVersionIsUnsupported) {
  Bytes bytes = sample_blob().render();
  bytes[0] = std::byte{2};
  EXPECT_EQ(PassphraseBlob::parse(with_digest(bytes)).error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace keyward::hsm
