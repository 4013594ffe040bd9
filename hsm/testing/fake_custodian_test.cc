#include "hsm/testing/fake_custodian.h"

#include <gtest/gtest.h>

#include "hsm/testing/custodian_contract.h"
#include "hsm/testing/faulty_custodian.h"

namespace keyward::hsm {
namespace {

TEST(FakeCustodianTest, KeepsTheContract) {
  FakeCustodian custodian("fake:a");
  check_custodian_contract(custodian);
  EXPECT_EQ(custodian.hardware().object_count(), 0u);
}

TEST(FakeCustodianTest, ObjectsOutliveARestart) {
  const auto hardware = std::make_shared<FakeHardware>();
  const KeyContext context = fresh_context();
  const GeneratedKey made = FakeCustodian("fake:a", hardware).generate(context).value();
  FakeCustodian restarted("fake:a", hardware);
  const SecretBytes again = restarted.unseal(made.copy, context).value();
  EXPECT_TRUE(constant_time_equal(again.reveal(), made.key.reveal()));
}

TEST(FakeCustodianTest, EveryCallAnswersTheErrorWhileTheHardwareIsDown) {
  FakeCustodian custodian("fake:a");
  const KeyContext context = fresh_context();
  const GeneratedKey made = custodian.generate(context).value();
  custodian.hardware().set_down({ErrorCode::locked_out, "down"});
  EXPECT_EQ(custodian.unseal(made.copy, context).error().code, ErrorCode::locked_out);
  EXPECT_EQ(custodian.generate(fresh_context()).error().code, ErrorCode::locked_out);
  EXPECT_EQ(custodian.confirm(context).error().code, ErrorCode::locked_out);
  EXPECT_EQ(custodian.destroy(context, DestroyScope::everything).error().code,
            ErrorCode::locked_out);
  EXPECT_EQ(custodian.list().error().code, ErrorCode::locked_out);
  EXPECT_EQ(custodian.probe().error().code, ErrorCode::locked_out);
  custodian.hardware().set_up();
  EXPECT_TRUE(custodian.unseal(made.copy, context).has_value());
}

TEST(FakeCustodianTest, SwappedHardwareIsAConflictUntilTheEnrolledOneIsBack) {
  FakeCustodian custodian("fake:a", std::make_shared<FakeHardware>("serial 1"));
  EXPECT_EQ(custodian.identity().value(), "serial 1");
  custodian.hardware().set_identity("serial 2");
  EXPECT_EQ(custodian.generate(fresh_context()).error().code, ErrorCode::conflict);
  EXPECT_EQ(custodian.identity().value(), "serial 1");
  custodian.hardware().set_identity("serial 1");
  EXPECT_TRUE(custodian.probe().has_value());
}

TEST(FakeCustodianTest, ALostObjectIsNotFound) {
  FakeCustodian custodian("fake:a");
  const KeyContext context = fresh_context();
  const GeneratedKey made = custodian.generate(context).value();
  custodian.hardware().lose(context);
  EXPECT_EQ(custodian.unseal(made.copy, context).error().code, ErrorCode::not_found);
}

TEST(FaultyCustodianTest, AfterEffectTheKeyExistsThoughTheAnswerIsLost) {
  FakeCustodian fake("fake:a");
  FaultPlan plan(2, FaultMoment::after_effect, {ErrorCode::timeout, "planned"});
  FaultyCustodian custodian(fake, plan);
  const KeyContext context = fresh_context();
  EXPECT_TRUE(custodian.probe().has_value());
  EXPECT_EQ(custodian.generate(context).error().code, ErrorCode::timeout);
  EXPECT_TRUE(plan.has_fired());
  EXPECT_EQ(custodian.generate(context).error().code, ErrorCode::already_exists);
}

TEST(FaultyCustodianTest, BeforeEffectNothingHappens) {
  FakeCustodian fake("fake:a");
  FaultPlan plan(1, FaultMoment::before_effect, {ErrorCode::unavailable, "planned"});
  FaultyCustodian custodian(fake, plan);
  EXPECT_EQ(custodian.generate(fresh_context()).error().code, ErrorCode::unavailable);
  EXPECT_EQ(fake.hardware().object_count(), 0u);
  EXPECT_EQ(custodian.id(), fake.id());
  EXPECT_EQ(custodian.identity().value(), fake.identity().value());
}

TEST(FaultyCustodianTest, AfterACrashEveryCallFails) {
  FakeCustodian fake("fake:a");
  FaultPlan plan(1, FaultMoment::crash_after, {ErrorCode::io, "planned"});
  FaultyCustodian custodian(fake, plan);
  EXPECT_FALSE(custodian.generate(fresh_context()).has_value());
  EXPECT_FALSE(custodian.list().has_value());
  EXPECT_FALSE(custodian.probe().has_value());
  EXPECT_EQ(fake.hardware().object_count(), 1u);
}

}  // namespace
}  // namespace keyward::hsm
