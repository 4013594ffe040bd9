// Drives is what the daemon needs to look after drives: their bus, the ledger of tries, the fleet.
//
//   std::unique_ptr<Drives> drives = TRY(Drives::open(config, keyring, events, control, clock));
//   drives->start(stop);       // Settles and unlocks; bounded.
//
// Borrows all that open() is given.
#pragma once

#include <memory>
#include <stop_token>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/config.h"
#include "engine/drives/drive_fleet.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "store/control_store.h"

namespace keyward::daemon {

class Drives final {
 public:
  static Result<std::unique_ptr<Drives>> open(const Config& config, engine::Keyring& keyring,
                                              engine::EventLog& events,
                                              store::ControlStore& control, Clock& clock);

  engine::DriveFleet& fleet() { return *fleet_; }
  // At the start, before anything else is: unlocks what is ours, and says how it went. What does
  // not answer within the configured patience is tried again when it is asked for.
  void unlock_all(const std::stop_token& stop);

 private:
  Drives(const DriveConfig& config, std::unique_ptr<sed::DriveBus> bus, std::string ledger)
      : config_(config), bus_(std::move(bus)), ledger_(std::move(ledger)) {}

  DriveConfig config_;
  std::unique_ptr<sed::DriveBus> bus_;
  sed::FileTryLedger ledger_;
  std::unique_ptr<engine::DriveFleet> fleet_;
};

}  // namespace keyward::daemon
