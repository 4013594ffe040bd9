// Every route, with right and wrong input.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "api/audit.h"
#include "api/custodian_row.h"
#include "api/doctor.h"
#include "api/domain_status.h"
#include "api/event.h"
#include "api/key_info.h"
#include "api/page.h"
#include "api/problem.h"
#include "api/rekey_requests.h"
#include "api/rekey_status.h"
#include "api/routes.h"
#include "api/upgrade.h"
#include "api/version.h"
#include "daemon/daemon_fixture.h"
#include "daemon/handlers.h"

namespace keyward::daemon {
namespace {

class RoutesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = new TestDaemon();
    daemon_->create("S3");
    daemon_->create("SIQ");
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }
  static Answer call(std::string_view method, std::string_view to, std::string_view body = {},
                     std::string_view headers = {}) {
    return daemon_->call(method, to, body, headers);
  }
  template <typename T>
  static T get(std::string_view to) {
    const Answer answer = call("GET", to);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json<T>();
  }
  static void refused(const Answer& answer, int status, std::string_view code) {
    EXPECT_EQ(answer.status, status) << answer.head << answer.body;
    EXPECT_EQ(answer.json<api::Problem>().code, code) << answer.body;
  }
  // The route's path with a value for each parameter.
  static std::string path_of(const api::Route& route) {
    std::string path(route.path);
    for (std::size_t at = path.find('{'); at != std::string::npos; at = path.find('{')) {
      const std::size_t size = path.find('}') - at + 1;
      const std::string name = path.substr(at + 1, size - 2);
      path.replace(at, size, name == "domain" ? "S3" : name == "component" ? "cluster" : "x");
    }
    return path;
  }

  static TestDaemon* daemon_;
};
TestDaemon* RoutesTest::daemon_ = nullptr;

TEST_F(RoutesTest, EachHasAHandlerOrIsAStream) {
  for (const api::Route& route : api::routes()) {
    const bool stream = route.name == "entry.import" || route.name == "event.stream";
    EXPECT_EQ(handler_of(route) == nullptr, stream) << route.name;
  }
}

