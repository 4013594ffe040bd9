#include "daemon/service_manager.h"

#include <systemd/sd-daemon.h>

#include <cstdint>

namespace keyward::daemon {

// Nobody to tell is no failure, so the results are not looked at.
void notify_ready() { static_cast<void>(::sd_notify(0, "READY=1")); }
void notify_stopping() { static_cast<void>(::sd_notify(0, "STOPPING=1")); }
void notify_alive() { static_cast<void>(::sd_notify(0, "WATCHDOG=1")); }

std::optional<std::chrono::microseconds> watchdog_period() {
  std::uint64_t period = 0;
  if (::sd_watchdog_enabled(0, &period) <= 0) return std::nullopt;
  return std::chrono::microseconds(period);
}

}  // namespace keyward::daemon
