#include "tests/bench/load.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <deque>
#include <random>
#include <string_view>
#include <vector>

#include "tests/bench/node.h"

namespace keyward::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

class Connection final {
 public:
  explicit Connection(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    need(path.size() < sizeof address.sun_path, "the socket's path is too long");
    std::memcpy(address.sun_path, path.data(), path.size());
    descriptor_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0,
         "keywardd does not answer");
  }
  ~Connection() { ::close(descriptor_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int descriptor() const { return descriptor_; }
  SteadyClock::time_point sent() const { return sent_; }

  void send(std::string_view request) {
    filled_ = 0;
    expected_ = 0;
    sent_ = SteadyClock::now();
    need(::send(descriptor_, request.data(), request.size(), MSG_NOSIGNAL) ==
             static_cast<ssize_t>(request.size()),
         "a request was not taken");
  }

  // The status of the answer, 0 while some of it is missing.
  int receive() {
    const ssize_t got = ::recv(descriptor_, buffer_.data() + filled_, buffer_.size() - filled_, 0);
    need(got > 0, "keywardd has closed a connection");
    filled_ += static_cast<std::size_t>(got);
    const std::string_view text(buffer_.data(), filled_);
    if (expected_ == 0) expected_ = size_of(text);
    need(expected_ <= buffer_.size(), "an answer is too long for this client");
    if (expected_ == 0 || filled_ < expected_) return 0;
    int status = 0;
    std::from_chars(text.data() + 9, text.data() + 12, status);
    return status;
  }

 private:
  // Of header and body; 0 while the header is not whole.
  static std::size_t size_of(std::string_view text) {
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const std::size_t end = text.find("\r\n\r\n");
    if (end == std::string_view::npos) return 0;
    std::size_t body = 0;
    if (const std::size_t at = text.find(kLength); at < end)
      std::from_chars(text.data() + at + kLength.size(), text.data() + end, body);
    return end + 4 + body;
  }

  int descriptor_ = -1;
  SteadyClock::time_point sent_;
  std::array<char, 64 * 1024> buffer_;
  std::size_t filled_ = 0;
  std::size_t expected_ = 0;
};

class Load final {
 public:
  explicit Load(const LoadSpec& spec) : spec_(spec), random_(spec.seed), secret_(spec.size, 's') {}

  LoadResult run() {
    const int poll = ::epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < spec_.clients; ++i) {
      Connection& connection = connections_.emplace_back(spec_.socket);
      epoll_event event{.events = EPOLLIN, .data = {.ptr = &connection}};
      need(::epoll_ctl(poll, EPOLL_CTL_ADD, connection.descriptor(), &event) == 0, "epoll_ctl");
    }
    const auto begin = SteadyClock::now();
    end_ = begin + std::chrono::duration_cast<SteadyClock::duration>(
                       std::chrono::duration<double>(spec_.seconds));
    for (Connection& connection : connections_) connection.send(next_request());
    std::size_t running = connections_.size();
    std::array<epoll_event, 64> events;
    while (running > 0) {
      const int count = ::epoll_wait(poll, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i)
        if (!serve(*static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr)))
          --running;
    }
    ::close(poll);
    return result(std::chrono::duration<double>(SteadyClock::now() - begin).count());
  }

 private:
  // False when this client has done its last request.
  bool serve(Connection& connection) {
    const int status = connection.receive();
    if (status == 0) return true;
    const auto now = SteadyClock::now();
    times_us_.push_back(std::chrono::duration<float, std::micro>(now - connection.sent()).count());
    if (status != 200) ++failures_;
    if (now >= end_) return false;
    connection.send(next_request());
    return true;
  }

  std::string_view next_request() {
    request_.clear();
    auto out = std::back_inserter(request_);
    fmt::format_to(out, "{} ", spec_.put ? "PUT" : "GET");
    if (!spec_.target.empty()) {
      fmt::format_to(out, "{}", spec_.target);
    } else {
      const auto id = static_cast<std::uint32_t>(random_() % spec_.entries);
      fmt::format_to(out, "/api/v1/domains/S3/entries/{}", entry_text(id));
    }
    fmt::format_to(out, " HTTP/1.1\r\nHost: keyward\r\n");
    if (spec_.put) {
      fmt::format_to(out, "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n{}",
                     secret_.size(), secret_);
    } else {
      fmt::format_to(out, "\r\n");
    }
    return request_;
  }

  LoadResult result(double seconds) {
    std::ranges::sort(times_us_);
    const auto at = [&](double share) {
      return static_cast<double>(
          times_us_[static_cast<std::size_t>(share * static_cast<double>(times_us_.size() - 1))]);
    };
    return {.requests = times_us_.size(),
            .failures = failures_,
            .per_second = static_cast<double>(times_us_.size()) / seconds,
            .p50_us = at(0.5),
            .p99_us = at(0.99),
            .longest_us = at(1)};
  }

  const LoadSpec& spec_;
  std::minstd_rand random_;
  const std::string secret_;
  std::string request_;
  std::deque<Connection> connections_;
  SteadyClock::time_point end_;
  std::vector<float> times_us_;
  std::uint64_t failures_ = 0;
};

}  // namespace

Json LoadResult::to_json() const {
  return {{"requests", requests}, {"failures", failures}, {"per_second", per_second},
          {"p50_us", p50_us},     {"p99_us", p99_us},     {"longest_us", longest_us}};
}

LoadResult run_load(const LoadSpec& spec) { return Load(spec).run(); }

}  // namespace keyward::bench
