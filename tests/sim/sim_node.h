// A SimNode is one node of an appliance: the product's engine on real SQLite files in memory,
// custodians whose hardware outlives the process, and faults for all of them. The process can crash
// at any call to a store or a custodian.
//
//   SimNode node({.domains = {"S3"}, .custodians = {"fake:a"}}, clock, listener);
//   node.start();
//   node.crash_plan().arm(17, FaultMoment::crash_after);
//   clock.advance(1h);
//   if (node.has_crashed()) { node.stop(); node.start(); }
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/fault_plan.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "engine/testing/faulty_backend.h"
#include "hsm/testing/fake_custodian.h"
#include "store/control_store.h"
#include "tests/sim/sim_clock.h"

namespace keyward::sim {

inline const engine::Caller kOperator{"uid:0", "unix"};
inline Domain domain_of(const std::string& name) { return Domain::parse(name).value(); }

// One piece of hardware, and a plan for a single call that fails.
struct SimHardware {
  explicit SimHardware(const std::string& id)
      : hardware(std::make_shared<hsm::FakeHardware>("hardware of " + id)) {}
  std::shared_ptr<hsm::FakeHardware> hardware;
  FaultPlan plan{0, FaultMoment::before_effect, {ErrorCode::timeout, "the call failed"}};
  bool is_down = false;
  bool needs_person = false;  // It refused a credential: it is not asked again by itself.
};

class SimNode final {
 public:
  struct Settings {
    std::vector<std::string> domains;
    std::vector<std::string> custodians;
    unsigned workers = 1;
    engine::RekeyService::Limits limits{};
  };
  struct Listener {
    std::function<void(const engine::Event&)> event;
    std::function<void()> recovered;  // A custodian answers again.
  };

  SimNode(Settings settings, SimClock& clock, Listener listener);
  ~SimNode();
  SimNode(const SimNode&) = delete;
  SimNode& operator=(const SimNode&) = delete;

  void start();
  // Everything that the process holds goes. After a crash what it still tries to store is lost.
  void stop();
  bool is_up() const { return process_ != nullptr; }
  bool has_crashed() const { return process_ && crash_.has_fired(); }

  // Over every call of the process to stores and custodians; start() disarms it.
  FaultPlan& crash_plan() { return crash_; }
  // Over every call to stores.
  FaultPlan& store_plan() { return store_; }
  bool is_store_down = false;  // Kept by whoever arms store_plan().

  std::map<std::string, SimHardware>& hardware() { return hardware_; }
  const Settings& settings() const { return settings_; }

  engine::Keyring& keyring() { return *process_->keyring; }
  engine::CustodianSet& custodians() { return *process_->custodians; }
  engine::RekeyService& service() { return *process_->service; }

 private:
  struct Process {
    std::unique_ptr<store::Backend> files;
    std::unique_ptr<engine::FaultyBackend> faulty;
    std::unique_ptr<engine::FaultyBackend> backend;
    std::unique_ptr<engine::EventLog> events;
    std::shared_ptr<void> subscription;
    std::unique_ptr<engine::CustodianSet> custodians;
    std::shared_ptr<void> recovered;
    std::unique_ptr<engine::Keyring> keyring;
    std::unique_ptr<engine::RekeyService> service;
    std::vector<std::jthread> threads;
  };

  void open_stores();
  void make_engine();
  void make_domain(const std::string& name);
  void start_threads();

  const Settings settings_;
  SimClock& clock_;
  StoreClock store_clock_;
  const Listener listener_;
  std::filesystem::path directory_;
  std::map<std::string, SimHardware> hardware_;
  FaultPlan crash_{0, FaultMoment::crash_before, {ErrorCode::unavailable, "the process is gone"}};
  FaultPlan store_{0, FaultMoment::crash_before, {ErrorCode::io, "the disk does not answer"}};
  bool is_new_ = true;  // The domains are to be made.
  std::unique_ptr<Process> process_;
};

}  // namespace keyward::sim
