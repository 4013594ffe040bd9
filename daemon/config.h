// Config is keyward.toml, read and checked whole before anything is started.
//
//   Config config = TRY(read_config("/etc/keyward/keyward.toml"));
//   TRY(check_custodians(config, "/etc/keyward/keyward.toml"));
//
// All that is wrong is said at once, each with its line; unknown keys are refused. No secret stands
// in it: a custodian's settings name the file or credential where one is. A value; any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/log.h"
#include "base/process.h"
#include "base/result.h"
#include "engine/keyring.h"
#include "hsm/custodian.h"

namespace keyward::daemon {

struct ServerLimits {
  std::size_t connections_max = 512;
  std::size_t header_bytes_max = 8 * 1024;
  std::size_t json_bytes_max = 64 * 1024;
  // Secrets that are being received or sent, over all connections; more wait their turn. At least
  // 6 MiB, which one import needs.
  std::size_t bytes_in_flight_max = 12 * 1024 * 1024;
  // From the first byte of a request to the last of its header; and of its body, unless it is a
  // stream: there from one part to the next.
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds body_timeout{30'000};
  std::chrono::milliseconds idle_timeout{300'000};  // Between requests.
  std::chrono::milliseconds write_timeout{30'000};
};

unsigned default_rekey_workers();

// [drives]
struct DriveConfig {
  // A directory of emulated drives (*.drive), or the socket of `keyward emulator serve --socket`,
  // in place of the machine's own: for tests and demos.
  std::string emulated{};
  // Directories of tokens and other things without which the drives' PINs cannot be had: a drive
  // that carries one, or the state directory, is never provisioned or erased.
  std::vector<std::string> keep{};
  bool provision_new = false;  // A new drive that nobody owns is provisioned as it is plugged in.
  unsigned per_controller = 8;
  std::chrono::seconds per_drive{30};
  std::chrono::seconds start_patience{60};  // How long the start waits for drives to be unlocked.
};

struct Config {
  std::string state_dir = "/var/lib/keyward";
  std::string socket = "/run/keyward/keyward.sock";
  MemoryLock memory_lock = MemoryLock::required;
  std::string aead_engine = "auto";
  LogLevel log_level = LogLevel::info;
  std::vector<std::uint32_t> allow_uids;  // Besides 0.

  // Keystores that are rekeyed at a time, each on about one core: as many as there are cores, and
  // no more than 8, so that the disk is not overrun.
  unsigned rekey_workers = default_rekey_workers();
  std::optional<std::uint64_t> entries_per_second;

  engine::ReadAudit read_audit = engine::ReadAudit::first;
  std::map<Domain, engine::ReadAudit> read_audit_of;

  std::optional<DriveConfig> drives{};  // None: drives are not looked at.
  ServerLimits limits;
  std::vector<hsm::CustodianConfig> custodians;
  // [test_mode]
  bool allow_short_rotation = false;          // short_schedules
  std::optional<std::uint64_t> store_format;  // That new stores are made in.
};

// `invalid_argument` lists every defect as "keyward.toml:12: …", one a line. `name` is what stands
// before the line number.
Result<Config> parse_config(std::string_view text, std::string_view name);
Result<Config> read_config(const std::string& path);
// Opens each custodian once, so that its own settings are checked too; its hardware is not needed.
// `name` as above.
Result<void> check_custodians(const Config& config, std::string_view name);

}  // namespace keyward::daemon
