#include "engine/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "api/fields.h"

namespace keyward::engine {
namespace {

struct ScheduleDocument {
  std::string rotation;
  UtcTime anchor{};
  std::optional<UtcTime> last_run;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("rotation", &ScheduleDocument::rotation);
    visit("anchor", &ScheduleDocument::anchor);
    visit("last_run", &ScheduleDocument::last_run);
  }
};

// Due times never decrease with n, so the first one past `base` is found by halving.
UtcTime first_after(UtcTime anchor, Period period, UtcTime base) {
  std::uint32_t low = 0;  // Not past `base`, or 0.
  std::uint32_t high = 1;
  constexpr std::uint32_t kMax = std::numeric_limits<std::uint32_t>::max();
  while (high < kMax / 2 && nth_after(anchor, period, high) <= base) {
    low = high;
    high *= 2;
  }
  while (low + 1 < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    (nth_after(anchor, period, middle) <= base ? low : high) = middle;
  }
  return nth_after(anchor, period, high);
}

}  // namespace

std::string_view document_name(ScheduleName name) {
  return name == ScheduleName::cluster ? "schedule/cluster" : "schedule/sed";
}

std::optional<UtcTime> Schedule::next_run() const {
  if (!rotation.period) return std::nullopt;
  return first_after(anchor, *rotation.period, last_run ? std::max(anchor, *last_run) : anchor);
}

Schedule Schedule::after_run(UtcTime now) const {
  Schedule next = *this;
  next.last_run = last_run ? std::max(*last_run, now) : now;
  return next;
}

std::string schedule_to_json(const Schedule& schedule) {
  return api::to_json(
      ScheduleDocument{schedule.rotation.to_text(), schedule.anchor, schedule.last_run});
}

Result<Schedule> schedule_from_json(std::string_view json, std::uint64_t version) {
  auto document = api::from_json<ScheduleDocument>(json);
  auto rotation = document ? Rotation::parse(document->rotation)
                           : Result<Rotation>(std::unexpected(document.error()));
  if (!rotation)
    return fail(ErrorCode::corrupt,
                fmt::format("the stored rekey schedule cannot be read: {}; set it again: keyward "
                            "cluster rekey modify --key-rotation",
                            rotation.error().message));
  return Schedule{*rotation, document->anchor, document->last_run, version};
}

Result<void> check_rotation(const Rotation& rotation, RotationLimits limits) {
  if (!rotation.period || limits.allow_short) return {};
  const UtcTime start{};
  const auto length = nth_after(start, *rotation.period, 1) - start;
  if (length < std::chrono::hours{1})
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("a key rotation {} is too short: at least one hour is needed, so that a "
                    "rekey ends before the next one begins",
                    rotation.to_words()));
  if (limits.tpm_wanted && length < std::chrono::days{1})
    return fail(
        ErrorCode::invalid_argument,
        fmt::format("a key rotation {} is too short: with a TPM at least one day is needed, "
                    "since each rekey writes to its NV memory, which wears out",
                    rotation.to_words()));
  return {};
}

}  // namespace keyward::engine
