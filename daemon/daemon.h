// The Daemon is the engine's parts and the server, wired together and running.
//
//   DaemonParts parts = TRY(open_parts(config, *clock));
//   std::unique_ptr<Daemon> daemon = TRY(Daemon::start(config, std::move(parts), *clock));
//   wait_for_signal();
//   daemon->stop();
//
// The socket is there at once; each domain answers `unavailable` until it is unsealed. Threads:
// unsealer, probes, rekeys, audit checkpoints, the first start's KEYWARD, the watchdog, and the
// server's. Safe from any thread.
#pragma once

#include <memory>
#include <stop_token>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "crypto/aead.h"
#include "daemon/config.h"
#include "hsm/custodian.h"
#include "store/control_store.h"

namespace keyward::daemon {

// What tests put in place of hardware.
struct DaemonParts {
  std::unique_ptr<store::Backend> backend;
  std::vector<std::unique_ptr<hsm::Custodian>> custodians;
  const crypto::AeadEngine* engine;
};

// Opens the state directory (`busy` when another keywardd has it), the custodians and the AEAD
// engine, as configured. No hardware is asked.
Result<DaemonParts> open_parts(const Config& config, Clock& clock);

class Daemon final {
 public:
  static Result<std::unique_ptr<Daemon>> start(const Config& config, DaemonParts parts,
                                               Clock& clock);
  ~Daemon();  // Stops.

  // Ends within seconds, at most one hardware call. What was committed stays.
  void stop();

 private:
  class Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyward::daemon
