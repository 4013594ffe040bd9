// For the daemon's tests: a whole Daemon on a private directory, sealed by fake hardware, and a
// client that can also do everything wrong.
//
//   TestDaemon daemon;
//   Answer answer = daemon.call("PUT", "/api/v1/domains/S3/entries/a", "secret");
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/domain_status.h"
#include "api/page.h"
#include "daemon/daemon.h"
#include "hsm/testing/fake_custodian.h"

namespace keyward::daemon {

struct Answer {
  int status = 0;  // 0: the connection ended without one.
  std::string head;
  std::string body;

  bool has_header(std::string_view line) const { return head.find(line) != std::string::npos; }
  template <typename T>
  T json() const {
    Result<T> value = api::from_json<T>(body);
    EXPECT_TRUE(value) << body << (value ? "" : value.error().message);
    return value ? std::move(*value) : T{};
  }
};

// Never waits longer than ten seconds.
class TestClient final {
 public:
  explicit TestClient(const std::string& path) : socket_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { ::close(socket_); }

  bool connected() const { return connected_; }

  // False when the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // Until `enough`, the end, or ten seconds. False at the end.
  bool receive_until(const std::function<bool(const std::string&)>& enough) {
    while (!enough(received_)) {
      pollfd ready{socket_, POLLIN, 0};
      char buffer[65536];
      if (::poll(&ready, 1, 10'000) != 1) return false;
      const ssize_t size = ::recv(socket_, buffer, sizeof buffer, 0);
      if (size <= 0) return false;
      received_.append(buffer, static_cast<std::size_t>(size));
    }
    return true;
  }

  // True when the other side closes within ten seconds, whatever it sends before.
  bool is_cut() {
    received_.clear();
    for (;;) {
      pollfd ready{socket_, POLLIN, 0};
      char buffer[65536];
      if (::poll(&ready, 1, 10'000) != 1) return false;
      if (::recv(socket_, buffer, sizeof buffer, 0) <= 0) return true;
    }
  }

  Answer receive() {
    Answer answer;
    receive_until([](const auto& text) { return text.find("\r\n\r\n") != std::string::npos; });
    const std::size_t end = received_.find("\r\n\r\n");
    if (end == std::string::npos) return answer;
    answer.head = received_.substr(0, end + 4);
    received_.erase(0, end + 4);
    answer.status = std::atoi(answer.head.c_str() + answer.head.find(' '));
    const std::size_t at = answer.head.find("Content-Length: ");
    const std::size_t size =
        at == std::string::npos ? 0 : std::strtoul(answer.head.c_str() + at + 16, nullptr, 10);
    receive_until([&](const auto& text) { return text.size() >= size; });
    answer.body = received_.substr(0, size);
    received_.erase(0, size);
    return answer;
  }

  Answer call(std::string_view method, std::string_view target, std::string_view body = {},
              std::string_view headers = {}) {
    std::string text = std::string(method) + " " + std::string(target) + " HTTP/1.1\r\n";
    if (!body.empty()) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    text += std::string(headers) + "\r\n";
    // A refused body is not taken; the answer comes all the same.
    if (send(text)) send(body);
    return receive();
  }

  const std::string& received() const { return received_; }

 private:
  int socket_;
  bool connected_ = false;
  std::string received_;
};

class TestDaemon final {
 public:
  explicit TestDaemon(std::function<void(Config&)> change = {}) : clock_(real_clock()) {
    char path[] = "/tmp/keywardd-test-XXXXXX";
    directory_ = ::mkdtemp(path);
    config_.state_dir = directory_ + "/state";
    config_.socket = directory_ + "/run/socket";
    config_.memory_lock = MemoryLock::best_effort;
    config_.allow_short_rotation = true;
    if (change) change(config_);
    start();
  }
  ~TestDaemon() {
    daemon_.reset();
    std::filesystem::remove_all(directory_);
  }

  void start() {
    DaemonParts parts = open();
    Result<std::unique_ptr<Daemon>> daemon = Daemon::start(config_, std::move(parts), *clock_);
    ASSERT_TRUE(daemon) << daemon.error().message;
    daemon_ = std::move(*daemon);
  }
  DaemonParts open() {
    Result<DaemonParts> parts = open_parts(config_, *clock_);
    EXPECT_TRUE(parts) << parts.error().message;
    parts->custodians.push_back(std::make_unique<hsm::FakeCustodian>("fake:a", hardware_));
    parts->custodians.push_back(std::make_unique<hsm::FakeCustodian>("fake:b", other_hardware_));
    return std::move(*parts);
  }
  void stop() { daemon_.reset(); }

  // Asks until the answer is as wanted, for at most ten seconds.
  bool wait_for(std::string_view target, const std::function<bool(const Answer&)>& wanted) {
    const MonotonicTime end = clock_->monotonic() + std::chrono::seconds(10);
    while (clock_->monotonic() < end) {
      if (wanted(call("GET", target))) return true;
      clock_->sleep_until({}, clock_->monotonic() + std::chrono::milliseconds(10));
    }
    return false;
  }
  void create(const std::string& domain) {
    const Answer answer = call("POST", "/api/v1/domains", "{\"domain\":\"" + domain + "\"}");
    ASSERT_EQ(answer.status, 201) << answer.body;
  }
  Answer call(std::string_view method, std::string_view target, std::string_view body = {},
              std::string_view headers = {}) {
    return TestClient(config_.socket).call(method, target, body, headers);
  }

  Daemon& daemon() { return *daemon_; }
  const Config& config() const { return config_; }
  const std::string& socket() const { return config_.socket; }
  Clock& clock() { return *clock_; }
  hsm::FakeHardware& hardware() { return *hardware_; }
  hsm::FakeHardware& other_hardware() { return *other_hardware_; }

 private:
  std::unique_ptr<Clock> clock_;
  std::string directory_;
  Config config_;
  std::shared_ptr<hsm::FakeHardware> hardware_ = std::make_shared<hsm::FakeHardware>("serial 1");
  std::shared_ptr<hsm::FakeHardware> other_hardware_ =
      std::make_shared<hsm::FakeHardware>("serial 2");
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace keyward::daemon
