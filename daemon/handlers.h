// The handlers of the API, by the names of api::routes().
//
//   const HandlerEntry& entry = handler_of(*match.route);
//   Result<Response> answer = entry.handle(services, request);
//
// entry.import and event.stream are not here: the connection itself runs them, since they are
// streams. Handlers are safe from any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "daemon/message.h"
#include "daemon/services.h"

namespace keyward::daemon {

enum class RunsOn : std::uint8_t {
  io,       // Microseconds, no disk and no hardware: on the thread that read the request.
  writers,  // One durable change.
  long_calls,
};

using Handler = Result<Response> (*)(Services&, const Request&);

struct HandlerEntry {
  std::string_view route;
  RunsOn runs_on;
  Handler handle;
};

// Null for the two streams.
const HandlerEntry* handler_of(const api::Route& route);

namespace handlers {
Result<Response> get_entry(Services& services, const Request& request);
Result<Response> put_entry(Services& services, const Request& request);
Result<Response> delete_entry(Services& services, const Request& request);
Result<Response> list_entries(Services& services, const Request& request);

Result<Response> list_domains(Services& services, const Request& request);
Result<Response> create_domain(Services& services, const Request& request);
Result<Response> delete_domain(Services& services, const Request& request);
Result<Response> list_keys(Services& services, const Request& request);
Result<Response> view_key(Services& services, const Request& request);

Result<Response> start_rekey(Services& services, const Request& request);
Result<Response> rekey_progress(Services& services, const Request& request);
Result<Response> pause_rekey(Services& services, const Request& request);
Result<Response> resume_rekey(Services& services, const Request& request);
Result<Response> cancel_rekey(Services& services, const Request& request);
Result<Response> retry_rekey(Services& services, const Request& request);
Result<Response> rekey_history(Services& services, const Request& request);
Result<Response> view_schedule(Services& services, const Request& request);
Result<Response> modify_schedule(Services& services, const Request& request);
Result<Response> view_limit(Services& services, const Request& request);
Result<Response> modify_limit(Services& services, const Request& request);

Result<Response> sed_status(Services& services, const Request& request);
Result<Response> drive_list(Services& services, const Request& request);
Result<Response> drive_view(Services& services, const Request& request);
Result<Response> drive_provision(Services& services, const Request& request);
Result<Response> drive_unlock(Services& services, const Request& request);
Result<Response> drive_lock(Services& services, const Request& request);
Result<Response> drive_rotate(Services& services, const Request& request);
Result<Response> drive_verify(Services& services, const Request& request);
Result<Response> drive_erase(Services& services, const Request& request);
Result<Response> drive_revert(Services& services, const Request& request);
Result<Response> drive_psid_revert(Services& services, const Request& request);
Result<Response> drive_psid_revert_recorded(Services& services, const Request& request);
Result<Response> drive_psid_record(Services& services, const Request& request);
Result<Response> drive_psid_reveal(Services& services, const Request& request);
Result<Response> drive_release(Services& services, const Request& request);
Result<Response> drive_adopt(Services& services, const Request& request);
Result<Response> drive_certificates(Services& services, const Request& request);
Result<Response> drive_certificate_html(Services& services, const Request& request);

Result<Response> list_custodians(Services& services, const Request& request);
Result<Response> add_custodian(Services& services, const Request& request);
Result<Response> remove_custodian(Services& services, const Request& request);
Result<Response> test_custodian(Services& services, const Request& request);
Result<Response> unlock_custodian(Services& services, const Request& request);

Result<Response> list_events(Services& services, const Request& request);
Result<Response> list_audit(Services& services, const Request& request);
Result<Response> verify_audit(Services& services, const Request& request);
Result<Response> examine(Services& services, const Request& request);
Result<Response> remove_unknown(Services& services, const Request& request);
Result<Response> view_upgrade(Services& services, const Request& request);
Result<Response> commit_upgrade(Services& services, const Request& request);
Result<Response> view_version(Services& services, const Request& request);
Result<Response> render_metrics(Services& services, const Request& request);
}  // namespace handlers

}  // namespace keyward::daemon
