#include "daemon/event_text.h"

#include <fmt/format.h>

namespace keyward::daemon {

api::Event to_api(const engine::Event& event) {
  return {.id = event.id,
          .time = event.time,
          .severity = static_cast<api::EventSeverity>(event.severity),
          .name = event.name,
          .subject = event.subject,
          .text = event.text,
          .next_step = event.next_step,
          .count = event.count,
          .open = event.open};
}

std::string to_server_sent_event(const engine::Event& event) {
  // JSON escapes line breaks, so the data is one line.
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.name,
                     api::to_json(to_api(event)));
}

}  // namespace keyward::daemon
