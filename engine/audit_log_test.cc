#include "engine/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/audit_checkpoint.h"
#include "engine/service_test_support.h"

namespace keyward::engine {
namespace {

using ::testing::Contains;
using testing::domain;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kTester;
using testing::Node;
using ::testing::SizeIs;

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLog log() {
    return AuditLog({node.backend->control(), *node.keyring, *node.events, node.clock});
  }
  std::vector<std::string> defects() { return log().verify({}).value().defects; }
  store::ControlStore& control() { return node.backend->control(); }
  std::filesystem::path keystore(const std::string& name) {
    return node.files() / "keystores" / (name + ".db");
  }

  Node node;
};

// As in the first instant after a restart.
TEST_F(AuditLogTest, AKeystoreThatWaitsToBeOpenedIsNotGone) {
  ASSERT_TRUE(log().checkpoint());
  const auto& engine = crypto::choose_aead_engine("auto").value().get();
  Keyring fresh({*node.backend, *node.custodians, engine, *node.events, node.clock},
                {.read_audit_pause = std::chrono::hours{10'000}});
  const auto verdict = AuditLog({control(), fresh, *node.events, node.clock}).verify({}).value();
  EXPECT_THAT(verdict.defects, IsEmpty());
  EXPECT_THAT(verdict.notes, Contains(HasSubstr("S3")));
}

TEST_F(AuditLogTest, MergesAllTrailsByTimeAndPagesWithoutGapOrRepetition) {
  for (int i = 0; i < 5; ++i) {
    node.fill("S3", 1);
    node.clock.advance(std::chrono::seconds{1});
    node.fill("KEYWARD", 1);
    node.clock.advance(std::chrono::seconds{1});
  }
  const auto all = log().list({.count_max = 1000}).value();
  EXPECT_EQ(all.next, "");
  EXPECT_TRUE(
      std::ranges::is_sorted(all.lines, {}, [](const auto& line) { return line.stored.time; }));
  std::vector<std::string> paged;
  AuditQuery query{.count_max = 3};
  do {
    const auto page = log().list(query).value();
    EXPECT_LE(page.lines.size(), 3u);
    for (const auto& line : page.lines)
      paged.push_back(fmt::format("{} {}", line.trail, line.stored.sequence));
    query.after = page.next;
  } while (!query.after.empty());
  std::vector<std::string> whole;
  for (const auto& line : all.lines)
    whole.push_back(fmt::format("{} {}", line.trail, line.stored.sequence));
  EXPECT_EQ(paged, whole);
  EXPECT_GE(whole.size(), 10u);
}

TEST_F(AuditLogTest, FiltersByActorSubjectActionAndTime) {
  node.fill("S3", 3);
  const UtcTime between = node.clock.now() + std::chrono::seconds{1};
  node.clock.advance(std::chrono::seconds{2});
  node.fill("KEYWARD", 2);
  EXPECT_THAT(log().list({.subject = "S3", .action = "entry.put"}).value().lines, SizeIs(3));
  EXPECT_THAT(log().list({.since = between, .action = "entry.put"}).value().lines, SizeIs(2));
  EXPECT_THAT(log().list({.until = between, .action = "entry.put"}).value().lines, SizeIs(3));
  EXPECT_THAT(log().list({.actor = "nobody"}).value().lines, IsEmpty());
}

TEST_F(AuditLogTest, AForgedPlaceToGoOnFromIsRefused) {
  for (const char* after : {"nonsense", "S3=", "S3=x", "=,", "S3=99999999999999999999999"}) {
    const auto page = log().list({.after = after});
    ASSERT_FALSE(page) << after;
    EXPECT_EQ(page.error().code, ErrorCode::invalid_argument);
  }
}

TEST_F(AuditLogTest, AnUntouchedStateVerifiesAndCheckpointsAreSignedOverAllTrails) {
  node.fill("S3", 3);
  ASSERT_TRUE(log().checkpoint());
  ASSERT_TRUE(log().checkpoint());
  const auto verdict = log().verify({}).value();
  EXPECT_THAT(verdict.defects, IsEmpty());
  EXPECT_THAT(verdict.notes, IsEmpty());
  EXPECT_EQ(verdict.trails, 3u);
  EXPECT_EQ(verdict.checkpoints, 2u);
  const auto checkpoint =
      checkpoint_from_json(control().load(checkpoint_name(2)).value().json).value();
  EXPECT_TRUE(has_valid_signature(checkpoint));
  EXPECT_THAT(checkpoint.heads, SizeIs(3));
}

TEST_F(AuditLogTest, AKeystorePutBackToAnOlderStateShows) {
  const auto kept = node.directory.path() / "kept";
  constexpr auto kWhole = std::filesystem::copy_options::recursive;
  node.fill("S3", 1);
  node.close();
  std::filesystem::copy(node.files() / "keystores", kept, kWhole);
  node.open();
  node.fill("S3", 5);
  ASSERT_TRUE(log().checkpoint());
  node.close();
  std::filesystem::remove_all(node.files() / "keystores");
  std::filesystem::copy(kept, node.files() / "keystores", kWhole);
  node.open();
  EXPECT_THAT(defects(), Contains(HasSubstr("S3: cut at the end")));
}

TEST_F(AuditLogTest, AKeystoreThatIsGoneShowsUnlessItWasDeletedProperly) {
  ASSERT_TRUE(node.keyring->create_domain(domain("NDMP"), kTester));
  ASSERT_TRUE(log().checkpoint());
  ASSERT_TRUE(node.keyring->delete_domain(domain("NDMP"), kTester));
  EXPECT_THAT(defects(), IsEmpty());
  node.close();
  std::filesystem::remove(keystore("S3"));
  node.open();
  EXPECT_THAT(defects(), Contains(HasSubstr("the keystore")));
}

TEST_F(AuditLogTest, AnEditedCheckpointShows) {
  ASSERT_TRUE(log().checkpoint());
  auto document = control().load(checkpoint_name(1)).value();
  auto checkpoint = checkpoint_from_json(document.json).value();
  checkpoint.heads.pop_back();
  document.json = checkpoint_to_json(checkpoint);
  ASSERT_TRUE(control().save(document, {}));
  EXPECT_THAT(defects(), Contains(HasSubstr("signature")));
}

TEST_F(AuditLogTest, ACheckpointSignedByAnotherKeyShows) {
  ASSERT_TRUE(log().checkpoint());
  auto document = control().load(checkpoint_name(1)).value();
  auto checkpoint = checkpoint_from_json(document.json).value();
  ASSERT_TRUE(sign(checkpoint, SecretBytes::random(32).value()));
  document.json = checkpoint_to_json(checkpoint);
  ASSERT_TRUE(control().save(document, {}));
  EXPECT_THAT(defects(), Contains(HasSubstr("another key")));
}

TEST_F(AuditLogTest, AMissingCheckpointShowsInTheMiddleAndAtTheEnd) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(log().checkpoint());
  ASSERT_TRUE(control().remove(control().load(checkpoint_name(2)).value(), {}));
  EXPECT_THAT(defects(), Contains(HasSubstr("checkpoints 2 to 2 are gone")));
  ASSERT_TRUE(control().remove(control().load(checkpoint_name(3)).value(), {}));
  EXPECT_THAT(defects(), Contains(HasSubstr("checkpoints 2 to 3 are gone")));
}

TEST_F(AuditLogTest, RunSignsOnceADayAndRaisesWhatItFinds) {
  AuditLog audit = log();
  std::jthread thread([&](std::stop_token stop) { audit.run(std::move(stop)); });
  ASSERT_TRUE(node.clock.await_waiters(3));
  node.clock.advance(std::chrono::hours{48});
  EXPECT_EQ(control().list("checkpoint/", "", 10).value().size(), 3u);
  ASSERT_TRUE(control().remove(control().load(checkpoint_name(1)).value(), {}));
  node.clock.advance(std::chrono::hours{24});
  EXPECT_TRUE(node.is_open(kAuditTampered, "control"));
}

TEST_F(AuditLogTest, WithoutKeywardThereIsNoCheckpoint) {
  Node other({"S3"});
  AuditLog audit({other.backend->control(), *other.keyring, *other.events, other.clock});
  EXPECT_FALSE(audit.checkpoint());
  EXPECT_THAT(audit.verify({}).value().defects, IsEmpty());
}

TEST_F(AuditLogTest, AStopEndsTheVerification) {
  std::stop_source stop;
  stop.request_stop();
  const auto verdict = log().verify(stop.get_token());
  ASSERT_FALSE(verdict);
  EXPECT_EQ(verdict.error().code, ErrorCode::cancelled);
}

}  // namespace
}  // namespace keyward::engine
