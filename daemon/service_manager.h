// What systemd is told (sd_notify(3)). Without it each call does nothing.
//
//   notify_ready();
//   if (auto period = watchdog_period()) …
#pragma once

#include <chrono>
#include <optional>

namespace keyward::daemon {

void notify_ready();
void notify_stopping();
void notify_alive();
// How often it wants to hear; none when it does not watch.
std::optional<std::chrono::microseconds> watchdog_period();

}  // namespace keyward::daemon
