// ClockSanity says whether the wall clock may be believed, so that no rekey starts because a
// battery is flat.
//
//   ClockSanity sanity(limits);
//   if (sanity.observe(clock.now(), clock.monotonic()) == ClockSanity::Verdict::believable) ...
//
// UTC is compared with the monotonic clock: when they part by more than a day, UTC has jumped, and
// nothing is believed until it has run evenly for ten minutes or a person confirms it. A time
// before this program was made, or decades after it, is never believed. It has no clock of its own.
// One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace keyward::engine {

// When this version's source was made. Raised with each release.
inline constexpr UtcTime kSourceDate{
    std::chrono::sys_days{std::chrono::year{2025} / std::chrono::January / 1}};

class ClockSanity final {
 public:
  enum class Verdict : std::uint8_t {
    believable,
    jumped,      // Waiting for ten even minutes, or for confirm().
    impossible,  // Before the program was made, or decades later.
  };
  struct Limits {
    UtcTime earliest = kSourceDate;
    UtcTime latest = kSourceDate + std::chrono::years{50};
    std::chrono::milliseconds jump_min = std::chrono::hours{24};
    std::chrono::milliseconds settle = std::chrono::minutes{10};
  };

  explicit ClockSanity(Limits limits) : limits_(limits) {}

  Verdict observe(UtcTime utc, MonotonicTime monotonic);
  // The latest time that something stored names (a key's creation, the last run). A clock more than
  // a day before it was set back while the process was not running.
  void remember(UtcTime stored);
  // A person says that the clock is right now. Does not make an impossible time possible.
  void confirm();
  // When an even clock will be believed again, if it waits for that.
  std::optional<MonotonicTime> settles_at() const;

 private:
  using Offset = std::chrono::milliseconds;  // UTC less the monotonic clock.

  bool has_settled(Offset offset, MonotonicTime monotonic);

  Limits limits_;
  std::optional<Offset> last_;  // None while the time is impossible.
  std::optional<Offset> trusted_;
  std::optional<Offset> candidate_;  // What UTC runs at since it jumped.
  MonotonicTime candidate_since_{};
  std::optional<UtcTime> stored_;
};

}  // namespace keyward::engine
