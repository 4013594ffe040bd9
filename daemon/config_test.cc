#include "daemon/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>

namespace keyward::daemon {
namespace {

TEST(ConfigTest, AnEmptyFileIsTheDefaults) {
  const Result<Config> config = parse_config("", "f");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->socket, "/run/keyward/keyward.sock");
  EXPECT_EQ(config->memory_lock, MemoryLock::required);
  EXPECT_TRUE(config->custodians.empty());
  EXPECT_FALSE(config->drives);
}

TEST(ConfigTest, EverythingIsRead) {
  const Result<Config> config = parse_config(R"(
state_dir = "/s"
socket = "/r/k.sock"
memory_lock = "best_effort"
aead_engine = "openssl"
log_level = "debug"
allow_uids = [33, 1000]
[rekey]
workers = 2
entries_per_second = 500
[audit]
reads = "off"
[audit.reads_of]
S3 = "each"
[limits]
connections = 10
idle_timeout = 7
[drives]
emulated = "/bay"
keep = ["/srv/token"]
provision_new = true
per_controller = 3
per_drive = 9
start_patience = 0
[test_mode]
short_schedules = true
[[custodian]]
kind = "pkcs11"
name = "hsm1"
module = "/m.so"
environment = { SOFTHSM2_CONF = "/c" }
[[custodian]]
kind = "tpm2"
name = "board"
pcrs = [7, 11]
)",
                                             "f");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->state_dir, "/s");
  EXPECT_EQ(config->aead_engine, "openssl");
  EXPECT_EQ(config->log_level, LogLevel::debug);
  EXPECT_EQ(config->allow_uids, (std::vector<std::uint32_t>{33, 1000}));
  EXPECT_EQ(config->rekey_workers, 2u);
  EXPECT_EQ(config->entries_per_second, 500u);
  EXPECT_EQ(config->read_audit, engine::ReadAudit::off);
  EXPECT_EQ(config->read_audit_of.at(Domain::parse("S3").value()), engine::ReadAudit::each);
  ASSERT_TRUE(config->drives);
  EXPECT_EQ(config->drives->emulated, "/bay");
  EXPECT_EQ(config->drives->keep, std::vector<std::string>{"/srv/token"});
  EXPECT_TRUE(config->drives->provision_new);
  EXPECT_EQ(config->drives->per_controller, 3u);
  EXPECT_EQ(config->drives->per_drive, std::chrono::seconds{9});
  EXPECT_EQ(config->drives->start_patience, std::chrono::seconds{0});
  EXPECT_EQ(config->limits.connections_max, 10u);
  EXPECT_EQ(config->limits.idle_timeout, std::chrono::seconds(7));
  EXPECT_TRUE(config->allow_short_rotation);
  ASSERT_EQ(config->custodians.size(), 2u);
  EXPECT_EQ(config->custodians[0].id().text, "pkcs11:hsm1");
  EXPECT_EQ(config->custodians[0].state_dir, "/s/custodians/pkcs11-hsm1");
  EXPECT_NE(config->custodians[0].settings.find("module = "), std::string::npos);
  EXPECT_NE(config->custodians[0].settings.find("SOFTHSM2_CONF"), std::string::npos);
  EXPECT_EQ(config->custodians[0].settings.find("kind"), std::string::npos);
  EXPECT_NE(config->custodians[1].settings.find("11"), std::string::npos);
}

TEST(ConfigTest, WithoutWorkersItIsTheCoresAndEightAtMost) {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  EXPECT_EQ(parse_config("", "f").value().rekey_workers, std::min(8u, cores));
}

struct BadConfig {
  const char* name;
  const char* text;
  const char* says;
};

class ConfigRefusesTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(ConfigRefusesTest, WithTheLine) {
  const Result<Config> config = parse_config(GetParam().text, "f.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(config.error().message.find(GetParam().says), std::string::npos)
      << config.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    Files, ConfigRefusesTest,
    ::testing::Values(
        BadConfig{"Syntax", "\nstate_dir = \n", "f.toml:2: "},
        BadConfig{"UnknownKey", "\n\nstat_dir = \"/x\"", "f.toml:3: the key \"stat_dir\" is not"},
        BadConfig{"UnknownSection", "[rekeys]\nworkers = 1", "f.toml:1: the key \"rekeys\""},
        BadConfig{"UnknownKeyInSection", "[rekey]\nworker = 1", "f.toml:2: the key \"worker\""},
        BadConfig{"RelativePath", "state_dir = \"x\"", "f.toml:1: state_dir must be an absolute"},
        BadConfig{"NoText", "socket = 7", "f.toml:1: socket must be text"},
        BadConfig{"LongSocket",
                  "socket = \"/12345678901234567890123456789012345678901234567890123456789012345678"
                  "90123456789012345678901234567890123456789\"",
                  "at most 107 bytes"},
        BadConfig{"MemoryLock", "memory_lock = \"maybe\"", "one of \"required\", \"best_effort\""},
        BadConfig{"Engine", "aead_engine = \"rot13\"", "f.toml:1: aead_engine must be one of"},
        BadConfig{"NegativeUid", "allow_uids = [-1]", "f.toml:1: a uid must be a whole number"},
        BadConfig{"UidName", "allow_uids = [\"root\"]", "a uid must be a whole number"},
        BadConfig{"UidsNoList", "allow_uids = 5", "allow_uids must be a list"},
        BadConfig{"NoWorkers", "[rekey]\nworkers = 0", "f.toml:2: workers must be a whole number"},
        BadConfig{"FractionalRate", "[rekey]\nentries_per_second = 0.5", "must be a whole number"},
        BadConfig{"RekeyNoSection", "rekey = 1", "rekey must be a section"},
        BadConfig{"DrivesPath", "[drives]\nemulated = \"bay\"",
                  "f.toml:2: emulated must be an absol"},
        BadConfig{"DrivesKeep", "[drives]\nkeep = [\"a\"]", "f.toml:2: keep lists absolute paths"},
        BadConfig{"DrivesKey", "[drives]\nprovision = true", "f.toml:2: the key \"provision\""},
        BadConfig{"DrivesNoSection", "drives = true", "drives must be a section"},
        BadConfig{"AuditDomain", "[audit.reads_of]\ns3 = \"off\"", "f.toml:2: "},
        BadConfig{"AuditChoice", "[audit.reads_of]\nS3 = \"some\"", "f.toml:2: S3 must be one of"},
        BadConfig{"SmallBudget", "[limits]\nbytes_in_flight = 1000", "f.toml:2: bytes_in_flight"},
        BadConfig{"CustodianNoList", "[custodian]\nkind = \"tpm2\"", "a list of sections"},
        BadConfig{"CustodianNoKind", "\n[[custodian]]\nname = \"a\"",
                  "f.toml:2: a custodian needs a"},
        BadConfig{"CustodianKind", "[[custodian]]\nkind = \"kmip\"\nname = \"a\"",
                  "f.toml:2: kind must be one of"},
        BadConfig{"CustodianNoName", "[[custodian]]\nkind = \"tpm2\"", "needs a name"},
        BadConfig{"CustodianName", "[[custodian]]\nkind = \"tpm2\"\nname = \"A b\"",
                  "needs a name"},
        BadConfig{"CustodianTwice",
                  "[[custodian]]\nkind = \"tpm2\"\nname = \"a\"\n[[custodian]]\nkind = \"tpm2\"\n"
                  "name = \"a\"",
                  "f.toml:4: the custodian tpm2:a is configured twice"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(ConfigTest, AllDefectsAreSaidAtOnce) {
  const Result<Config> config =
      parse_config("socket = 1\nlog_level = \"loud\"\nnonsense = 1\n", "f");
  ASSERT_FALSE(config);
  for (const char* says : {"f:1: socket", "f:2: log_level", "f:3: the key \"nonsense\""})
    EXPECT_NE(config.error().message.find(says), std::string::npos) << config.error().message;
}

TEST(ConfigTest, ASettingThatItsKindRefusesIsNamedWithItsCustodian) {
  const Result<Config> config =
      parse_config("[[custodian]]\nkind = \"tpm2\"\nname = \"a\"\npcrs = [99]\n", "f");
  ASSERT_TRUE(config) << config.error().message;
  const Result<void> checked = check_custodians(*config, "f");
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().message.find("f: custodian tpm2:a: "), std::string::npos)
      << checked.error().message;
}

TEST(ConfigTest, AFileThatIsNotThereIsNotFound) {
  const Result<Config> config = read_config("/nonexistent/keyward.toml");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace keyward::daemon
