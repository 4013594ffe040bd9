// The engine above a token whose module breaks, lies and forgets (hsm/pkcs11/helper/testing), in
// the middle of rekeys: entries stay readable, the old key stays current until the new one is
// proved, the status names the custodian, and once the module behaves the rekey ends with nothing
// left over.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "crypto/aead.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "engine/service_test_support.h"
#include "hsm/custodian.h"
#include "hsm/pkcs11/softhsm_token.h"

namespace keyward::engine {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::AnyOf;
using testing::at;
using testing::domain;
using testing::eventually;
using ::testing::HasSubstr;
using testing::kTester;

constexpr int kEntries = 50;

class FaultyModuleTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    token_.use_faulty_module();
    backend_ =
        store::open_backend("sqlite:" + (directory_.path() / "state").string(), clock_).value();
    events_ = std::make_unique<EventLog>(backend_->control(), clock_);
    custodians_ = std::make_unique<CustodianSet>(*events_, clock_);
    custodians_->add(hsm::open_custodian(config(), *real_).value());
    open_keyring();
    const auto created = keyring_->create_domain(s3_, kTester);
    ASSERT_TRUE(created) << created.error().message;
    for (int i = 0; i < kEntries; ++i) put(i);
  }
  void TearDown() override {
    thread_ = {};
    service_.reset();
    keyring_.reset();
    custodians_.reset();
    events_.reset();
  }

  hsm::CustodianConfig config() const {
    return token_.config("call_limit_ms = 1000\nslow_limit_ms = 2000\nmechanism = \"gcm\"\n");
  }
  void open_keyring() {
    keyring_ = std::make_unique<Keyring>(
        Keyring::Parts{*backend_, *custodians_, crypto::choose_aead_engine("auto").value().get(),
                       *events_, clock_},
        Keyring::Settings{});
  }
  void start_service() {
    service_ = std::make_unique<RekeyService>(
        RekeyService::Parts{*keyring_, *custodians_, backend_->control(), *events_, clock_},
        RekeyService::Limits{});
    thread_ = std::jthread([this](std::stop_token stop) { service_->run(std::move(stop)); });
  }
  static EntryName name(int i) { return EntryName::parse(fmt::format("entry {}", i)).value(); }
  void put(int i) {
    const auto written = keyring_->put(
        s3_, name(i), testing::secret_of(fmt::format("secret {}", i)), std::nullopt, kTester);
    ASSERT_TRUE(written) << written.error().message;
  }
  int readable() {
    int count = 0;
    for (int i = 0; i < kEntries; ++i) count += keyring_->get(s3_, name(i), kTester).has_value();
    return count;
  }
  store::KeyTable table() { return keyring_->keystore(s3_).value()->keys().value(); }
  api::RekeyStatus status() { return service_->progress({&s3_, 1}).front(); }
  void start_rekey() {
    start_service();
    const auto started = service_->start({&s3_, 1}, {}, kTester).front();
    ASSERT_TRUE(started) << started.error().message;
  }
  void expect_failed() {
    ASSERT_TRUE(eventually([&] { return !status().error.empty(); }));
    EXPECT_THAT(status().error,
                AllOf(HasSubstr("pkcs11:hsm1"), AnyOf(HasSubstr("C_"), HasSubstr("keyward-p11"))));
    EXPECT_EQ(readable(), kEntries);
    put(0);
  }
  void expect_mended(const KeyId& old_key) {
    clock_.advance(15min);
    ASSERT_TRUE(eventually([&] { return !table().rekey && table().current().id != old_key; }))
        << status().error;
    EXPECT_EQ(readable(), kEntries);
    const auto custodian = hsm::open_custodian(config(), *real_).value();
    const auto held = custodian->list().value();
    ASSERT_EQ(held.size(), 1u) << "an object that no key needs is left on the token";
    EXPECT_EQ(held[0].context.key, table().current().id);
    EXPECT_TRUE(held[0].confirmed);
  }

  testing::TempDir directory_;
  const Domain s3_ = domain("S3");
  VirtualClock clock_{at("2026-01-05T02:00:00Z")};
  std::unique_ptr<Clock> real_ = real_clock();  // Devices answer in real time.
  hsm::SoftHsmToken token_;
  std::unique_ptr<store::Backend> backend_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<CustodianSet> custodians_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<RekeyService> service_;
  std::jthread thread_;
};

std::string test_name(const ::testing::TestParamInfo<const char*>& fault) {
  std::string name = fault.param;
  std::ranges::replace(name, '.', '_');
  return name;
}

class FaultAtPrepareTest : public FaultyModuleTest {};

TEST_P(FaultAtPrepareTest, KeepsTheOldKeyAndIsMended) {
  const KeyId old_key = table().current().id;
  token_.fault(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_rekey());
  ASSERT_NO_FATAL_FAILURE(expect_failed());
  EXPECT_EQ(status().state, api::DomainState::failed);
  EXPECT_EQ(table().current().id, old_key);
  token_.no_fault(GetParam());
  expect_mended(old_key);
}

INSTANTIATE_TEST_SUITE_P(Faults, FaultAtPrepareTest,
                         ::testing::Values("error.C_GenerateKey", "error_after.C_GenerateKey",
                                           "abort_after.C_Encrypt", "hang_after.C_Encrypt",
                                           "long.C_Encrypt", "two_objects", "loses_objects",
                                           "readable", "extractable", "keeps_label",
                                           "wrong_plaintext", "error.C_OpenSession"),
                         test_name);

class FaultAtDestroyTest : public FaultyModuleTest {};

TEST_P(FaultAtDestroyTest, LeavesTheNewKeyCurrentAndIsMended) {
  const KeyId old_key = table().current().id;
  token_.fault(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_rekey());
  ASSERT_NO_FATAL_FAILURE(expect_failed());
  EXPECT_NE(table().current().id, old_key);
  EXPECT_NE(table().find(old_key), nullptr) << "forgotten, though the token still holds it";
  token_.no_fault(GetParam());
  expect_mended(old_key);
}

INSTANTIATE_TEST_SUITE_P(Faults, FaultAtDestroyTest,
                         ::testing::Values("keeps_object", "hides_object"), test_name);

// The helper has passed its self-test before: nothing but the commitment can tell.
TEST_F(FaultyModuleTest, KeyThatATokenOpensWronglyIsNeverUsed) {
  keyring_.reset();
  token_.fault("wrong_plaintext");
  open_keyring();
  {
    const std::jthread unsealer([&](std::stop_token stop) { keyring_->unseal_all(stop); });
    const auto refused = [&] {
      const auto read = keyring_->get(s3_, name(1), kTester);
      return read ? std::string() : read.error().message;
    };
    EXPECT_TRUE(eventually([&] { return refused().contains("the commitment differs"); }))
        << refused();
  }
  token_.no_fault("wrong_plaintext");
  keyring_.reset();
  open_keyring();
  keyring_->unseal_all({});
  EXPECT_EQ(readable(), kEntries);
}

}  // namespace
}  // namespace keyward::engine
