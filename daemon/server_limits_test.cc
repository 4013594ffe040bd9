// What a hostile, slow or foreign client can do, and how the daemon starts and stops.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "api/problem.h"
#include "base/log.h"
#include "daemon/daemon_fixture.h"

namespace keyward::daemon {
namespace {

void shorten(Config& config) {
  config.limits.header_timeout = std::chrono::milliseconds(200);
  config.limits.body_timeout = std::chrono::milliseconds(200);
  config.limits.idle_timeout = std::chrono::milliseconds(200);
  config.limits.write_timeout = std::chrono::milliseconds(200);
}

TEST(ServerLimitsTest, AClientThatStallsInItsHeaderIsToldAndCut) {
  TestDaemon daemon(shorten);
  TestClient client(daemon.socket());
  ASSERT_TRUE(client.send("GET /api/v1/version HTT"));
  EXPECT_EQ(client.receive().status, 408);
  EXPECT_TRUE(client.is_cut());
  EXPECT_EQ(daemon.call("GET", "/api/v1/version").status, 200);
}

TEST(ServerLimitsTest, AClientThatStallsInItsBodyIsToldAndCut) {
  TestDaemon daemon(shorten);
  daemon.create("S3");
  for (const char* request :
       {"PUT /api/v1/domains/S3/entries/a HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
        "PUT /api/v1/domains/S3/entries/a HTTP/1.1\r\nContent-Length: 100000\r\n\r\nhalf",
        "POST /api/v1/domains HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        "POST /api/v1/domains/S3/entries:import HTTP/1.1\r\nContent-Length: 100\r\n\r\nxx"}) {
    TestClient client(daemon.socket());
    ASSERT_TRUE(client.send(request));
    EXPECT_EQ(client.receive().status, 408) << request;
    EXPECT_TRUE(client.is_cut());
  }
  EXPECT_EQ(daemon.call("GET", "/api/v1/domains/S3/entries/a").status, 404);
}

TEST(ServerLimitsTest, AClientThatSaysNothingIsCut) {
  TestDaemon daemon(shorten);
  TestClient silent(daemon.socket());
  TestClient after_one(daemon.socket());
  EXPECT_EQ(after_one.call("GET", "/api/v1/version").status, 200);
  EXPECT_TRUE(silent.is_cut());
  EXPECT_TRUE(after_one.is_cut());
}

TEST(ServerLimitsTest, AClientThatDoesNotReadIsCutAndItsBytesAreFree) {
  TestDaemon daemon([](Config& config) {
    shorten(config);
    config.limits.body_timeout = std::chrono::seconds(10);
    config.limits.bytes_in_flight_max = 6 * 1024 * 1024;
  });
  daemon.create("S3");
  const std::string to = "/api/v1/domains/S3/entries/big";
  ASSERT_EQ(daemon.call("PUT", to, std::string(1024 * 1024, 'b')).status, 200);
  std::vector<std::unique_ptr<TestClient>> sleepers;
  for (int i = 0; i < 6; ++i) {
    sleepers.push_back(std::make_unique<TestClient>(daemon.socket()));
    ASSERT_TRUE(sleepers.back()->send("GET " + to + " HTTP/1.1\r\n\r\n"));
  }
  EXPECT_EQ(daemon.call("GET", to).body.size(), 1024u * 1024u);
}

TEST(ServerLimitsTest, ByteAfterByteIsReadAsLongAsTimeAllows) {
  TestDaemon daemon;
  TestClient client(daemon.socket());
  for (char c : std::string_view("GET /api/v1/version HTTP/1.1\r\nX: y\r\n\r\n"))
    ASSERT_TRUE(client.send({&c, 1}));
  EXPECT_EQ(client.receive().status, 200);
}

TEST(ServerLimitsTest, OfAThousandConnectionsThoseOverTheLimitAreToldSo) {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = std::min<rlim_t>(descriptors.rlim_max, 8'192);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &descriptors), 0);
  TestDaemon daemon;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 1'000; ++i) {
    clients.push_back(std::make_unique<TestClient>(daemon.socket()));
    ASSERT_TRUE(clients.back()->connected()) << i;
  }
  std::size_t served = 0;
  std::size_t refused = 0;
  for (auto& client : clients) {
    client->send("GET /api/v1/version HTTP/1.1\r\n\r\n");
    const Answer answer = client->receive();
    served += answer.status == 200;
    refused += answer.status == 503 && answer.json<api::Problem>().code == "unavailable";
  }
  EXPECT_EQ(served, 512u);
  EXPECT_EQ(refused, 488u);
  clients.clear();
  EXPECT_TRUE(daemon.wait_for("/api/v1/version",
                              [](const Answer& answer) { return answer.status == 200; }));
}

// In a process of its own, since a uid is given up for good.
Answer call_as(uid_t uid, const std::string& socket) {
  int pipe_ends[2];
  EXPECT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setresuid(uid, uid, uid) != 0) ::_exit(1);
    const Answer answer = TestClient(socket).call("GET", "/api/v1/version");
    const std::string text = answer.head + answer.body;
    ::_exit(::write(pipe_ends[1], text.data(), text.size()) < 0);
  }
  ::close(pipe_ends[1]);
  std::string text(65'536, '\0');
  const ssize_t size = ::read(pipe_ends[0], text.data(), text.size());
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  ::close(pipe_ends[0]);
  ::waitpid(child, nullptr, 0);
  Answer answer;
  const std::size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos) return answer;
  answer.head = text.substr(0, end + 4);
  answer.body = text.substr(end + 4);
  answer.status = std::atoi(answer.head.c_str() + answer.head.find(' '));
  return answer;
}

constexpr uid_t kForeign = 65'533;
constexpr uid_t kListed = 65'532;

TEST(ServerLimitsTest, AForeignUidIsRefusedAndAListedOneIsNot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  TestDaemon daemon([](Config& config) { config.allow_uids = {kListed}; });
  // mkdtemp's directory is closed to others; the socket's own directory is not.
  const std::filesystem::path directory = std::filesystem::path(daemon.socket()).parent_path();
  ASSERT_EQ(::chmod(directory.c_str(), 0755), 0);
  ASSERT_EQ(::chmod(directory.parent_path().c_str(), 0755), 0);
  const Answer refused = call_as(kForeign, daemon.socket());
  EXPECT_EQ(refused.status, 403) << refused.head;
  EXPECT_EQ(refused.json<api::Problem>().code, "not_permitted");
  EXPECT_NE(refused.body.find("65533"), std::string::npos) << refused.body;
  EXPECT_EQ(call_as(kListed, daemon.socket()).status, 200);
}

TEST(DaemonTest, AStopAnswersWhatIsUnderWayAndCutsTheIdle) {
  TestDaemon daemon;
  daemon.create("S3");
  TestClient idle(daemon.socket());
  ASSERT_EQ(idle.call("GET", "/api/v1/version").status, 200);
  TestClient stream(daemon.socket());
  ASSERT_TRUE(stream.send("GET /api/v1/events/stream HTTP/1.1\r\n\r\n"));
  TestClient stalled(daemon.socket());
  ASSERT_TRUE(stalled.send("GET /api"));
  const std::string socket = daemon.socket();
  const MonotonicTime before = daemon.clock().monotonic();
  daemon.stop();
  EXPECT_LT(daemon.clock().monotonic() - before, std::chrono::seconds(8));
  EXPECT_TRUE(idle.is_cut());
  EXPECT_TRUE(stream.is_cut());
  EXPECT_TRUE(stalled.is_cut());
  EXPECT_FALSE(std::filesystem::exists(socket));
}

TEST(DaemonTest, WhatWasAcknowledgedIsThereAfterARestart) {
  TestDaemon daemon;
  daemon.create("S3");
  ASSERT_EQ(daemon.call("PUT", "/api/v1/domains/S3/entries/a", "kept").status, 200);
  daemon.stop();
  daemon.start();
  EXPECT_TRUE(daemon.wait_for("/api/v1/domains/S3/entries/a",
                              [](const Answer& answer) { return answer.body == "kept"; }));
}

TEST(DaemonTest, WithoutItsCustodiansADomainAnswersUnavailableUntilOneIsBack) {
  TestDaemon daemon;
  daemon.create("S3");
  ASSERT_EQ(daemon.call("PUT", "/api/v1/domains/S3/entries/a", "kept").status, 200);
  daemon.stop();
  daemon.hardware().set_down({ErrorCode::unavailable, "pulled out"});
  daemon.other_hardware().set_down({ErrorCode::unavailable, "pulled out"});
  daemon.start();
  const Answer locked = daemon.call("GET", "/api/v1/domains/S3/entries/a");
  EXPECT_EQ(locked.status, 503) << locked.body;
  EXPECT_EQ(locked.json<api::Problem>().code, "unavailable");
  daemon.hardware().set_up();
  EXPECT_EQ(daemon.call("POST", "/api/v1/custodians/fake:a:test").status, 200);
  EXPECT_TRUE(daemon.wait_for("/api/v1/domains/S3/entries/a",
                              [](const Answer& answer) { return answer.body == "kept"; }));
}

TEST(DaemonTest, ASecondOneOnTheSameStateIsRefused) {
  TestDaemon daemon;
  const Result<DaemonParts> second = open_parts(daemon.config(), daemon.clock());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::busy) << second.error().message;
}

