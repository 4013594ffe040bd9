#include "store/testing/faulty_keystore.h"

#include <gtest/gtest.h>

#include "store/sqlite/keystore_test_support.h"

namespace keyward::store {
namespace {

using namespace key_table_testing;
using namespace sqlite_testing;

class FaultyKeystoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_.create();
    store_.put(name_of("a"), "alpha");
  }
  // Every call once, in a fixed order; answers how many failed.
  int call_everything(FaultyKeystore& keystore) {
    DecryptingVisitor visitor(store_.ciphers());
    auto reencryptor = make_reencryptor(store_.ciphers().of(kOld), store_.ciphers().of(kNew));
    const AuditRecord record = record_of("test");
    int failed = 0;
    const auto count = [&](const auto& result) {
      if (!result && result.error().message == "planned") ++failed;
    };
    count(keystore.get(name_of("a")));
    count(keystore.list({}, 1));
    count(keystore.entries_total());
    count(keystore.write({}, 1, {}));
    count(keystore.keys());
    count(keystore.change_keys(99, idle_table(), {}));
    count(keystore.reencryption().progress());
    count(keystore.reencryption().run_batch(99, 1, *reencryptor));
    count(keystore.reencryption().scan(visitor, {}));
    count(keystore.reencryption().purge());
    count(keystore.audit_trail().append({&record, 1}));
    count(keystore.audit_trail().read(0, 1));
    count(keystore.audit_trail().verify());
    count(keystore.audit_trail().prune(0));
    return failed;
  }

  TestDirectory directory_;
  std::unique_ptr<Clock> clock_ = real_clock();
  StoreUnderTest store_{directory_.file("S3.db"), *clock_};
};

TEST_F(FaultyKeystoreTest, EachCallCountsAndFailsWhenItIsItsTurn) {
  std::size_t n = 1;
  for (;; ++n) {
    FaultPlan plan(n, FaultMoment::before_effect, {ErrorCode::io, "planned"});
    FaultyKeystore keystore(store_.store(), plan);
    const int failed = call_everything(keystore);
    if (!plan.has_fired()) {
      EXPECT_EQ(failed, 0);
      break;
    }
    EXPECT_EQ(failed, 1);
  }
  EXPECT_EQ(n, 15u);
}

TEST_F(FaultyKeystoreTest, AfterTheEffectTheChangeIsThereAndItsAnswerIsLost) {
  FaultPlan plan(1, FaultMoment::after_effect, {ErrorCode::timeout, "planned"});
  FaultyKeystore keystore(store_.store(), plan);
  EXPECT_THAT(keystore.change_keys(1, preparing_table(), {}), FailsWith(ErrorCode::timeout));
  EXPECT_EQ(must(keystore.keys()).generation, 2u);
}

}  // namespace
}  // namespace keyward::store
