// A keystore after a failed sync: it writes again once the engine has opened every entry.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "engine/testing/engine_rig.h"
#include "store/sqlite/vfs_fault.h"

namespace keyward::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FailedSyncTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 20; ++i)
      ASSERT_TRUE(rig_.put(fmt::format("entry {}", i), fmt::format("secret {}", i)));
  }
  // Ends the process after one of its syncs has failed.
  void fail_a_sync() {
    store::VfsFault disk(std::numeric_limits<std::size_t>::max(), store::VfsAnswer::fail,
                         store::VfsFault::Lasts::from_then_on, store::VfsOperation::sync);
    rig_.stop();
    ASSERT_TRUE(rig_.try_start({.hook = &disk}));
    disk.fail_next();
    EXPECT_EQ(rig_.put("entry 1", "lost").error().code, ErrorCode::io);
    disk.repair();
    EXPECT_EQ(rig_.put("entry 2", "refused").error().code, ErrorCode::io);
    rig_.stop();
  }

  EngineRig rig_;
};

TEST_F(FailedSyncTest, WritesGoOnAfterARestartThatHasOpenedEveryEntry) {
  fail_a_sync();
  rig_.start();
  EXPECT_FALSE(rig_.has_open_event(kKeystoreUnverified));
  ASSERT_TRUE(rig_.put("entry 1", "again"));
  ASSERT_TRUE(rig_.rekey());
  EXPECT_THAT(rig_.defects(), IsEmpty());
}

TEST_F(FailedSyncTest, ADamagedEntryKeepsTheKeystoreFromBeingWritten) {
  const auto name = EntryName::parse("entry 4").value();
  store::SealedEntry entry = rig_.keystore()->get(name).value();
  entry.blob.back() ^= std::byte{1};
  store::EntryChange change{name, entry.version, entry};
  change.entry->version = entry.version + 1;
  ASSERT_TRUE(rig_.keystore()->write({&change, 1}, rig_.table().generation, {}));
  fail_a_sync();
  for (int start = 0; start < 2; ++start) {
    rig_.start();
    EXPECT_TRUE(rig_.has_open_event(kKeystoreUnverified));
    EXPECT_EQ(rig_.get("entry 3").value(), "secret 3");
    const auto refused = rig_.put("entry 3", "new");
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("not yet verified"));
    EXPECT_FALSE(rig_.begin());
    rig_.stop();
  }
  rig_.start();
}

// The commit whose sync failed may come back with the restart: then nothing else may be in the
// hardware than what it names.
TEST(FailedSync, AResealThatIsTriedAgainAfterAFailedSyncMakesNoSecondObject) {
  EngineRig rig({"fake:a", "fake:b", "fake:c"});
  ASSERT_TRUE(rig.want({"fake:a", "fake:b"}));
  ASSERT_TRUE(rig.reseal());
  bool fired = true;
  for (std::size_t n = 1; fired; ++n) {
    store::VfsFault disk(n, store::VfsAnswer::fail, store::VfsFault::Lasts::once,
                         store::VfsOperation::sync);
    rig.stop();
    if (rig.try_start({.hook = &disk}) && rig.keyring().keystore(rig.domain())) {
      static_cast<void>(rig.want({"fake:a", "fake:b", "fake:c"}));
      for (int i = 0; i < 3; ++i) static_cast<void>(ResealJob(rig.parts()).step());
    }
    fired = disk.has_fired();
    rig.stop();
    rig.start();
    ASSERT_TRUE(rig.want({"fake:a", "fake:b", "fake:c"})) << n;
    ASSERT_TRUE(rig.reseal()) << n;
    EXPECT_THAT(rig.defects(), IsEmpty()) << n;
    ASSERT_TRUE(rig.want({"fake:a", "fake:b"}));
    ASSERT_TRUE(rig.reseal());
  }
}

TEST_F(FailedSyncTest, ALockedKeystoreIsVerifiedWhenItsKeysOpen) {
  fail_a_sync();
  for (const char* id : {"fake:a", "fake:b"})
    rig_.hardware(id).set_down({ErrorCode::io, "pulled out"});
  rig_.start();
  EXPECT_EQ(rig_.status().state, api::DomainState::locked);
  for (const char* id : {"fake:a", "fake:b"}) rig_.hardware(id).set_up();
  rig_.unseal();
  ASSERT_TRUE(rig_.put("entry 1", "again"));
}

}  // namespace
}  // namespace keyward::engine
