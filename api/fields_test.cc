#include "api/fields.h"

#include <gtest/gtest.h>

#include "api/domain_status.h"
#include "api/page.h"
#include "api/rekey_requests.h"
#include "api/rekey_status.h"

namespace keyward::api {
namespace {

RekeyStatus full_status() {
  RekeyStatus status;
  status.domain = "S3";
  status.job = "0b7c";
  status.state = DomainState::degraded;
  status.phase = "destroy";
  status.entries_done = 7;
  status.entries_total = 9;
  status.entries_per_second = 0.5;
  status.seconds_left = 4;
  status.started = from_iso8601("2026-01-05T02:00:00Z").value();
  status.old_key = "1 of 2 destroyed";
  status.except = {"passphrase:safe", "tpm2:board"};
  status.outcome = RekeyOutcome::destroyed_except;
  return status;
}

TEST(FieldsTest, AStructComesBackFromItsJson) {
  const std::string text = to_json(full_status());
  const Result<RekeyStatus> back = from_json<RekeyStatus>(text);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(to_json(*back), text);
  EXPECT_EQ(back->started, full_status().started);
  EXPECT_EQ(back->outcome, RekeyOutcome::destroyed_except);
  EXPECT_FALSE(back->finished);
}

TEST(FieldsTest, NeverIsNullAndNot1970) {
  EXPECT_NE(to_json(RekeySchedule{}).find(R"("last_rekey":null)"), std::string::npos);
}

TEST(FieldsTest, AbsentListsAndNullablesAreEmpty) {
  const Result<RekeyStart> start = from_json<RekeyStart>("{}");
  ASSERT_TRUE(start) << start.error().message;
  EXPECT_FALSE(start->component);
  EXPECT_TRUE(start->domains.empty());
}

template <typename T>
void refuses(std::string_view text, std::string_view says) {
  const Result<T> read = from_json<T>(text);
  ASSERT_FALSE(read) << text;
  EXPECT_EQ(read.error().code, ErrorCode::invalid_argument);
  EXPECT_NE(read.error().message.find(says), std::string::npos) << read.error().message;
}

TEST(FieldsTest, AWrongMemberIsNamed) {
  refuses<DomainCreate>("{}", "\"domain\" is missing");
  refuses<DomainCreate>(R"({"domain":7})", "\"domain\" should be text, but is a whole number");
  refuses<DomainCreate>(R"({"domain":"S3","x":1})", "\"x\" is not known");
  refuses<DomainCreate>("[]", "The body should be an object");
  refuses<RekeyStart>(R"({"domains":["S3",null]})", "\"domains[1]\" should be text");
  refuses<RekeyStart>(R"({"domains":"S3"})", "\"domains\" should be a list");
  refuses<RekeyStart>(R"({"component":"all"})",
                      R"(should be one of "cluster" "sed", but is "all")");
  refuses<RekeyLimit>(R"({"entries_per_second":-1})", "should be a whole number");
  refuses<RekeyLimit>(R"({"entries_per_second":1.5})", "should be a whole number");
  refuses<Page<DomainStatus>>(
      R"({"items":[{"domain":"S3","status":"ACTIVE","key_created":"yesterday","error":""}]})",
      "\"items[0].key_created\" should be a time like");
}

TEST(FieldsTest, ATableShowsTheFieldsThatHaveAHeading) {
  EXPECT_EQ(
      table_headings<DomainStatus>(),
      (std::vector<std::string>{"Domain", "Status", "Key Creation Date", "Error Info(if any)"}));
  const DomainStatus row{"S3", DomainState::failed, {}, "the token is gone"};
  EXPECT_EQ(table_cells(row), (std::vector<std::string>{"S3", "FAILED", "", "the token is gone"}));
}

}  // namespace
}  // namespace keyward::api
