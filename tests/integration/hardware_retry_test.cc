// The engine on real hardware stand-ins and a virtual clock: what goes away at a rekey's prepare
// makes it FAILED with entries readable, and the retry comes after 15 virtual minutes, not earlier.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "crypto/aead.h"
#include "engine/custodian_set.h"
#include "engine/event_kinds.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "engine/service_test_support.h"
#include "hsm/custodian.h"
#include "hsm/pkcs11/softhsm_token.h"
#include "hsm/testing/swtpm.h"
#include "store/control_store.h"

namespace keyward::engine {
namespace {

using namespace std::chrono_literals;
using testing::at;
using testing::domain;
using testing::eventually;
using ::testing::HasSubstr;
using testing::kTester;

constexpr int kEntries = 200;

class HardwareRetryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_.path() / "t");
    ASSERT_TRUE(tpm_.start());
    backend_ =
        store::open_backend("sqlite:" + (directory_.path() / "state").string(), clock_).value();
    events_ = std::make_unique<EventLog>(backend_->control(), clock_);
    custodians_ = std::make_unique<CustodianSet>(*events_, clock_);
    custodians_->add(hsm::open_custodian(token_.config("call_limit_ms = 2000\n"), *real_).value());
    custodians_->add(hsm::open_custodian(tpm_config(), *real_).value());
    keyring_ = std::make_unique<Keyring>(
        Keyring::Parts{*backend_, *custodians_, crypto::choose_aead_engine("auto").value().get(),
                       *events_, clock_},
        Keyring::Settings{});
    const auto created = keyring_->create_domain(s3_, kTester);
    ASSERT_TRUE(created) << created.error().message;
    for (int i = 0; i < kEntries; ++i) put(i);
    service_ = std::make_unique<RekeyService>(
        RekeyService::Parts{*keyring_, *custodians_, backend_->control(), *events_, clock_},
        RekeyService::Limits{});
    threads_.emplace_back([this](std::stop_token stop) { service_->run(std::move(stop)); });
  }
  void TearDown() override {
    tpm_.go_on();
    for (std::jthread& thread : threads_) thread.request_stop();
    threads_.clear();
    service_.reset();
    keyring_.reset();
    custodians_.reset();
    events_.reset();
  }

  hsm::CustodianConfig tpm_config() const {
    return {"tpm2", "board",
            fmt::format("tcti = \"{}\"\npcrs = [16]\ntime_limit_s = 2\nsync_dirs = [\"{}\"]\n",
                        tpm_.tcti(), tpm_.directory()),
            directory_.path().string()};
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
  bool failure_event_is_open() const {
    for (const Event& event : events_->newest(1000))
      if (event.name == kRekeyFailed.name && event.subject == "S3") return event.open;
    return false;
  }

  // A rekey while something is away; then it is back, and time passes.
  template <typename BringBack>
  void expect_failed_then_mended(const std::string& custodian, BringBack&& bring_back) {
    const KeyId old_key = table().current().id;
    ASSERT_TRUE(service_->start({&s3_, 1}, {}, kTester).front());
    ASSERT_TRUE(eventually([&] { return status().state == api::DomainState::failed; }));
    EXPECT_THAT(status().error, HasSubstr(custodian));
    ASSERT_TRUE(status().next_try);
    EXPECT_EQ(*status().next_try, clock_.now() + 15min);
    EXPECT_TRUE(eventually([&] { return failure_event_is_open(); }));
    EXPECT_EQ(readable(), kEntries);
    put(0);
    EXPECT_EQ(table().current().id, old_key);

    bring_back();
    for (int minute = 0; minute < 14; ++minute) clock_.advance(1min);
    clock_.advance(59s);
    EXPECT_EQ(table().current().id, old_key) << "the retry came before its time";
    clock_.advance(1s);
    ASSERT_TRUE(eventually([&] { return !table().rekey && table().current().id != old_key; }))
        << status().error;
    EXPECT_EQ(readable(), kEntries);
    EXPECT_TRUE(eventually([&] { return !failure_event_is_open(); }));
  }

  testing::TempDir directory_;
  const Domain s3_ = domain("S3");
  VirtualClock clock_{at("2026-01-05T02:00:00Z")};
  std::unique_ptr<Clock> real_ = real_clock();  // Devices answer in real time.
  hsm::SoftHsmToken token_;
  hsm::Swtpm tpm_{(directory_.path() / "t").string()};
  std::unique_ptr<store::Backend> backend_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<CustodianSet> custodians_;
  std::unique_ptr<Keyring> keyring_;
  std::unique_ptr<RekeyService> service_;
  std::vector<std::jthread> threads_;
};

TEST_F(HardwareRetryTest, ATokenThatWasTakenAwayIsTriedAgainAfter15Minutes) {
  token_.take_away();
  expect_failed_then_mended("pkcs11:hsm1", [&] { token_.bring_back(); });
}

TEST_F(HardwareRetryTest, ATpmThatStoppedAnsweringIsTriedAgainAfter15Minutes) {
  tpm_.stop_answering();
  expect_failed_then_mended("tpm2:board", [&] { tpm_.go_on(); });
}

}  // namespace
}  // namespace keyward::engine
