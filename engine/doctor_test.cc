#include "engine/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/service_test_support.h"

namespace keyward::engine {
namespace {

using testing::domain;
using ::testing::HasSubstr;
using testing::kTester;
using testing::Node;

const CustodianId kA{"fake:a"};
const CustodianId kB{"fake:b"};

class DoctorTest : public ::testing::Test {
 protected:
  DoctorTest() { serve(); }
  void serve() {
    node.make_service();
    audit.emplace(
        AuditLog::Parts{node.backend->control(), *node.keyring, *node.events, node.clock});
    doctor.emplace(Doctor::Parts{*node.keyring, *node.custodians, *node.service, *audit,
                                 *node.events, node.backend->control()});
  }
  // Another node's object on the same hardware.
  KeyContext plant(const StoreId& store, const std::string& name = "S3") {
    const KeyContext context{store, domain(name), KeyId::random()};
    hsm::FakeCustodian other("fake:a", node.hardware_a);
    EXPECT_TRUE(other.generate(context));
    return context;
  }
  std::vector<api::DoctorFinding> found(std::string_view kind) {
    auto all = doctor->examine({});
    std::erase_if(all, [&](const auto& finding) { return finding.kind != kind; });
    return all;
  }

  Node node;
  std::optional<AuditLog> audit;
  std::optional<Doctor> doctor;
};

TEST_F(DoctorTest, FindsNothingWhereNothingIsWrong) {
  ASSERT_TRUE(node.custodians->test(kA));
  ASSERT_TRUE(node.custodians->test(kB));
  for (const auto& finding : doctor->examine({}))
    ADD_FAILURE() << finding.kind << ": " << finding.text;
}

TEST_F(DoctorTest, ReportsAnUnknownObjectAndDestroysNothing) {
  const KeyContext context = plant(StoreId::random());
  const auto findings = found("unknown_object");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings.front().key, context.key.to_text());
  EXPECT_EQ(findings.front().custodian, "fake:a");
  EXPECT_THAT(findings.front().text, HasSubstr("no keystore here"));
  EXPECT_TRUE(node.is_open(kUnknownHardwareObject, "fake:a"));
  EXPECT_EQ(node.hardware_a->object_count(), 3u);
}

TEST_F(DoctorTest, AKeyThatAnOlderStateDoesNotKnowIsReportedAsSuch) {
  plant(node.table("S3").store);
  const auto findings = found("unknown_object");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_THAT(findings.front().text, HasSubstr("older than the hardware"));
}

TEST_F(DoctorTest, RemovesAnUnknownObjectByItsTypedName) {
  const KeyContext context = plant(StoreId::random());
  const auto removed = doctor->remove_unknown(kA, context.key.to_text(), kTester);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(node.hardware_a->object_count(), 2u);
  EXPECT_TRUE(found("unknown_object").empty());
  const auto again = doctor->remove_unknown(kA, context.key.to_text(), kTester);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::not_found);
}

TEST_F(DoctorTest, NeverRemovesAKeyThatAKeystoreNames) {
  const auto removed = doctor->remove_unknown(kA, node.current_key("S3").to_text(), kTester);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::conflict);
  EXPECT_EQ(node.hardware_a->object_count(), 2u);
}

TEST_F(DoctorTest, NeverRemovesAKeyThatIsOnlyAnnounced) {
  node.hardware_b->set_down({ErrorCode::unavailable, "pulled out"});
  ASSERT_TRUE(node.start_rekey("S3"));  // Announced; nothing is done without a thread.
  const auto table = node.table("S3");
  ASSERT_TRUE(table.rekey);
  hsm::FakeCustodian custodian("fake:a", node.hardware_a);
  ASSERT_TRUE(custodian.generate(table.context(table.rekey->to)));
  EXPECT_TRUE(found("unknown_object").empty());
  const auto removed = doctor->remove_unknown(kA, table.rekey->to.to_text(), kTester);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::conflict);
}

