// Services is what the handlers of the API work with: the engine's parts, wired by Daemon.
#pragma once

#include <stop_token>
#include <string>

#include "base/clock.h"
#include "daemon/config.h"
#include "daemon/metrics.h"
#include "engine/audit_log.h"
#include "engine/custodian_admin.h"
#include "engine/custodian_set.h"
#include "engine/doctor.h"
#include "engine/drives/drive_fleet.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_service.h"
#include "store/control_store.h"

namespace keyward::daemon {

struct Services {
  const Config& config;
  store::Backend& backend;
  engine::Keyring& keyring;
  engine::CustodianSet& custodians;
  engine::RekeyService& rekeys;
  engine::CustodianAdmin& admin;
  engine::EventLog& events;
  engine::AuditLog& audit;
  engine::Doctor& doctor;
  engine::DriveFleet* drives;  // Null: the configuration has no [drives].
  Clock& clock;
  Metrics& metrics;
  std::string aead_engine;
  UtcTime started{};
  std::stop_token stop;  // Requested when the daemon stops: long calls end early.
};

}  // namespace keyward::daemon
