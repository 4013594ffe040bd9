// One row of `keyward events list`, and one message of the event stream.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

enum class EventSeverity : std::uint8_t { info, warning, error };

constexpr auto enum_names(EventSeverity) {
  return std::to_array<EnumName<EventSeverity>>({{EventSeverity::info, "info"},
                                                 {EventSeverity::warning, "warning"},
                                                 {EventSeverity::error, "error"}});
}

struct Event {
  std::uint64_t id = 0;  // Stable, for paging and for resuming a stream.
  UtcTime time{};
  EventSeverity severity = EventSeverity::info;
  std::string name;     // "KeyManagerRekeyFailed".
  std::string subject;  // "S3", "pkcs11:hsm1".
  std::string text;
  std::string next_step;
  std::uint64_t count = 1;  // How often it was raised while open.
  bool open = false;        // What it tells of still holds.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &Event::id, "ID");
    visit("time", &Event::time, "Time");
    visit("severity", &Event::severity, "Severity");
    visit("name", &Event::name, "Event");
    visit("subject", &Event::subject, "Subject");
    visit("text", &Event::text, "Text");
    visit("next_step", &Event::next_step);
    visit("count", &Event::count);
    visit("open", &Event::open, "Open");
  }
};

}  // namespace keyward::api
