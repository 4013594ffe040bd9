// A FleetRig is one node with drives, for tests: an EngineRig with the SED domain, fake drives that
// outlive the process, and a fleet that may be ended and started again.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/drives/drive_credentials.h"
#include "engine/drives/drive_fleet.h"
#include "engine/testing/engine_rig.h"
#include "engine/testing/fake_drive.h"
#include "sed/try_ledger.h"

namespace keyward::engine {

class FleetRig {
 public:
  explicit FleetRig(int drives) {
    for (const Domain& made : {domain(), Domain::parse("KEYWARD").value()})
      if (!rig_.keyring().create_domain(made, caller())) ADD_FAILURE() << made.text();
    for (int i = 0; i < drives; ++i) add_drive();
  }
  ~FleetRig() { end(); }

  static Domain domain() { return Domain::parse("SED").value(); }
  static Caller caller() { return EngineRig::caller(); }

  FakeDriveState& drive(std::size_t i) { return *drives_[i]; }
  std::shared_ptr<FakeDriveState> add_drive() {
    const std::string number = std::to_string(drives_.size());
    drives_.push_back(std::make_shared<FakeDriveState>(
        std::string(16 - number.size(), '5') + number, "Z" + number));
    return drives_.back();
  }

  // The drive itself, to be plugged in at another node.
  std::shared_ptr<FakeDriveState> share(std::size_t i) { return drives_[i]; }
  void plug_in(std::shared_ptr<FakeDriveState> drive) { drives_.push_back(std::move(drive)); }
  // Seen from the next begin() on.
  void remove_drive(std::size_t i) { drives_.erase(drives_.begin() + static_cast<long>(i)); }

  // A process's: from begin() to end(). Of the plan, store and drives take part.
  DriveFleet& begin(FaultPlan* plan = nullptr) {
    settings_.node = node_;
    settings_.attach = fake_attach(plan);
    bus_ = std::make_unique<FakeDriveBus>(drives_);
    ledger_ = std::make_unique<sed::FileTryLedger>(rig_.state().string());
    fleet_ =
        std::make_unique<DriveFleet>(DriveFleet::Parts{*bus_, rig_.keyring(), rig_.events(),
                                                       rig_.backend().control(), *ledger_, *clock_},
                                     settings_);
    return *fleet_;
  }
  void end() { fleet_.reset(); }
  DriveFleet& restart(FaultPlan* plan = nullptr) {
    end();
    rig_.restart(plan);
    return begin(plan);
  }

  DriveFleet& fleet() { return *fleet_; }
  FakeDriveBus& bus() { return *bus_; }
  EngineRig& rig() { return rig_; }
  DriveFleet::Settings& settings() { return settings_; }
  const NodeId& node() const { return node_; }

  std::vector<api::DriveResult> run(DriveAction action, std::vector<std::string> names = {},
                                    const SecretBytes* psid = nullptr) {
    auto done = fleet_->run({action, std::move(names), psid}, caller(), {});
    if (done) return *std::move(done);
    ADD_FAILURE() << done.error().message;
    return {};
  }
  // The code of the one result; "none" where there is not one.
  std::string code_of(DriveAction action, std::size_t i, const SecretBytes* psid = nullptr) {
    const auto results = run(action, {drive(i).identity().serial}, psid);
    return results.size() == 1 ? results.front().code : "none";
  }
  std::vector<api::DriveResult> recover() { return fleet_->recover({}, std::chrono::seconds{5}); }

  OwnerPins pins(std::size_t i) {
    return DriveCredentials(rig_.keyring())
        .load(sed::drive_key(drive(i).identity()), caller())
        .value();
  }
  bool is_open(const EventKind& kind, std::size_t i) {
    for (const Event& event : rig_.events().newest(1000))
      if (event.name == kind.name && event.open && event.subject == drive(i).identity().wwn)
        return true;
    return false;
  }

 protected:
  EngineRig rig_;
  std::unique_ptr<Clock> clock_ = real_clock();
  const NodeId node_ = NodeId::random();
  std::vector<std::shared_ptr<FakeDriveState>> drives_;
  DriveFleet::Settings settings_;
  std::unique_ptr<FakeDriveBus> bus_;
  std::unique_ptr<sed::FileTryLedger> ledger_;
  std::unique_ptr<DriveFleet> fleet_;
};

}  // namespace keyward::engine
