// Entries over the socket: what is right, and everything that can be wrong.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "api/entry_row.h"
#include "api/page.h"
#include "api/problem.h"
#include "api/url.h"
#include "daemon/daemon_fixture.h"
#include "daemon/entry_importer.h"

namespace keyward::daemon {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

class EntriesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = new TestDaemon([](Config& config) { config.limits.bytes_in_flight_max = 6 * kMiB; });
    daemon_->create("S3");
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }

  static std::string target(std::string_view name, std::string_view domain = "S3") {
    return "/api/v1/domains/" + std::string(domain) + "/entries/" + api::percent_encode(name);
  }
  static Answer call(std::string_view method, std::string_view to, std::string_view body = {},
                     std::string_view headers = {}) {
    return daemon_->call(method, to, body, headers);
  }
  // The answer is a problem with this status and code, and says something.
  static void refused(const Answer& answer, int status, std::string_view code) {
    EXPECT_EQ(answer.status, status) << answer.head << answer.body;
    EXPECT_TRUE(answer.has_header("Content-Type: application/problem+json")) << answer.head;
    const auto problem = answer.json<api::Problem>();
    EXPECT_EQ(problem.code, code) << answer.body;
    EXPECT_EQ(problem.status, static_cast<std::uint64_t>(status));
    EXPECT_GT(problem.detail.size(), 10u);
  }

  static TestDaemon* daemon_;
};
TestDaemon* EntriesTest::daemon_ = nullptr;

TEST_F(EntriesTest, ASecretComesBackWithItsVersion) {
  const std::string secret("\0\xff\r\n\r\nsecret", 13);
  const Answer put = call("PUT", target("a"), secret);
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(put.json<api::EntryWritten>().version, 1u);
  EXPECT_TRUE(put.has_header("ETag: \"1\"\r\n"));
  const Answer get = call("GET", target("a"));
  EXPECT_EQ(get.status, 200);
  EXPECT_EQ(get.body, secret);
  EXPECT_TRUE(get.has_header("ETag: \"1\"\r\n"));
  EXPECT_TRUE(get.has_header("Content-Type: application/octet-stream\r\n"));
  EXPECT_TRUE(get.has_header("Cache-Control: no-store\r\n"));
  EXPECT_EQ(call("DELETE", target("a")).status, 204);
  refused(call("GET", target("a")), 404, "not_found");
  refused(call("DELETE", target("a")), 404, "not_found");
}

TEST_F(EntriesTest, OneMiBFitsAndOneByteMoreDoesNot) {
  std::string secret(kMiB, 'x');
  secret.back() = 'y';
  EXPECT_EQ(call("PUT", target("big"), secret).status, 200);
  EXPECT_EQ(call("GET", target("big")).body, secret);
  refused(call("PUT", target("big"), secret + "z"), 413, "invalid_argument");
  EXPECT_EQ(call("GET", target("big")).body, secret);
}

TEST_F(EntriesTest, ASecretNeedsBytesAndALength) {
  refused(call("PUT", target("a"), "", "Content-Length: 0\r\n"), 400, "invalid_argument");
  refused(call("PUT", target("a")), 411, "invalid_argument");
  refused(call("PUT", target("a"), "", "Transfer-Encoding: chunked\r\n"), 411, "invalid_argument");
  refused(call("PUT", target("a"), "", "Content-Length: 99999999999999999999\r\n"), 400,
          "invalid_argument");
  refused(call("PUT", target("a"), "", "Content-Length: 9999999999\r\n"), 413, "invalid_argument");
}

