#include "engine/custodian_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "engine/testing/engine_rig.h"

namespace keyward::engine {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using ::testing::HasSubstr;

CustodianHealth health_of(EngineRig& rig, const std::string& id) {
  for (const CustodianHealth& health : rig.custodians().health())
    if (health.id.text == id) return health;
  return {};
}

KeyContext fresh_context(EngineRig& rig) {
  return {StoreId::random(), rig.domain(), KeyId::random()};
}

// Seals as it should, and opens every copy to a key of its own making.
class LyingCustodian final : public hsm::Custodian {
 public:
  explicit LyingCustodian(std::string_view id) : honest_(id) {}

  const CustodianId& id() const override { return honest_.id(); }
  Result<std::string> identity() override { return honest_.identity(); }
  bool destroys() const override { return honest_.destroys(); }
  Result<hsm::GeneratedKey> generate(const KeyContext& context) override {
    return honest_.generate(context);
  }
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override {
    return honest_.seal(key, context);
  }
  Result<SecretBytes> unseal(const SealedKey&, const KeyContext&) override {
    return SecretBytes::random(32);
  }
  Result<void> confirm(const KeyContext& context) override { return honest_.confirm(context); }
  Result<void> destroy(const KeyContext& context, hsm::DestroyScope scope) override {
    return honest_.destroy(context, scope);
  }
  Result<std::vector<hsm::HeldObject>> list() override { return honest_.list(); }
  Result<void> probe() override { return honest_.probe(); }

 private:
  hsm::FakeCustodian honest_;
};

TEST(CustodianSetTest, OneThatIsUnreachableIsNotAskedAgainForAMinute) {
  EngineRig rig;
  rig.hardware("fake:a").set_down({ErrorCode::timeout, "no answer"});
  const KeyContext context = fresh_context(rig);
  EXPECT_FALSE(rig.custodians().confirm({"fake:a"}, context));
  const std::size_t calls = rig.hardware("fake:a").calls();
  const auto skipped = rig.custodians().confirm({"fake:a"}, context);
  EXPECT_EQ(skipped.error().code, ErrorCode::unavailable);
  EXPECT_THAT(skipped.error().message, HasSubstr("no answer"));
  EXPECT_EQ(rig.hardware("fake:a").calls(), calls);
  rig.advance(seconds{61});
  EXPECT_FALSE(rig.custodians().confirm({"fake:a"}, context));
  EXPECT_EQ(rig.hardware("fake:a").calls(), calls + 1);
}

TEST(CustodianSetTest, ARefusalIsStickyUntilAPersonTests) {
  EngineRig rig;
  rig.hardware("fake:a").set_down({ErrorCode::auth_failed, "C_Login: wrong PIN"});
  const KeyContext context = fresh_context(rig);
  EXPECT_EQ(rig.custodians().confirm({"fake:a"}, context).error().code, ErrorCode::auth_failed);
  const std::size_t calls = rig.hardware("fake:a").calls();
  rig.advance(std::chrono::hours{48});
  const auto again = rig.custodians().confirm({"fake:a"}, context);
  EXPECT_EQ(again.error().code, ErrorCode::auth_failed);
  EXPECT_THAT(again.error().message, HasSubstr("keyward custodians test fake:a"));
  EXPECT_EQ(rig.hardware("fake:a").calls(), calls) << "a counted try was spent";
  rig.hardware("fake:a").set_up();
  ASSERT_TRUE(rig.custodians().test({"fake:a"}));
  EXPECT_TRUE(rig.custodians().list({"fake:a"}));
  EXPECT_FALSE(rig.has_open_event(kCustodianUnhealthy));
}

TEST(CustodianSetTest, ProbesEveryTenMinutesAndEveryMinuteWhileUnhealthy) {
  EngineRig rig({"fake:a"});
  std::jthread prober([&](const std::stop_token& stop) { rig.custodians().run(stop); });
  ASSERT_TRUE(static_cast<VirtualClock&>(rig.clock()).await_waiters(3));
  hsm::FakeHardware& hardware = rig.hardware("fake:a");
  const std::size_t start = hardware.calls();
  rig.advance(minutes{30});
  EXPECT_EQ(hardware.calls(), start + 3);
  EXPECT_TRUE(health_of(rig, "fake:a").healthy);
  hardware.set_down({ErrorCode::unavailable, "pulled out"});
  rig.advance(minutes{10});
  EXPECT_FALSE(health_of(rig, "fake:a").healthy);
  EXPECT_TRUE(rig.has_open_event(kCustodianUnhealthy));
  const std::size_t down = hardware.calls();
  rig.advance(minutes{5});
  EXPECT_EQ(hardware.calls(), down + 5);
}

TEST(CustodianSetTest, AnyErrorOfAProbeIsUnhealthyAndWaitsForTheNext) {
  for (const ErrorCode code :
       {ErrorCode::unsupported, ErrorCode::conflict, ErrorCode::not_permitted}) {
    EngineRig rig({"fake:a"});
    std::jthread prober([&](const std::stop_token& stop) { rig.custodians().run(stop); });
    ASSERT_TRUE(static_cast<VirtualClock&>(rig.clock()).await_waiters(3));
    rig.hardware("fake:a").set_down({code, "it can seal by no mechanism"});
    rig.advance(minutes{10});
    EXPECT_FALSE(health_of(rig, "fake:a").healthy);
    EXPECT_THAT(health_of(rig, "fake:a").error, HasSubstr("by no mechanism"));
    EXPECT_TRUE(rig.has_open_event(kCustodianUnhealthy));
    const std::size_t calls = rig.hardware("fake:a").calls();
    rig.advance(minutes{5});
    EXPECT_EQ(rig.hardware("fake:a").calls(), calls + 5) << "it is asked without a pause";
  }
}

TEST(CustodianSetTest, TheEventIsClearedOnlyAfterTwoGoodProbes) {
  EngineRig rig({"fake:a"});
  std::jthread prober([&](const std::stop_token& stop) { rig.custodians().run(stop); });
  ASSERT_TRUE(static_cast<VirtualClock&>(rig.clock()).await_waiters(3));
  rig.hardware("fake:a").set_down({ErrorCode::unavailable, "pulled out"});
  rig.advance(minutes{10});
  ASSERT_TRUE(rig.has_open_event(kCustodianUnhealthy));
  rig.hardware("fake:a").set_up();
  rig.advance(minutes{1});
  EXPECT_TRUE(health_of(rig, "fake:a").healthy);
  EXPECT_TRUE(rig.has_open_event(kCustodianUnhealthy)) << "it may come and go";
  rig.advance(minutes{1});
  EXPECT_FALSE(rig.has_open_event(kCustodianUnhealthy));
}

TEST(CustodianSetTest, GenerateSealsByAllOrByNone) {
  EngineRig rig;
  const KeyContext context = fresh_context(rig);
  const std::vector<WantedCustodian> wanted{{{"fake:a"}, "hardware of fake:a"},
                                            {{"fake:b"}, "hardware of fake:b"}};
  const auto made = rig.custodians().generate(context, wanted);
  ASSERT_TRUE(made);
  ASSERT_EQ(made->copies.size(), 2u);
  store::KeyRow row;
  row.id = context.key;
  row.commitment = made->commitment;
  row.copies = made->copies;
  for (const SealedKey& copy : made->copies) {
    const auto key = rig.custodians().unseal_copy(copy, row, context);
    ASSERT_TRUE(key);
    EXPECT_TRUE(constant_time_equal(key->reveal(), made->key.reveal()));
  }
  row.commitment[31] ^= std::byte{1};
  EXPECT_EQ(rig.custodians().unseal(row, context).error().code, ErrorCode::corrupt);
  rig.hardware("fake:b").set_down({ErrorCode::unavailable, "away"});
  const auto failed = rig.custodians().generate(fresh_context(rig), wanted);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("fake:b"));
}