TEST_F(DoctorTest, RefusesAPartOfANameAndWhatIsNotThere) {
  const KeyContext context = plant(StoreId::random());
  for (const std::string& typed :
       {context.key.to_text().substr(0, 8), std::string(), std::string("*")}) {
    const auto removed = doctor->remove_unknown(kA, typed, kTester);
    ASSERT_FALSE(removed);
    EXPECT_EQ(removed.error().code, ErrorCode::invalid_argument);
  }
  const auto removed = doctor->remove_unknown(kB, context.key.to_text(), kTester);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::not_found);
}

TEST_F(DoctorTest, AnObjectWhoseKeystoreIsNotOpenIsNeitherJudgedNorRemoved) {
  const KeyContext context = node.table("S3").context(node.current_key("S3"));
  doctor.reset();
  audit.reset();
  node.stop();
  node.close();
  node.expects_locked = true;
  std::filesystem::resize_file(node.files() / "keystores" / "S3.db", 100);  // Damaged.
  node.open();
  serve();
  EXPECT_EQ(found("unjudged_object").size(), 2u);
  EXPECT_EQ(found("locked_keystore").size(), 1u);
  const auto removed = doctor->remove_unknown(kA, context.key.to_text(), kTester);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, ErrorCode::unavailable);
  EXPECT_EQ(node.hardware_a->object_count(), 2u);
}

TEST_F(DoctorTest, ReportsAnObjectThatIsGone) {
  node.hardware_b->lose(node.table("S3").context(node.current_key("S3")));
  const auto findings = found("missing_object");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings.front().custodian, "fake:b");
  EXPECT_EQ(findings.front().domain, "S3");
  EXPECT_TRUE(node.is_open(kKeyOrphaned, "S3"));
}

TEST_F(DoctorTest, ReportsACustodianThatIsDownAndALoneOne) {
  node.hardware_b->set_down({ErrorCode::unavailable, "pulled out"});
  ASSERT_FALSE(node.custodians->test(kB));
  EXPECT_EQ(found("unhealthy_custodian").size(), 1u);
  ASSERT_TRUE(node.service->reseal(domain("S3"), {kA}, kTester));
  const auto alone = found("one_custodian");
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ(alone.front().domain, "S3");
}

TEST_F(DoctorTest, ReportsAKeyWithFewerCopiesThanWanted) {
  ASSERT_TRUE(node.service->reseal(domain("S3"), {kA}, kTester));
  node.run_service();
  ASSERT_TRUE(testing::eventually([&] { return node.hardware_b->object_count() == 1; }));
  doctor.reset();
  node.stop();
  serve();
  ASSERT_TRUE(node.service->reseal(domain("S3"), {kA, kB}, kTester));
  const auto few = found("few_copies");
  ASSERT_EQ(few.size(), 1u);
  EXPECT_EQ(few.front().custodian, "fake:b");
}

TEST_F(DoctorTest, SaysThatASoftwareTokenIsSoftware) {
  doctor.reset();
  node.stop();
  node.close();
  node.hardware_a->set_identity("manufacturer=SoftHSM project");
  node.open();
  serve();
  EXPECT_EQ(found("software_hardware").size(), 1u);
}

TEST_F(DoctorTest, ReportsACopyOfAKeystoreThatNoRekeyReaches) {
  const auto path = node.files() / "keystores" / "S3.db";
  std::filesystem::copy_file(path, path.string() + ".old");
  const auto findings = found("residue");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings.front().domain, "S3");
  EXPECT_THAT(findings.front().text, HasSubstr("S3.db.old"));
}

TEST_F(DoctorTest, ReportsAuditDefectsAndAnImpossibleClock) {
  ASSERT_TRUE(audit->checkpoint());
  ASSERT_TRUE(audit->checkpoint());
  store::ControlStore& control = node.backend->control();
  const auto first = control.list("checkpoint/", "", 1).value().front();
  ASSERT_TRUE(control.remove(first, {}));
  node.clock.set_utc(UtcTime{});
  EXPECT_EQ(found("audit_defect").size(), 1u);
  EXPECT_EQ(found("clock").size(), 1u);
}

}  // namespace
}  // namespace keyward::engine