TEST_F(EntriesTest, OddNamesAreEntriesOrAreRefused) {
  const std::vector<std::string> good{
      "../../etc/passwd",    "a/b", "%", "?x=1#", " ", "\xc3\xa4\xe2\x82\xac", "a:b",
      std::string(512, 'n'), "."};
  for (const std::string& name : good) {
    EXPECT_EQ(call("PUT", target(name), "secret of " + name).status, 200) << name;
    EXPECT_EQ(call("GET", target(name)).body, "secret of " + name) << name;
    EXPECT_EQ(call("DELETE", target(name)).status, 204) << name;
  }
  const std::vector<std::string> bad{std::string("a\0b", 3), "a\nb", "\x7f", "\xff", "\xc0\x80",
                                     std::string(513, 'n')};
  for (const std::string& name : bad) {
    refused(call("PUT", target(name), "x"), 400, "invalid_argument");
    refused(call("GET", target(name)), 400, "invalid_argument");
  }
  refused(call("GET", "/api/v1/domains/S3/entries/a%2"), 400, "invalid_argument");
  refused(call("GET", "/api/v1/domains/S3/entries/"), 404, "not_found");
  refused(call("GET", "/api/v1/domains/S3/entries/../x"), 404, "not_found");
}

TEST_F(EntriesTest, WrongDomainsAreToldApart) {
  refused(call("GET", target("a", "NONE")), 404, "not_found");
  refused(call("PUT", target("a", "NONE"), "x"), 404, "not_found");
  refused(call("GET", target("a", "s3")), 400, "invalid_argument");
  refused(call("GET", target("a", "S3%00")), 400, "invalid_argument");
  refused(call("GET", "/api/v1/domains/NONE/entries"), 404, "not_found");
}

TEST_F(EntriesTest, AConditionThatIsNotMetChangesNothing) {
  EXPECT_EQ(call("PUT", target("c"), "1", "If-None-Match: *\r\n").status, 200);
  EXPECT_EQ(call("PUT", target("c"), "2", "If-None-Match: *\r\n").status, 412);
  EXPECT_EQ(call("PUT", target("c") + "?if_version=0", "2").status, 412);
  EXPECT_EQ(call("PUT", target("c"), "2", "If-Match: \"9\"\r\n").status, 412);
  EXPECT_EQ(call("DELETE", target("c") + "?if_version=9").status, 412);
  EXPECT_EQ(call("GET", target("c")).body, "1");
  EXPECT_EQ(call("PUT", target("c"), "2", "If-Match: \"1\"\r\n").status, 200);
  EXPECT_EQ(call("PUT", target("c") + "?if_version=2", "3").status, 200);
  EXPECT_EQ(call("GET", target("c")).body, "3");
  for (const char* header : {"If-Match: 1\r\n", "If-Match: *\r\n", "If-Match: \"1\", \"2\"\r\n",
                             "If-None-Match: \"1\"\r\n"})
    refused(call("PUT", target("c"), "x", header), 400, "invalid_argument");
  refused(call("PUT", target("c") + "?if_version=1", "x", "If-None-Match: *\r\n"), 400,
          "invalid_argument");
  refused(call("PUT", target("c") + "?if_version=one", "x"), 400, "invalid_argument");
}

TEST_F(EntriesTest, ListsComeInPages) {
  daemon_->create("SMB");
  for (const char* name : {"b", "a", "c"})
    ASSERT_EQ(call("PUT", target(name, "SMB"), "1234567").status, 200);
  const auto first =
      call("GET", "/api/v1/domains/SMB/entries?limit=2").json<api::Page<api::EntryRow>>();
  ASSERT_EQ(first.items.size(), 2u);
  EXPECT_EQ(first.items[0].name, "a");
  EXPECT_EQ(first.items[0].bytes, 7u);
  EXPECT_EQ(first.items[0].version, 1u);
  ASSERT_TRUE(first.next);
  const auto second =
      call("GET", "/api/v1/domains/SMB/entries?limit=2&after=" + api::percent_encode(*first.next))
          .json<api::Page<api::EntryRow>>();
  ASSERT_EQ(second.items.size(), 1u);
  EXPECT_EQ(second.items[0].name, "c");
  EXPECT_FALSE(second.next);
  for (const char* query : {"?limit=0", "?limit=1001", "?limit=x", "?after=%00", "?afer=a"})
    refused(call("GET", std::string("/api/v1/domains/SMB/entries") + query), 400,
            "invalid_argument");
}