TEST_F(RoutesTest, EachRefusesBodiesThatItsStructDoesNotFit) {
  const std::string deep(50'000, '[');
  for (const api::Route& route : api::routes()) {
    if (route.request.empty() || route.request == "secret" || route.request == "records") continue;
    const auto send = [&](std::string_view body) {
      return call(api::method_name(route.method), path_of(route), body);
    };
    SCOPED_TRACE(route.name);
    for (const std::string& body : {std::string("{"), std::string("nonsense"), std::string("[]"),
                                    std::string("{\"surprise\":1}"), deep, std::string("\xff")})
      refused(send(body), 400, "invalid_argument");
    refused(send("{\"x\":\"" + std::string(64 * 1024, 'x') + "\"}"), 413, "invalid_argument");
  }
}

TEST_F(RoutesTest, EachThatTakesNoBodyRefusesOne) {
  for (const api::Route& route : api::routes())
    if (route.request.empty())
      refused(call(api::method_name(route.method), path_of(route), "{}"), 400, "invalid_argument");
}

TEST_F(RoutesTest, EachRefusesParametersThatItDoesNotKnow) {
  for (const api::Route& route : api::routes()) {
    const std::string to = path_of(route) + "?surprise=1";
    const std::string_view body = route.request.empty() ? "" : "{}";
    SCOPED_TRACE(route.name);
    refused(call(api::method_name(route.method), to, body), 400, "invalid_argument");
  }
}

TEST_F(RoutesTest, AMethodThatAPathDoesNotTakeIsToldWhichItTakes) {
  const Answer answer = call("DELETE", "/api/v1/version");
  refused(answer, 405, "invalid_argument");
  EXPECT_TRUE(answer.has_header("Allow: GET\r\n")) << answer.head;
  refused(call("HEAD", "/api/v1/domains"), 405, "invalid_argument");
  refused(call("BREW", "/api/v1/domains"), 405, "invalid_argument");
}

TEST_F(RoutesTest, APathThatIsNotThereIsNotFound) {
  for (const char* path : {"/", "/api/v1", "/api/v2/version", "/api/v1/domains/", "*",
                           "http://keyward/api/v1/version"})
    refused(call("GET", path), 404, "not_found");
}

TEST_F(RoutesTest, WhatIsNoHttpIsToldSo) {
  for (const char* text : {"nonsense\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                           "GET / HTTP/1.1\r\nno colon\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n"}) {
    TestClient client(daemon_->socket());
    ASSERT_TRUE(client.send(text));
    EXPECT_EQ(client.receive().status, 400) << text;
    EXPECT_TRUE(client.is_cut());
  }
}

TEST_F(RoutesTest, ALongHeaderIsReadAndATooLongOneIsNot) {
  EXPECT_EQ(call("GET", "/api/v1/version", "", "X: " + std::string(7'000, 'x') + "\r\n").status,
            200);
  refused(call("GET", "/api/v1/version", "", "X: " + std::string(9'000, 'x') + "\r\n"), 431,
          "invalid_argument");
  refused(call("GET", "/" + std::string(100'000, 'x')), 431, "invalid_argument");
}

TEST_F(RoutesTest, DomainsAreCreatedListedAndDeleted) {
  daemon_->create("NDMP");
  refused(call("POST", "/api/v1/domains", R"({"domain":"NDMP"})"), 409, "already_exists");
  refused(call("POST", "/api/v1/domains", R"({"domain":"ndmp"})"), 400, "invalid_argument");
  refused(call("POST", "/api/v1/domains", R"({"domain":"../X"})"), 400, "invalid_argument");
  const auto rows = get<api::Page<api::DomainStatus>>("/api/v1/domains");
  std::set<std::string> names;
  for (const api::DomainStatus& row : rows.items) names.insert(row.domain);
  EXPECT_TRUE(names.contains("NDMP"));
  EXPECT_FALSE(names.contains("KEYWARD")) << "it is no cluster domain";
  ASSERT_EQ(call("PUT", "/api/v1/domains/NDMP/entries/a", "x").status, 200);
  refused(call("DELETE", "/api/v1/domains/NDMP"), 409, "conflict");
  ASSERT_EQ(call("DELETE", "/api/v1/domains/NDMP/entries/a").status, 204);
  EXPECT_EQ(call("DELETE", "/api/v1/domains/NDMP").status, 204);
  refused(call("DELETE", "/api/v1/domains/NDMP"), 404, "not_found");
  refused(call("GET", "/api/v1/domains?component=x"), 400, "invalid_argument");
}

TEST_F(RoutesTest, TheFirstStartMakesKeyward) {
  EXPECT_TRUE(daemon_->wait_for("/api/v1/domains?all", [](const Answer& answer) {
    for (const auto& row : answer.json<api::Page<api::DomainStatus>>().items)
      if (row.domain == "KEYWARD" && row.state == api::DomainState::active) return true;
    return false;
  }));
}

TEST_F(RoutesTest, KeysShowTheirCopiesAndNothingSecret) {
  const auto keys = get<api::Page<api::KeyInfo>>("/api/v1/keys?domain=SIQ");
  ASSERT_EQ(keys.items.size(), 1u);
  const api::KeyInfo& key = keys.items[0];
  EXPECT_EQ(key.state, api::MasterKeyState::current);
  EXPECT_EQ(key.copies, (std::vector<std::string>{"fake:a", "fake:b"}));
  EXPECT_EQ(key.check_value.size(), 16u);
  EXPECT_EQ(get<api::KeyInfo>("/api/v1/keys/" + key.id).domain, "SIQ");
  EXPECT_GE(get<api::Page<api::KeyInfo>>("/api/v1/keys").items.size(), 2u);
  refused(call("GET", "/api/v1/keys/00000000-0000-4000-8000-000000000000"), 404, "not_found");
  refused(call("GET", "/api/v1/keys/x"), 400, "invalid_argument");
  refused(call("GET", "/api/v1/keys?domain=NONE"), 404, "not_found");
}

TEST_F(RoutesTest, ARekeyRunsAndLeavesItsHistory) {
  const std::string before =
      get<api::Page<api::KeyInfo>>("/api/v1/keys?domain=S3").items.front().id;
  ASSERT_EQ(call("PUT", "/api/v1/domains/S3/entries/kept", "secret").status, 200);
  const Answer started = call("POST", "/api/v1/rekeys", R"({"domains":["S3"]})");
  EXPECT_EQ(started.status, 202) << started.body;
  const auto jobs = started.json<api::Page<api::DomainResult>>();
  ASSERT_EQ(jobs.items.size(), 1u);
  EXPECT_EQ(jobs.items[0].code, "") << jobs.items[0].error;
  EXPECT_TRUE(jobs.items[0].job);
  EXPECT_TRUE(daemon_->wait_for("/api/v1/rekeys/history?domain=S3", [](const Answer& answer) {
    const auto past = answer.json<api::Page<api::RekeyStatus>>();
    return !past.items.empty() && past.items[0].outcome == api::RekeyOutcome::destroyed;
  }));
  // The old key's row goes a moment after its history was written.
  EXPECT_TRUE(daemon_->wait_for("/api/v1/keys?domain=S3", [&](const Answer& answer) {
    const auto keys = answer.json<api::Page<api::KeyInfo>>();
    return keys.items.size() == 1 && keys.items[0].id != before &&
           keys.items[0].state == api::MasterKeyState::current;
  }));
  EXPECT_EQ(call("GET", "/api/v1/domains/S3/entries/kept").body, "secret");
  EXPECT_EQ(get<api::Page<api::RekeyStatus>>("/api/v1/rekeys?domain=S3").items.size(), 1u);
}

TEST_F(RoutesTest, RekeysOfDomainsThatAreNotThereAreRefusedWhole) {
  refused(call("POST", "/api/v1/rekeys", R"({"domains":["SIQ","NONE"]})"), 404, "not_found");
  refused(call("POST", "/api/v1/rekeys", R"({"domains":["s3"]})"), 400, "invalid_argument");
  refused(call("POST", "/api/v1/rekeys", R"({"component":"sed"})"), 404, "not_found");
  refused(call("GET", "/api/v1/rekeys?domain=NONE"), 404, "not_found");
  for (const char* verb : {"pause", "resume", "cancel", "retry"})
    refused(call("POST", std::string("/api/v1/rekeys:") + verb, R"({"domains":["NONE"]})"), 404,
            "not_found");
}

TEST_F(RoutesTest, WhatThereIsNoRekeyToDoItToAnswersPerDomain) {
  for (const char* verb : {"pause", "resume", "cancel", "retry"}) {
    const Answer answer =
        call("POST", std::string("/api/v1/rekeys:") + verb, R"({"domains":["SIQ"]})");
    EXPECT_LT(answer.status, 300) << answer.body;
    const auto rows = answer.json<api::Page<api::DomainResult>>();
    ASSERT_EQ(rows.items.size(), 1u);
    EXPECT_EQ(rows.items[0].domain, "SIQ");
    EXPECT_EQ(rows.items[0].code, "not_found") << verb << rows.items[0].error;
  }
}

TEST_F(RoutesTest, SchedulesAreSetAndShown) {
  auto schedule = get<api::RekeySchedule>("/api/v1/rekey-schedule/cluster");
  EXPECT_EQ(schedule.key_rotation, "Never");
  EXPECT_FALSE(schedule.next_rekey);
  const Answer set = call("PUT", "/api/v1/rekey-schedule/cluster", R"({"key_rotation":"6W"})");
  ASSERT_EQ(set.status, 200) << set.body;
  schedule = get<api::RekeySchedule>("/api/v1/rekey-schedule/cluster");
  EXPECT_EQ(schedule.key_rotation, "6W");
  EXPECT_EQ(schedule.description, "every 6 weeks");
  EXPECT_TRUE(schedule.next_rekey);
  refused(
      call("PUT", "/api/v1/rekey-schedule/cluster",
           R"({"key_rotation":"2M","if_version":)" + std::to_string(schedule.version - 1) + "}"),
      409, "conflict");
  for (const char* rotation : {"6", "6X", "", "-1W", "0W", "1.5M"})
    refused(call("PUT", "/api/v1/rekey-schedule/cluster",
                 std::string(R"({"key_rotation":")") + rotation + "\"}"),
            400, "invalid_argument");
  refused(call("GET", "/api/v1/rekey-schedule/all"), 400, "invalid_argument");
  EXPECT_EQ(call("PUT", "/api/v1/rekey-schedule/cluster", R"({"key_rotation":"never"})").status,
            200);
  EXPECT_EQ(get<api::RekeySchedule>("/api/v1/rekey-schedule/sed").key_rotation, "Never");
}

TEST_F(RoutesTest, TheLimitIsSetAndLifted) {
  EXPECT_FALSE(get<api::RekeyLimit>("/api/v1/rekey-limit").entries_per_second);
  EXPECT_EQ(call("PUT", "/api/v1/rekey-limit", R"({"entries_per_second":500})").status, 200);
  EXPECT_EQ(get<api::RekeyLimit>("/api/v1/rekey-limit").entries_per_second, 500u);
  refused(call("PUT", "/api/v1/rekey-limit", R"({"entries_per_second":0})"), 400,
          "invalid_argument");
  EXPECT_EQ(call("PUT", "/api/v1/rekey-limit", R"({"entries_per_second":null})").status, 200);
  EXPECT_FALSE(get<api::RekeyLimit>("/api/v1/rekey-limit").entries_per_second);
}

TEST_F(RoutesTest, CustodiansAreListedAndTested) {
  const auto rows = get<api::Page<api::CustodianRow>>("/api/v1/custodians");
  ASSERT_EQ(rows.items.size(), 2u);
  EXPECT_TRUE(rows.items[0].destroys);
  const Answer tested = call("POST", "/api/v1/custodians/fake:a:test");
  EXPECT_EQ(tested.status, 200) << tested.body;
  EXPECT_EQ(tested.json<api::CustodianRow>().id, "fake:a");
  refused(call("POST", "/api/v1/custodians/fake:none:test"), 404, "not_found");
  refused(call("POST", "/api/v1/custodians", R"({"id":"fake:none"})"), 404, "not_found");
  refused(call("POST", "/api/v1/custodians", R"({"id":"fake:a","domains":["s3"]})"), 400,
          "invalid_argument");
  refused(call("DELETE", "/api/v1/custodians/fake:none"), 404, "not_found");
  refused(call("DELETE", "/api/v1/custodians/fake:a?lost=perhaps"), 400, "invalid_argument");
  refused(call("POST", "/api/v1/custodians/fake:a:unlock", "passphrase"), 501, "unsupported");
  refused(call("POST", "/api/v1/custodians/fake:a:unlock"), 411, "invalid_argument");
}

TEST_F(RoutesTest, EventsAreListedAndStreamed) {
  TestClient stream(daemon_->socket());
  ASSERT_TRUE(stream.send("GET /api/v1/events/stream HTTP/1.1\r\n\r\n"));
  ASSERT_TRUE(stream.receive_until(
      [](const auto& text) { return text.find("\r\n\r\n") != std::string::npos; }));
  EXPECT_NE(stream.received().find("Content-Type: text/event-stream"), std::string::npos);
  ASSERT_EQ(call("POST", "/api/v1/rekeys", R"({"domains":["SIQ"]})").status, 202);
  ASSERT_TRUE(stream.receive_until([](const auto& text) {
    return text.find("event: KeyManagerRekeyFinished\ndata: {\"id\":") != std::string::npos;
  })) << stream.received();
  const auto events = get<api::Page<api::Event>>("/api/v1/events?limit=1");
  ASSERT_EQ(events.items.size(), 1u);
  ASSERT_TRUE(events.next);
  const auto newest = get<api::Page<api::Event>>("/api/v1/events?newest&limit=1");
  ASSERT_EQ(newest.items.size(), 1u);
  EXPECT_GT(newest.items[0].id, events.items[0].id);
  TestClient resumed(daemon_->socket());
  ASSERT_TRUE(resumed.send("GET /api/v1/events/stream HTTP/1.1\r\nLast-Event-ID: " +
                           std::to_string(newest.items[0].id - 1) + "\r\n\r\n"));
  EXPECT_TRUE(resumed.receive_until([&](const auto& text) {
    return text.find("id: " + std::to_string(newest.items[0].id) + "\n") != std::string::npos;
  })) << resumed.received();
  refused(call("GET", "/api/v1/events?after=x"), 400, "invalid_argument");
  refused(call("GET", "/api/v1/events/stream?after=x"), 400, "invalid_argument");
}

TEST_F(RoutesTest, ChangesAreAuditedWithWhoMadeThem) {
  ASSERT_EQ(call("PUT", "/api/v1/domains/S3/entries/audited", "secret-canary").status, 200);
  const Answer answer = call("GET", "/api/v1/audit?actor=uid:0&limit=1000");
  EXPECT_EQ(answer.body.find("secret-canary"), std::string::npos);
  bool found = false;
  for (const api::AuditRow& row : answer.json<api::Page<api::AuditRow>>().items)
    found = found || (row.trail == "S3" && row.origin == "unix" &&
                      row.detail.find("audited") != std::string::npos);
  EXPECT_TRUE(found) << answer.body;
  const auto verdict = call("POST", "/api/v1/audit:verify").json<api::AuditVerdict>();
  EXPECT_TRUE(verdict.intact);
  EXPECT_GT(verdict.records, 0u);
  refused(call("GET", "/api/v1/audit?since=yesterday"), 400, "invalid_argument");
  refused(call("GET", "/api/v1/audit?after=nonsense"), 400, "invalid_argument");
}

TEST_F(RoutesTest, TheDoctorFindsAndRemovesOnlyWhatIsNamed) {
  EXPECT_EQ(call("GET", "/api/v1/doctor").status, 200);
  const std::string current =
      get<api::Page<api::KeyInfo>>("/api/v1/keys?domain=S3").items.front().id;
  const auto remove = [](const std::string& custodian, const std::string& key) {
    return call("POST", "/api/v1/doctor:remove",
                R"({"custodian":")" + custodian + R"(","key":")" + key + "\"}");
  };
  refused(remove("fake:a", current), 409, "conflict");
  refused(remove("fake:a", "00000000-0000-4000-8000-000000000000"), 404, "not_found");
  refused(remove("fake:none", current), 404, "not_found");
}

TEST_F(RoutesTest, NothingIsToBeUpgraded) {
  const auto state = get<api::UpgradeState>("/api/v1/upgrade");
  EXPECT_GT(state.format_current, 0u);
  EXPECT_TRUE(state.stores_to_upgrade.empty());
  EXPECT_EQ(call("POST", "/api/v1/upgrade:commit").status, 200);
}

TEST_F(RoutesTest, VersionAndMetricsTellWhatRuns) {
  const auto version = get<api::Version>("/api/v1/version");
  EXPECT_EQ(version.product, "keyward");
  EXPECT_EQ(version.pid, static_cast<std::uint64_t>(::getpid()));
  EXPECT_FALSE(version.aead_engine.empty());
  const Answer metrics = call("GET", "/metrics");
  EXPECT_EQ(metrics.status, 200);
  for (const char* line :
       {"keyward_domain_status{domain=\"S3\",status=", "keyward_custodian_healthy{custodian=",
        "keyward_http_answers_total{route=\"version\",status=\"2xx\"}",
        "process_resident_memory_bytes "})
    EXPECT_NE(metrics.body.find(line), std::string::npos) << line << "\n" << metrics.body;
}

}  // namespace
}  // namespace keyward::daemon
