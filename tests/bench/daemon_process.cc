#include "tests/bench/daemon_process.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "tests/bench/node.h"
#include "tests/support/http_client.h"

namespace keyward::bench {
namespace {

using testing::HttpAnswer;
using testing::HttpClient;

void wait_until(const std::function<bool()>& holds, std::chrono::milliseconds pause,
                std::string_view what) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) give_up(what);
    std::this_thread::sleep_for(pause);
  }
}

Json items(const std::optional<HttpAnswer>& answer) {
  if (!answer || answer->status / 100 != 2) return Json::array();
  return Json::parse(answer->body).at("items");
}

bool is_open(HttpClient& client) {
  for (const Json& row : items(client.call("GET", "/api/v1/domains", {})))
    if (row.at("domain") == "S3") return row.at("status") == "ACTIVE";
  return false;
}

}  // namespace

DaemonProcess::DaemonProcess(const std::filesystem::path& directory)
    : socket_(Node::socket(directory).string()) {
  const std::string program = (build_directory() / "keywardd").string();
  const std::string config = (directory / "keyward.toml").string();
  process_ = ::fork();
  need(process_ >= 0, "fork");
  if (process_ == 0) {
    ::execl(program.c_str(), program.c_str(), "--config", config.c_str(), nullptr);
    ::_exit(127);
  }
  HttpClient client(socket_);
  wait_until(
      [&] {
        need(::waitpid(process_, nullptr, WNOHANG) == 0, "keywardd ended at its start");
        return is_open(client);
      },
      std::chrono::milliseconds(20), "keywardd does not open S3");
}

DaemonProcess::~DaemonProcess() {
  ::kill(process_, SIGTERM);
  ::waitpid(process_, nullptr, 0);
}

RekeyLoop::RekeyLoop(std::string socket, std::vector<std::string> domains)
    : socket_(std::move(socket)) {
  for (std::string& domain : domains)
    threads_.emplace_back([this, domain = std::move(domain)] { run(domain); });
  wait_until([this] { return entries_done_ > 0; }, std::chrono::milliseconds(1),
             "the rekey does not begin");
}

RekeyLoop::~RekeyLoop() { stop_ = true; }

void RekeyLoop::run(const std::string& domain) {
  HttpClient client(socket_);
  const auto progress = [&] {
    const Json rows = items(client.call("GET", "/api/v1/rekeys?domain=" + domain, {}));
    need(rows.size() == 1, "the rekey tells no progress");
    return rows.front();
  };
  while (!stop_) {
    const auto started =
        client.call("POST", "/api/v1/rekeys", Json{{"domains", Json::array({domain})}}.dump());
    need(started && started->status == 202, "a rekey does not start");
    std::uint64_t seen = 0;
    std::uint64_t total = 0;
    const auto count = [&](std::uint64_t done) {
      entries_done_ += done - std::min(seen, done);
      seen = std::max(seen, done);
    };
    wait_until(
        [&] {
          const Json row = progress();
          if (row.at("phase") == "") return true;
          need(row.at("error") == "", "a rekey fails");
          total = row.at("entries_total");
          if (row.at("phase") != "prepare") count(row.at("entries_done"));
          return false;
        },
        std::chrono::milliseconds(10), "a rekey does not end");
    count(total);
  }
}

}  // namespace keyward::bench