TEST_F(EntriesTest, PipelinedRequestsAreAnsweredInOrder) {
  ASSERT_EQ(call("PUT", target("p"), "value").status, 200);
  TestClient client(daemon_->socket());
  std::string requests;
  for (int i = 0; i < 50; ++i)
    requests += "GET " + target(i % 2 ? "p" : "absent") + " HTTP/1.1\r\n\r\n";
  ASSERT_TRUE(client.send(requests + "PUT " + target("p") +
                          " HTTP/1.1\r\nContent-Length: 3\r\n\r\nnewGET " + target("p") +
                          " HTTP/1.1\r\nConnection: close\r\n\r\n"));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.receive().status, i % 2 ? 200 : 404) << i;
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_EQ(client.receive().body, "new");
  EXPECT_TRUE(client.is_cut());
}

TEST_F(EntriesTest, AClientThatAsksBeforeItSendsIsToldToGoOn) {
  TestClient client(daemon_->socket());
  ASSERT_TRUE(client.send("PUT " + target("e") +
                          " HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_EQ(client.receive().status, 100);
  ASSERT_TRUE(client.send("later"));
  EXPECT_EQ(client.receive().status, 200);
  EXPECT_EQ(call("GET", target("e")).body, "later");
}

TEST_F(EntriesTest, MoreLargeSecretsThanFitWaitTheirTurn) {
  std::vector<std::jthread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 20; ++i)
    threads.emplace_back([i, &good] {
      const std::string secret(kMiB, static_cast<char>('a' + i));
      const std::string to = target("large" + std::to_string(i));
      good += call("PUT", to, secret).status == 200 && call("GET", to).body == secret;
    });
  threads.clear();
  EXPECT_EQ(good, 20);
}

TEST_F(EntriesTest, ClientsThatDoNotTakeTheirAnswersHoldUpNobody) {
  ASSERT_EQ(call("PUT", target("slow"), std::string(kMiB, 's')).status, 200);
  ASSERT_EQ(call("PUT", target("quick"), "q").status, 200);
  std::vector<std::unique_ptr<TestClient>> sleepers;
  for (int i = 0; i < 12; ++i) {
    sleepers.push_back(std::make_unique<TestClient>(daemon_->socket()));
    ASSERT_TRUE(sleepers.back()->send("GET " + target("slow") + " HTTP/1.1\r\n\r\n"));
  }
  EXPECT_EQ(call("GET", target("quick")).body, "q");
  for (auto& sleeper : sleepers) EXPECT_EQ(sleeper->receive().body.size(), kMiB);
}

std::string number(std::size_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 255);
  return out;
}
std::string record(std::string_view name, std::string_view secret) {
  return number(name.size()) + std::string(name) + number(secret.size()) + std::string(secret);
}

class ImportTest : public EntriesTest {
 protected:
  static constexpr std::string_view kTarget = "/api/v1/domains/S3/entries:import";
  static api::ImportResult result(const Answer& answer, int status) {
    EXPECT_EQ(answer.status, status) << answer.body;
    return answer.json<api::ImportResult>();
  }
};

