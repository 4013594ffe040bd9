#include "engine/custodian_admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/service_test_support.h"

namespace keyward::engine {
namespace {

using namespace std::chrono_literals;
using testing::domain;
using testing::eventually;
using ::testing::HasSubstr;
using testing::kTester;
using testing::Node;

const CustodianId kA{"fake:a"};
const CustodianId kB{"fake:b"};
const Error kPulled{ErrorCode::unavailable, "pulled out"};

class CustodianAdminTest : public ::testing::Test {
 protected:
  void begin(std::vector<CustodianId> wanted = {}) {
    node.emplace(std::vector<std::string>{"KEYWARD", "S3"}, std::move(wanted));
    serve();
  }
  void serve() {
    node->start({.workers = 2});
    admin.emplace(CustodianAdmin::Parts{*node->keyring, *node->custodians, *node->service,
                                        node->backend->control(), *node->events, node->clock});
  }
  bool copies_become(const std::string& name, std::size_t count) {
    return eventually([&] {
      const auto table = node->table(name);
      return !table.rekey && table.current().copies.size() == count &&
             table.current().holders.size() == count;
    });
  }
  const api::CustodianRow& row(const std::vector<api::CustodianRow>& rows, const CustodianId& id) {
    return *std::ranges::find(rows, id.text, &api::CustodianRow::id);
  }

  std::optional<Node> node;
  std::optional<CustodianAdmin> admin;
};

TEST_F(CustodianAdminTest, AddSealsTheKeysOfEveryDomainWithoutAnotherKey) {
  begin({kA});
  const KeyId key = node->current_key("S3");
  const auto report = admin->add(kB, {}, kTester);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_EQ(report->domains.size(), 2u);
  for (const auto& outcome : report->domains) EXPECT_FALSE(outcome.error);
  EXPECT_TRUE(copies_become("S3", 2));
  EXPECT_TRUE(copies_become("KEYWARD", 2));
  EXPECT_EQ(node->current_key("S3"), key);
  EXPECT_EQ(node->hardware_b->object_count(), 2u);
  EXPECT_EQ(node->table("S3").find_wanted(kB)->identity, "token B");
}

TEST_F(CustodianAdminTest, AddToOneDomainLeavesTheOthersAlone) {
  begin({kA});
  const Domain s3 = domain("S3");
  ASSERT_TRUE(admin->add(kB, {&s3, 1}, kTester));
  EXPECT_TRUE(copies_become("S3", 2));
  EXPECT_EQ(node->table("KEYWARD").wanted.size(), 1u);
}

TEST_F(CustodianAdminTest, AddRefusesOneThatDoesNotAnswerOrIsNotConfigured) {
  begin({kA});
  node->hardware_b->set_down(kPulled);
  const auto down = admin->add(kB, {}, kTester);
  ASSERT_FALSE(down);
  EXPECT_EQ(down.error().code, ErrorCode::unavailable);
  const auto none = admin->add({"fake:none"}, {}, kTester);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::not_found);
  EXPECT_EQ(node->table("S3").wanted.size(), 1u);
}

TEST_F(CustodianAdminTest, RemoveDestroysItsObjectsAndReplacesTheKeys) {
  begin();
  const KeyId old_key = node->current_key("S3");
  const auto report = admin->remove(kB, {}, kTester);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->domains.size(), 2u);
  EXPECT_TRUE(report->except.empty());
  EXPECT_TRUE(node->is_rekeyed("S3", old_key));
  EXPECT_TRUE(copies_become("S3", 1));
  EXPECT_TRUE(eventually([&] { return node->hardware_b->object_count() == 0; }));
}

TEST_F(CustodianAdminTest, RemoveWithoutARekeyKeepsTheKeysAndSaysSo) {
  begin();
  const KeyId old_key = node->current_key("S3");
  const auto report = admin->remove(kB, {.after = AfterRemoval::no_rekey}, kTester);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->except.size(), 1u);
  EXPECT_TRUE(copies_become("S3", 1));
  EXPECT_EQ(node->current_key("S3"), old_key);
  EXPECT_TRUE(eventually([&] { return node->hardware_b->object_count() == 0; }));
}

TEST_F(CustodianAdminTest, TheLastCustodianIsNotRemoved) {
  begin({kA});
  const auto report = admin->remove(kA, {}, kTester);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::conflict);
  EXPECT_THAT(report.error().message, HasSubstr("last custodian"));
  EXPECT_EQ(node->table("S3").wanted.size(), 1u);
}

