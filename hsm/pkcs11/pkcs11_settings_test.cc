#include "hsm/pkcs11/pkcs11_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/text.h"
#include "hsm/pkcs11/result_matchers.h"

namespace keyward::hsm::pkcs11 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kMinimal =
    "module = \"/m.so\"\ntoken = \"pkcs11:token=a\"\npin = \"file:/p\"\n";

Result<Pkcs11Settings> parse_with(std::string_view line) {
  return parse_pkcs11_settings(std::string(kMinimal) + std::string(line) + "\n");
}

TEST(Pkcs11SettingsTest, MinimalSettingsTakeTheDefaults) {
  const auto settings = parse_with("");
  ASSERT_THAT(settings, Succeeds());
  EXPECT_EQ(settings->module, "/m.so");
  EXPECT_EQ(settings->mechanism, Mechanism::automatic);
  EXPECT_EQ(settings->call_limit, std::chrono::seconds(5));
  EXPECT_EQ(settings->slow_limit, std::chrono::seconds(30));
  EXPECT_FALSE(settings->network);
  EXPECT_THAT(settings->helper, HasSubstr("/keyward-p11"));
}

TEST(Pkcs11SettingsTest, EverySettingIsRead) {
  const auto settings = parse_with(
      "kind = \"pkcs11\"\nname = \"hsm1\"\nmechanism = \"keywrap\"\nnetwork = true\n"
      "environment = { A = \"1\", B = \"x=y\" }\nsync_dirs = [\"/a\", \"/b\"]\n"
      "helper = \"/opt/keyward-p11\"\ncall_limit_ms = 1\nslow_limit_ms = 2\n"
      "reconnect_min_ms = 0\nreconnect_max_ms = 4\n");
  ASSERT_THAT(settings, Succeeds());
  EXPECT_EQ(settings->mechanism, Mechanism::key_wrap);
  EXPECT_TRUE(settings->network);
  EXPECT_THAT(settings->environment, ElementsAre("A=1", "B=x=y"));
  EXPECT_THAT(settings->sync_dirs, ElementsAre("/a", "/b"));
  EXPECT_EQ(settings->helper, "/opt/keyward-p11");
  EXPECT_EQ(settings->call_limit.count(), 1);
  EXPECT_EQ(settings->reconnect_max.count(), 4);
}

TEST(Pkcs11SettingsTest, WrongSettingsAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"slot = 0", "slot"},
      {"mechanism = \"rsa\"", "mechanism"},
      {"network = 1", "network"},
      {"environment = [\"A\"]", "environment"},
      {"environment = { A = 1 }", "environment"},
      {"sync_dirs = [\"relative\"]", "sync_dirs"},
      {"sync_dirs = \"/a\"", "sync_dirs"},
      {"helper = \"keyward-p11\"", "helper"},
      {"call_limit_ms = 0", "call_limit_ms"},
      {"call_limit_ms = 5.5", "call_limit_ms"},
      {"slow_limit_ms = 999999999", "slow_limit_ms"},
      {"reconnect_min_ms = -1", "reconnect_min_ms"},
      {"= broken", "TOML"},
  };
  for (const auto& [line, name] : wrong) {
    const auto settings = parse_with(line);
    ASSERT_THAT(settings, FailsWith(ErrorCode::invalid_argument)) << line;
    EXPECT_THAT(settings.error().message, HasSubstr(name));
  }
}

TEST(Pkcs11SettingsTest, MissingSettingsAreNamed) {
  for (const std::string name : {"module", "token", "pin"}) {
    std::string text(kMinimal);
    const std::size_t at = text.find(name + " =");
    text.erase(at, text.find('\n', at) + 1 - at);
    const auto settings = parse_pkcs11_settings(text);
    ASSERT_THAT(settings, FailsWith(ErrorCode::invalid_argument));
    EXPECT_THAT(settings.error().message, HasSubstr(name));
  }
  EXPECT_THAT(parse_pkcs11_settings("module = \"m.so\""), FailsWith(ErrorCode::invalid_argument));
}

TEST(TokenUriTest, NamesATokenByWhatIsPrintedOnIt) {
  const auto uri = TokenUri::parse("pkcs11:token=My%20token;serial=0a;manufacturer=M;model=X");
  ASSERT_THAT(uri, Succeeds());
  EXPECT_EQ(uri->label, "My token");
  EXPECT_EQ(uri->serial, "0a");
  EXPECT_EQ(uri->manufacturer, "M");
  EXPECT_EQ(uri->model, "X");
}

