#include <limits>

#include "base/check.h"
#include "base/duration.h"
#include "base/text.h"
#include "engine/schedule.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

void check_dates(const Rotation& rotation, UtcTime anchor) {
  UtcTime before = anchor;
  for (const std::uint32_t n : {1u, 2u, 3u, 1000u, std::numeric_limits<std::uint32_t>::max()}) {
    const UtcTime time = nth_after(anchor, *rotation.period, n);
    CHECK(time >= before, "a later run comes before an earlier one");
    CHECK(from_iso8601(to_iso8601(time)).has_value(), "a date that cannot be written");
    before = time;
  }
  CHECK(nth_after(anchor, *rotation.period, 1) > anchor, "a period of no length");
  const engine::Schedule schedule{.rotation = rotation, .anchor = anchor, .last_run = anchor};
  CHECK(schedule.next_run() > anchor, "a schedule that is due at once, for ever");
}

}  // namespace

void fuzz_duration(ByteView input) {
  const Result<Rotation> rotation = Rotation::parse(text_of(input));
  if (!rotation) {
    CHECK(rotation.error().code == ErrorCode::invalid_argument, "a duration that is refused");
    CHECK(is_printable_utf8(rotation.error().message), "a text for no terminal");
    return;
  }
  const Result<Rotation> again = Rotation::parse(rotation->to_text());
  CHECK(again && *again == *rotation, "a duration reads back as another");
  CHECK(!rotation->to_words().empty(), "a duration without words");
  if (!rotation->period) return;
  for (const char* anchor :
       {"1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-01-31T12:00:00Z"})
    check_dates(*rotation, from_iso8601(anchor).value());
}

}  // namespace keyward::fuzz
