#include "base/duration.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/text.h"

namespace keyward {
namespace {

constexpr std::array kUnits{
    PeriodUnitInfo{PeriodUnit::years, "year", 100},
    PeriodUnitInfo{PeriodUnit::months, "month", 1'200},
    PeriodUnitInfo{PeriodUnit::weeks, "week", 5'217},
    PeriodUnitInfo{PeriodUnit::days, "day", 36'524},
    PeriodUnitInfo{PeriodUnit::hours, "hour", 876'576},
    PeriodUnitInfo{PeriodUnit::minutes, "minute", 52'594'560},
    PeriodUnitInfo{PeriodUnit::seconds, "second", 999'999'999},
};
constexpr std::size_t kDigitsMax = 9;
constexpr std::int64_t kYearMax = 9999;
constexpr std::string_view kAllowed =
    "write a number and one unit of Y M W D h m s (years, months, weeks, days, hours, minutes, "
    "seconds), such as 6W or 2M, or Never";

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("the duration \"{}\" {}: {}", printable(text, 40), why, kAllowed));
}

bool equal_ignoring_case(std::string_view a, std::string_view lower) {
  return std::ranges::equal(a, lower, [](char is, char wanted) {
    return (is >= 'A' && is <= 'Z' ? is - 'A' + 'a' : is) == wanted;
  });
}

const PeriodUnitInfo* find_unit(char letter) {
  if (letter == 'H') letter = 'h';
  const auto* found =
      std::ranges::find(kUnits, static_cast<PeriodUnit>(letter), &PeriodUnitInfo::unit);
  return found == kUnits.end() ? nullptr : found;
}

const PeriodUnitInfo& unit_info(PeriodUnit unit) {
  const PeriodUnitInfo* info = find_unit(static_cast<char>(unit));
  CHECK(info != nullptr, "a PeriodUnit outside its enumeration");
  return *info;
}

UtcTime months_after(UtcTime anchor, std::int64_t months) {
  using namespace std::chrono;
  const auto midnight = floor<days>(anchor);
  const year_month_day date{midnight};
  const std::int64_t month_index = static_cast<int>(date.year()) * std::int64_t{12} +
                                   static_cast<unsigned>(date.month()) - 1 + months;
  const std::int64_t last_index = kYearMax * 12 + 11;
  const std::int64_t clamped = std::min(month_index, last_index);
  const year_month month_of{year{static_cast<int>(clamped / 12)},
                            month{static_cast<unsigned>(clamped % 12 + 1)}};
  const day last = year_month_day_last{month_of / std::chrono::last}.day();
  return sys_days{month_of / std::min(date.day(), last)} + (anchor - midnight);
}

}  // namespace

std::span<const PeriodUnitInfo> period_units() { return kUnits; }

UtcTime nth_after(UtcTime anchor, Period period, std::uint32_t n) {
  using namespace std::chrono;
  // Both branches end at the year 9999; the limit keeps the arithmetic on the way within 64 bits.
  constexpr std::uint64_t kCountMax = std::uint64_t{1} << 48;
  const auto count =
      static_cast<std::int64_t>(std::min(std::uint64_t{period.count} * n, kCountMax));
  const auto fixed = [&](seconds unit) -> UtcTime {
    const seconds room =
        floor<seconds>(UtcTime{sys_days{year{static_cast<int>(kYearMax)} / 12 / 31}} - anchor);
    const std::int64_t fits = std::max<std::int64_t>(room / unit, 0);
    return anchor + unit * std::min(count, fits);
  };
  switch (period.unit) {
    case PeriodUnit::years:
      return months_after(anchor, count * 12);
    case PeriodUnit::months:
      return months_after(anchor, count);
    case PeriodUnit::weeks:
      return fixed(weeks{1});
    case PeriodUnit::days:
      return fixed(days{1});
    case PeriodUnit::hours:
      return fixed(hours{1});
    case PeriodUnit::minutes:
      return fixed(minutes{1});
    case PeriodUnit::seconds:
      return fixed(seconds{1});
  }
  CHECK(false, "a PeriodUnit outside its enumeration");
  return anchor;
}

Result<Rotation> Rotation::parse(std::string_view text) {
  if (equal_ignoring_case(text, "never")) return Rotation{};
  if (text.empty()) return refuse(text, "is empty");
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0) return refuse(text, "does not start with a number");
  if (digits > kDigitsMax) return refuse(text, "has a number of more than 9 digits");
  if (digits == text.size()) return refuse(text, "has no unit");
  const PeriodUnitInfo* unit = find_unit(text[digits]);
  if (unit == nullptr) return refuse(text, "has an unknown unit");
  if (digits + 1 != text.size()) return refuse(text, "goes on after its unit");

  std::uint32_t count = 0;
  for (const char digit : text.substr(0, digits))
    count = count * 10 + static_cast<std::uint32_t>(digit - '0');
  if (count == 0) return refuse(text, "is zero");
  if (count > unit->count_max)
    return refuse(text, fmt::format("is too long, at most {} {}s are allowed", unit->count_max,
                                    unit->singular));
  return Rotation{Period{count, unit->unit}};
}

std::string Rotation::to_text() const {
  if (!period) return "Never";
  return fmt::format("{}{}", period->count, static_cast<char>(period->unit));
}

std::string Rotation::to_words() const {
  if (!period) return "never";
  const std::string_view singular = unit_info(period->unit).singular;
  if (period->count == 1) return fmt::format("every {}", singular);
  return fmt::format("every {} {}s", period->count, singular);
}

}  // namespace keyward