TEST(CustodianSetTest, ACopyThatGivesAnotherKeyBackIsNotTakenIntoUse) {
  EngineRig rig;
  CustodianSet set(rig.events(), rig.clock());
  set.add(std::make_unique<hsm::FakeCustodian>("fake:honest"));
  set.add(std::make_unique<LyingCustodian>("fake:liar"));
  const WantedCustodian honest{{"fake:honest"}, set.identity({"fake:honest"}).value()};
  const WantedCustodian liar{{"fake:liar"}, set.identity({"fake:liar"}).value()};
  ASSERT_TRUE(set.generate(fresh_context(rig), std::vector{honest}));
  for (const auto& wanted : {std::vector{liar}, std::vector{honest, liar}}) {
    const auto made = set.generate(fresh_context(rig), wanted);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::corrupt);
    EXPECT_THAT(made.error().message, HasSubstr("fake:liar"));
  }
  const SecretBytes key = SecretBytes::random(32).value();
  const auto sealed = set.seal(liar, key, fresh_context(rig));
  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().code, ErrorCode::corrupt);
}

TEST(CustodianSetTest, UnsealsByAnyCopyAndNamesAllWhenNoneOpens) {
  EngineRig rig;
  const store::KeyTable table = rig.table();
  const KeyContext context = table.context(table.current().id);
  rig.hardware("fake:a").set_down({ErrorCode::unavailable, "away"});
  EXPECT_TRUE(rig.custodians().unseal(table.current(), context));
  rig.hardware("fake:b").lose(context);
  const auto failed = rig.custodians().unseal(table.current(), context);
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("fake:a"));
  EXPECT_THAT(failed.error().message, HasSubstr("fake:b"));
}

TEST(CustodianSetTest, ACustodianThatIsNotConfiguredIsNotFound) {
  EngineRig rig;
  EXPECT_EQ(rig.custodians().identity({"fake:nobody"}).error().code, ErrorCode::not_found);
  EXPECT_FALSE(rig.custodians().destroys({"fake:nobody"}));
  EXPECT_EQ(
      rig.custodians().supply_passphrase({"fake:a"}, SecretBytes::random(8).value()).error().code,
      ErrorCode::unsupported);
}

}  // namespace
}  // namespace keyward::engine