TEST_F(ImportTest, ManyEntriesComeInWithTheirLength) {
  std::string body;
  for (int i = 0; i < 2'500; ++i) body += record("i" + std::to_string(i), "v" + std::to_string(i));
  const auto done = result(call("POST", kTarget, body), 200);
  EXPECT_EQ(done.committed, 2'500u);
  EXPECT_EQ(done.code, "");
  EXPECT_EQ(call("GET", target("i0")).body, "v0");
  EXPECT_EQ(call("GET", target("i2499")).body, "v2499");
}

TEST_F(ImportTest, ChunksMayBeCutAnywhere) {
  std::string body;
  for (int i = 0; i < 40; ++i) body += record("k" + std::to_string(i), std::string(500, 'v'));
  TestClient client(daemon_->socket());
  ASSERT_TRUE(client.send("POST " + std::string(kTarget) +
                          " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  for (std::size_t at = 0, size = 1; at < body.size(); at += size, size = size * 2 % 1'021 + 1) {
    const std::string part = body.substr(at, size);
    char head[32];
    std::snprintf(head, sizeof head, "%zx\r\n", part.size());
    ASSERT_TRUE(client.send(head + part + "\r\n"));
  }
  ASSERT_TRUE(client.send("0\r\n\r\n"));
  EXPECT_EQ(result(client.receive(), 200).committed, 40u);
  // The connection goes on.
  EXPECT_EQ(client.call("GET", target("k39")).body, std::string(500, 'v'));
}

TEST_F(ImportTest, MoreThanOneTransactionHoldsIsSplitByBytes) {
  std::string body;
  for (int i = 0; i < 9; ++i)
    body += record("m" + std::to_string(i), std::string(kMiB, static_cast<char>('a' + i)));
  const auto done = result(call("POST", kTarget, body), 200);
  EXPECT_EQ(done.committed, 9u);
  EXPECT_EQ(done.bytes, 9 * kMiB);
  EXPECT_EQ(call("GET", target("m8")).body, std::string(kMiB, 'i'));
}

TEST_F(ImportTest, TheLastOfTwoRecordsOfOneNameStays) {
  const std::string body = record("twice", "first") + record("twice", "second");
  EXPECT_EQ(result(call("POST", kTarget, body), 200).committed, 2u);
  EXPECT_EQ(call("GET", target("twice")).body, "second");
}

TEST_F(ImportTest, NothingIsWellToo) {
  EXPECT_EQ(result(call("POST", kTarget, "", "Content-Length: 0\r\n"), 200).committed, 0u);
}

TEST_F(ImportTest, ABadRecordIsNamedAndWhatCameBeforeItStays) {
  const std::string good = record("before", "1");
  const struct {
    std::string bytes;
    const char* says;
  } kBad[] = {{number(0) + number(1) + "x", "record 2: the name's length is 0"},
              {number(513), "record 2: the name's length is 513"},
              {number(0xffffffff), "record 2: the name's length is 4294967295"},
              {record(std::string("a\0b", 3), "x"), "record 2: "},
              {number(1) + "n" + number(0), "record 2: the secret's length is 0"},
              {number(1) + "n" + number(kMiB + 1), "record 2: the secret's length is 1048577"},
              {number(1) + "n" + number(5) + "1234", "record 2: it is cut short"},
              {std::string("\0\0", 2), "record 2: it is cut short"}};
  for (const auto& bad : kBad) {
    const auto done = result(call("POST", kTarget, good + bad.bytes), 400);
    EXPECT_EQ(done.committed, 1u);
    EXPECT_EQ(done.code, "invalid_argument");
    EXPECT_NE(done.error.find(bad.says), std::string::npos) << done.error;
    EXPECT_EQ(call("DELETE", target("before")).status, 204);
  }
}

TEST_F(ImportTest, ABadRecordEndsALongImportBeforeItsEnd) {
  const auto done = result(call("POST", kTarget, number(0) + std::string(3 * kMiB, 'x')), 400);
  EXPECT_EQ(done.committed, 0u);
}

TEST_F(ImportTest, WrongRequestsAreRefused) {
  refused(call("POST", kTarget), 411, "invalid_argument");
  refused(call("POST", "/api/v1/domains/s3/entries:import", record("a", "b")), 400,
          "invalid_argument");
  EXPECT_EQ(result(call("POST", "/api/v1/domains/NONE/entries:import", record("a", "b")), 404).code,
            "not_found");
  TestClient client(daemon_->socket());
  ASSERT_TRUE(client.send("POST " + std::string(kTarget) +
                          " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"));
  EXPECT_EQ(client.receive().status, 400);
  EXPECT_TRUE(client.is_cut());
}

}  // namespace
}  // namespace keyward::daemon
