// An event of the engine as the API shows it.
//
//   stream += to_server_sent_event(event);    // "id: 17\nevent: …\ndata: {…}\n\n"
#pragma once

#include <string>

#include "api/event.h"
#include "engine/event_log.h"

namespace keyward::daemon {

api::Event to_api(const engine::Event& event);
// WHATWG HTML, "Server-sent events".
std::string to_server_sent_event(const engine::Event& event);

}  // namespace keyward::daemon