TEST(TokenUriTest, WhatDoesNotNameATokenIsRefused) {
  for (const std::string_view text :
       {"", "token=a", "pkcs11:", "pkcs11:model=X", "pkcs11:token=", "pkcs11:token",
        "pkcs11:token=a;token=b", "pkcs11:token=a;;serial=b", "pkcs11:token=%zz", "pkcs11:token=%4",
        "pkcs11:token=%00", "pkcs11:token=a;object=x", "pkcs11:serial=12345678901234567",
        "pkcs11:token=123456789012345678901234567890123"})
    EXPECT_THAT(TokenUri::parse(text), FailsWith(ErrorCode::invalid_argument)) << text;
}

TEST(TokenUriTest, SlotNumbersAreRefusedWithTheReason) {
  const auto uri = TokenUri::parse("pkcs11:token=a;slot-id=3");
  ASSERT_THAT(uri, FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(uri.error().message, HasSubstr("numbered anew"));
}

TEST(TokenUriTest, PinInsideIsRefusedAndNotRepeated) {
  const auto uri = TokenUri::parse("pkcs11:token=a?pin-value=4711");
  ASSERT_THAT(uri, FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(uri.error().message, Not(HasSubstr("4711")));
}

class PinSourceTest : public ::testing::Test {
 protected:
  PinSourceTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "keyward-pin-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~PinSourceTest() override {
    ::unsetenv("CREDENTIALS_DIRECTORY");
    std::filesystem::remove_all(directory_);
  }
  std::string write(const std::string& text, mode_t mode) {
    const std::string path = directory_ + "/pin";
    ::unlink(path.c_str());
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  std::string directory_;
};

TEST_F(PinSourceTest, ReadsAFileWithoutItsNewline) {
  const auto pin = PinSource::parse("file:" + write("123456\n", 0600)).value().read();
  ASSERT_THAT(pin, Succeeds());
  EXPECT_TRUE(constant_time_equal(pin->text.reveal(), as_bytes("123456")));
}

TEST_F(PinSourceTest, FileThatOthersMayReadIsNotUsed) {
  for (const mode_t mode : {0640u, 0604u, 0620u, 0601u})
    EXPECT_THAT(PinSource::parse("file:" + write("123456", mode)).value().read(),
                FailsWith(ErrorCode::not_permitted));
}

TEST_F(PinSourceTest, WhatIsNoPinIsRefused) {
  EXPECT_THAT(PinSource::parse("file:" + write("", 0600)).value().read(),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(PinSource::parse("file:" + write(std::string(256, '1'), 0600)).value().read(),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(PinSource::parse("file:" + write(std::string("1\0002", 3), 0600)).value().read(),
              FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(PinSource::parse("file:" + directory_).value().read(),
              FailsWith(ErrorCode::not_permitted));
  EXPECT_THAT(PinSource::parse("file:" + directory_ + "/none").value().read(),
              FailsWith(ErrorCode::unavailable));
}

TEST_F(PinSourceTest, CredentialsComeFromTheServiceManager) {
  EXPECT_THAT(PinSource::parse("credential:pin"), FailsWith(ErrorCode::invalid_argument));
  ::setenv("CREDENTIALS_DIRECTORY", directory_.c_str(), 1);
  write("4711", 0440);
  EXPECT_THAT(PinSource::parse("credential:pin").value().read(), Succeeds());
  for (const std::string_view text : {"credential:", "credential:..", "credential:a/b"})
    EXPECT_THAT(PinSource::parse(text), FailsWith(ErrorCode::invalid_argument)) << text;
}

TEST_F(PinSourceTest, PinInTheConfigurationIsRefusedAndNotRepeated) {
  const auto source = PinSource::parse("4711");
  ASSERT_THAT(source, FailsWith(ErrorCode::invalid_argument));
  EXPECT_THAT(source.error().message, Not(HasSubstr("4711")));
  EXPECT_THAT(PinSource::parse("file:relative"), FailsWith(ErrorCode::invalid_argument));
}

}  // namespace
}  // namespace keyward::hsm::pkcs11