TEST_F(CustodianAdminTest, ACopyThatDoesNotOpenNowDoesNotCount) {
  begin();
  node->hardware_a->set_down(kPulled);
  const auto report = admin->remove(kB, {}, kTester);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("does not open without it"));
  EXPECT_EQ(node->table("S3").wanted.size(), 2u);
  EXPECT_EQ(node->table("KEYWARD").wanted.size(), 2u);
}

TEST_F(CustodianAdminTest, ALockedKeystoreCountsAsFailingAndIsNamed) {
  begin({kB});  // S3 and KEYWARD open by b alone, NDMP by both.
  ASSERT_TRUE(node->keyring->create_domain(domain("NDMP"), kTester));
  const Domain ndmp = domain("NDMP");
  ASSERT_TRUE(admin->add(kA, {&ndmp, 1}, kTester));
  ASSERT_TRUE(copies_become("NDMP", 2));
  admin.reset();
  node->expects_locked = true;
  node->hardware_b->set_down(kPulled);
  node->restart();
  serve();
  const auto report = admin->remove(kA, {}, kTester);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::unavailable);
  EXPECT_THAT(report.error().message, ::testing::AnyOf(HasSubstr("KEYWARD"), HasSubstr("S3")));
}

TEST_F(CustodianAdminTest, ALostOneIsGivenUpWithoutBeingAsked) {
  begin();
  const KeyId old_key = node->current_key("S3");
  node->hardware_b->set_down(kPulled);
  const auto report = admin->remove(kB, {.hardware = RemovedHardware::lost}, kTester);
  ASSERT_TRUE(report) << report.error().message;
  for (const auto& outcome : report->domains) EXPECT_FALSE(outcome.error) << outcome.error->message;
  ASSERT_EQ(report->except.size(), 1u);
  EXPECT_THAT(report->except.front(), HasSubstr("fake:b was given up as lost"));
  EXPECT_TRUE(node->is_rekeyed("S3", old_key));
  EXPECT_TRUE(copies_become("S3", 1));
}

TEST_F(CustodianAdminTest, RemoveIsTheWayOnWhenPrepareWaitsForIt) {
  begin();
  const KeyId old_key = node->current_key("S3");
  node->hardware_b->set_down(kPulled);
  ASSERT_TRUE(node->start_rekey("S3"));
  ASSERT_TRUE(eventually([&] { return node->is_open(kRekeyFailed, "S3"); }));
  const auto report = admin->remove(kB, {.hardware = RemovedHardware::lost}, kTester);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(eventually([&] { return node->current_key("S3") != old_key; }));
}

TEST_F(CustodianAdminTest, RemovingWhatNobodyWantsIsNotFound) {
  begin({kA});
  const auto report = admin->remove(kB, {}, kTester);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::not_found);
}

TEST_F(CustodianAdminTest, TheListShowsWhatEachHoldsAndHowItFares) {
  begin({kA});
  ASSERT_TRUE(admin->test(kA, kTester));
  node->hardware_b->set_down(kPulled);
  ASSERT_FALSE(admin->test(kB, kTester));
  const auto rows = admin->list();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(row(rows, kA).healthy);
  EXPECT_TRUE(row(rows, kA).destroys);
  EXPECT_EQ(row(rows, kA).copies, 2u);
  EXPECT_EQ(row(rows, kA).domains, (std::vector<std::string>{"KEYWARD", "S3"}));
  EXPECT_EQ(row(rows, kA).identity, "token A");
  EXPECT_FALSE(row(rows, kB).healthy);
  EXPECT_THAT(row(rows, kB).error, HasSubstr("pulled out"));
  EXPECT_EQ(row(rows, kB).copies, 0u);
}

TEST_F(CustodianAdminTest, EachActIsInTheAuditTrailWithItsOutcome) {
  begin({kA});
  node->hardware_b->set_down(kPulled);
  ASSERT_FALSE(admin->add(kB, {}, kTester));
  const auto records = node->backend->control().audit_trail().read(0, 1000).value();
  const auto found = std::ranges::find_if(records, [](const auto& stored) {
    return stored.record.action == "custodian.add" && stored.record.outcome == "unavailable";
  });
  ASSERT_NE(found, records.end());
  EXPECT_EQ(found->record.actor, "uid:0");
  EXPECT_EQ(found->record.subject, "fake:b");
}

}  // namespace
}  // namespace keyward::engine
