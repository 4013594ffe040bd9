#include "hsm/tpm2/tpm2_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

namespace keyward::hsm::tpm2 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Tpm2SettingsTest, EmptyTextGivesTheDefaults) {
  const Tpm2Settings settings = parse_tpm2_settings("").value();
  EXPECT_EQ(settings.tcti, "device:/dev/tpmrm0");
  EXPECT_THAT(settings.pcrs, ElementsAre(7));
  EXPECT_FALSE(settings.pin.has_value());
  EXPECT_EQ(settings.srk_handle, 0x81000001u);
  EXPECT_EQ(settings.nv_index, 0x01800100u);
  EXPECT_EQ(settings.nv_indices_max, 8u);
  EXPECT_EQ(settings.time_limit_s, 30u);
  EXPECT_FALSE(settings.is_bare());
}

TEST(Tpm2SettingsTest, EverySettingIsRead) {
  const Tpm2Settings settings = parse_tpm2_settings(R"(
kind = "tpm2"
name = "board"
tcti = "swtpm:host=127.0.0.1,port=2321"
pcrs = [11, 7]
pin = "file:/etc/keyward/pin"
owner_auth = "file:/etc/keyward/owner"
srk_handle = 0x81000100
nv_index = 0x01810000
nv_indices_max = 2
time_limit_s = 5
sync_dirs = ["/var/lib/swtpm"]
)")
                                    .value();
  EXPECT_EQ(settings.tcti, "swtpm:host=127.0.0.1,port=2321");
  EXPECT_THAT(settings.pcrs, ElementsAre(7, 11));
  EXPECT_EQ(settings.pin->path(), "/etc/keyward/pin");
  EXPECT_EQ(settings.owner_auth->path(), "/etc/keyward/owner");
  EXPECT_EQ(settings.srk_handle, 0x81000100u);
  EXPECT_EQ(settings.nv_index, 0x01810000u);
  EXPECT_EQ(settings.nv_indices_max, 2u);
  EXPECT_EQ(settings.time_limit_s, 5u);
  EXPECT_THAT(settings.sync_dirs, ElementsAre("/var/lib/swtpm"));
  EXPECT_TRUE(settings.is_bare());
}

TEST(Tpm2SettingsTest, OnlyATpmWithoutResourceManagerIsBare) {
  EXPECT_TRUE(parse_tpm2_settings("tcti = 'device:/dev/tpm0'").value().is_bare());
  EXPECT_FALSE(parse_tpm2_settings("tcti = 'device:/dev/tpmrm0'").value().is_bare());
  EXPECT_FALSE(parse_tpm2_settings("tcti = 'tabrmd'").value().is_bare());
}

TEST(Tpm2SettingsTest, CredentialIsFoundInTheServiceManagersDirectory) {
  setenv("CREDENTIALS_DIRECTORY", "/run/credentials/keywardd", 1);
  EXPECT_EQ(parse_tpm2_settings("pin = 'credential:tpm-pin'").value().pin->path(),
            "/run/credentials/keywardd/tpm-pin");
  unsetenv("CREDENTIALS_DIRECTORY");
  const auto refused = parse_tpm2_settings("pin = 'credential:tpm-pin'");
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message, HasSubstr("LoadCredential="));
}

TEST(Tpm2SettingsTest, WrongSettingsAreRefusedByName) {
  const struct {
    const char* toml;
    const char* named;
  } cases[] = {
      {"tcti = 'mssim'", "\"tcti\""},
      {"tcti = 7", "\"tcti\""},
      {"tcti = ''", "\"tcti\""},
      {"pcrs = [24]", "\"pcrs\""},
      {"pcrs = [-1]", "\"pcrs\""},
      {"pcrs = [7, 7]", "\"pcrs\""},
      {"pcrs = 7", "\"pcrs\""},
      {"pcrs = ['7']", "\"pcrs\""},
      {"pin = '1234'", "\"pin\""},
      {"pin = 'file:relative'", "\"pin\""},
      {"pin = 'credential:../shadow'", "\"pin\""},
      {"srk_handle = 0x80000000", "\"srk_handle\""},
      {"nv_index = 0x01c00000", "\"nv_index\""},
      {"nv_indices_max = 0", "\"nv_indices_max\""},
      {"time_limit_s = 0", "\"time_limit_s\""},
      {"time_limit_s = 1.5", "\"time_limit_s\""},
      {"sync_dirs = ['here']", "\"sync_dirs\""},
      {"pcr = [7]", "\"pcr\""},
      {"pcrs = [7", "line 1"},
  };
  for (const auto& wrong : cases) {
    const auto parsed = parse_tpm2_settings(wrong.toml);
    ASSERT_FALSE(parsed.has_value()) << wrong.toml;
    EXPECT_EQ(parsed.error().code, ErrorCode::invalid_argument) << wrong.toml;
    EXPECT_THAT(parsed.error().message, HasSubstr(wrong.named)) << wrong.toml;
  }
}

// A PIN that was put into the settings by mistake must not come back in an error text.
TEST(Tpm2SettingsTest, RefusedPinIsNotRepeated) {
  const auto parsed = parse_tpm2_settings("pin = 'hunter2'");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_THAT(parsed.error().message, testing::Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace keyward::hsm::tpm2