TEST(DaemonTest, ASocketOnWhichSomebodyListensIsLeftAlone) {
  TestDaemon first;
  TestDaemon second([](Config& config) { config.socket += "2"; });
  second.stop();
  Config config = second.config();
  config.socket = first.socket();
  const Result<std::unique_ptr<Daemon>> refused =
      Daemon::start(config, second.open(), second.clock());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict) << refused.error().message;
  EXPECT_EQ(first.call("GET", "/api/v1/version").status, 200);
}

TEST(DaemonTest, ASocketThatACrashLeftIsReplaced) {
  TestDaemon daemon;
  daemon.stop();
  const int stale = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, daemon.socket().c_str());
  ASSERT_EQ(::bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(stale);
  daemon.start();
  EXPECT_EQ(daemon.call("GET", "/api/v1/version").status, 200);
}

TEST(DaemonTest, AFileThatIsNoSocketIsNotRemoved) {
  TestDaemon daemon;
  daemon.stop();
  std::ofstream(daemon.socket()) << "somebody's";
  const Result<std::unique_ptr<Daemon>> refused =
      Daemon::start(daemon.config(), daemon.open(), daemon.clock());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(std::filesystem::exists(daemon.socket()));
}

TEST(DaemonTest, NoSecretReachesTheLog) {
  std::string lines;
  std::mutex mutex;
  set_log_sink([&](LogLevel, std::string_view text) {
    const std::lock_guard lock(mutex);
    lines += text;
  });
  set_log_level(LogLevel::debug);
  {
    TestDaemon daemon;
    daemon.create("S3");
    const std::string canary = "canary-5c1f";
    EXPECT_EQ(daemon.call("PUT", "/api/v1/domains/S3/entries/a", canary).status, 200);
    EXPECT_EQ(daemon.call("PUT", "/api/v1/domains/NONE/entries/a", canary).status, 404);
    EXPECT_EQ(daemon.call("POST", "/api/v1/custodians/fake:a:unlock", canary).status, 501);
    EXPECT_EQ(daemon.call("POST", "/api/v1/domains", canary).status, 400);
  }
  set_log_sink(nullptr);
  set_log_level(LogLevel::info);
  EXPECT_EQ(lines.find("canary"), std::string::npos) << lines;
}

}  // namespace
}  // namespace keyward::daemon
