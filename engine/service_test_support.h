// What the services' tests stand on: a real keystore directory, custodians whose hardware is in
// memory, and a clock that stands still until it is moved.
//
//   Node node;                       // KEYWARD and S3, sealed by fake:a and fake:b
//   node.fill("S3", 100);
//   node.start({.workers = 2});      // the service's threads
//   node.clock.advance(15min);
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"
#include "crypto/aead.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "hsm/testing/fake_custodian.h"
#include "store/control_store.h"

namespace keyward::engine::testing {

inline Domain domain(std::string_view name) { return Domain::parse(name).value(); }
inline UtcTime at(std::string_view text) { return from_iso8601(text).value(); }
inline const Caller kTester{"uid:0", "unix"};

class TempDir final {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "keyward-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// True as soon as `condition` is, false after half a minute of real time: threads of the service
// work on meanwhile, while the virtual clock stands still.
inline bool eventually(const std::function<bool()>& condition) {
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{30};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > patience) return false;
    std::this_thread::yield();
  }
  return true;
}

inline SecretBytes secret_of(std::string_view text) {
  std::string copy(text);
  return SecretBytes::take_from(std::as_writable_bytes(std::span(copy))).value();
}

class Node {
 public:
  // `wanted`: who seals the domains' keys; both when empty.
  explicit Node(std::vector<std::string> domains = {"KEYWARD", "S3"},
                std::vector<CustodianId> wanted = {})
      : wanted_(std::move(wanted)) {
    open();
    for (const auto& name : domains)
      EXPECT_TRUE(keyring->create_domain(domain(name), kTester)) << name;
  }
  ~Node() {
    stop();
    close();
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Everything that a process holds goes and comes again, over the same files and hardware.
  void restart() {
    stop();
    close();
    open();
  }
  void close() {
    unsealer_ = {};
    keyring.reset();
    custodians.reset();
    events.reset();
    backend.reset();
  }
  // Domains that cannot be unsealed stay locked.
  void open() {
    backend = store::open_backend(fmt::format("sqlite:{}", files().string()), clock).value();
    events = std::make_unique<EventLog>(backend->control(), clock);
    custodians = std::make_unique<CustodianSet>(*events, clock);
    custodians->add(std::make_unique<hsm::FakeCustodian>("fake:a", hardware_a));
    custodians->add(std::make_unique<hsm::FakeCustodian>("fake:b", hardware_b));
    const auto& engine = crypto::choose_aead_engine("auto").value().get();
    keyring = std::make_unique<Keyring>(
        Keyring::Parts{*backend, *custodians, engine, *events, clock},
        Keyring::Settings{.custodians = wanted_, .read_audit_pause = std::chrono::hours{10'000}});
    // In the background, as it tries again for as long as one is locked.
    has_unsealed_ = false;
    unsealer_ = std::jthread([this](std::stop_token stop) {
      keyring->unseal_all(std::move(stop));
      has_unsealed_ = true;
    });
    if (!expects_locked)
      EXPECT_TRUE(eventually([&] { return has_unsealed_.load(); }));
    else
      EXPECT_TRUE(clock.await_waiters(3));
  }

  // Without a thread: nothing is done but what is asked for.
  void make_service(RekeyService::Limits limits = {}) {
    limits_ = limits;
    service = std::make_unique<RekeyService>(
        RekeyService::Parts{*keyring, *custodians, backend->control(), *events, clock}, limits);
  }
  void run_service() {
    thread_ = std::jthread([this](std::stop_token stop) { service->run(std::move(stop)); });
    settle();
  }
  void start(RekeyService::Limits limits = {}) {
    make_service(limits);
    run_service();
  }
  void stop() {
    if (thread_.joinable()) {
      thread_.request_stop();
      thread_.join();
    }
    service.reset();
  }
  // Until all threads wait for the clock.
  void settle() { EXPECT_TRUE(clock.await_waiters(limits_.workers + kOtherWaiters)); }
  void advance(std::chrono::nanoseconds step) {
    settle();
    clock.advance(step);
  }

  std::filesystem::path files() const { return directory.path() / "state"; }

  void fill(const std::string& name, int entries) {
    for (int i = 0; i < entries; ++i)
      ASSERT_TRUE(keyring->put(domain(name), EntryName::parse(fmt::format("entry {}", i)).value(),
                               secret_of(fmt::format("secret {}", i)), std::nullopt, kTester));
  }
  // How many of the entries that fill() wrote are read.
  int readable(const std::string& name, int entries) {
    int count = 0;
    for (int i = 0; i < entries; ++i)
      if (keyring->get(domain(name), EntryName::parse(fmt::format("entry {}", i)).value(), kTester))
        ++count;
    return count;
  }

  store::KeyTable table(const std::string& name) {
    return keyring->keystore(domain(name)).value()->keys().value();
  }
  KeyId current_key(const std::string& name) { return table(name).current().id; }
  api::RekeyStatus status(const std::string& name) {
    const Domain one = domain(name);
    return service->progress({&one, 1}).front();
  }
  Result<JobId> start_rekey(const std::string& name, std::vector<CustodianId> without = {}) {
    const Domain one = domain(name);
    return service->start({&one, 1}, std::move(without), kTester).front();
  }
  // Whether the domain has come to another key, and is at rest.
  bool is_rekeyed(const std::string& name, const KeyId& from) {
    return eventually([&] {
      const auto now = table(name);
      return !now.rekey && now.current().id != from;
    });
  }
  // The last event of that name and subject.
  std::optional<Event> event(const EventKind& kind, const std::string& subject) const {
    for (const Event& event : events->newest(1000))
      if (event.name == kind.name && event.subject == subject) return event;
    return std::nullopt;
  }
  bool is_open(const EventKind& kind, const std::string& subject) const {
    const auto found = event(kind, subject);
    return found && found->open;
  }
  std::size_t event_count(const EventKind& kind, const std::string& subject) const {
    std::size_t count = 0;
    for (const Event& event : events->newest(1000))
      if (event.name == kind.name && event.subject == subject) ++count;
    return count;
  }

  TempDir directory;
  VirtualClock clock{at("2026-01-05T02:00:00Z")};
  std::shared_ptr<hsm::FakeHardware> hardware_a = std::make_shared<hsm::FakeHardware>("token A");
  std::shared_ptr<hsm::FakeHardware> hardware_b = std::make_shared<hsm::FakeHardware>("token B");
  std::unique_ptr<store::Backend> backend;
  std::unique_ptr<EventLog> events;
  std::unique_ptr<CustodianSet> custodians;
  std::unique_ptr<Keyring> keyring;
  std::unique_ptr<RekeyService> service;
  bool expects_locked = false;

 private:
  // The event log's thread and the keyring's wait on the clock too.
  static constexpr std::size_t kOtherWaiters = 2;

  std::vector<CustodianId> wanted_;
  RekeyService::Limits limits_;
  std::atomic<bool> has_unsealed_ = false;
  std::jthread unsealer_;
  std::jthread thread_;
};

}  // namespace keyward::engine::testing
