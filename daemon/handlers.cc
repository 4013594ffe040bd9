#include "daemon/handlers.h"

#include <array>

namespace keyward::daemon {
namespace {

using enum RunsOn;

constexpr auto kHandlers = std::to_array<HandlerEntry>({
    {"entry.get", io, handlers::get_entry},
    {"entry.put", writers, handlers::put_entry},
    {"entry.delete", writers, handlers::delete_entry},
    {"entry.list", long_calls, handlers::list_entries},
    {"domain.list", io, handlers::list_domains},
    {"domain.create", long_calls, handlers::create_domain},
    {"domain.delete", long_calls, handlers::delete_domain},
    {"key.list", long_calls, handlers::list_keys},
    {"key.view", long_calls, handlers::view_key},
    {"rekey.start", long_calls, handlers::start_rekey},
    {"rekey.progress", long_calls, handlers::rekey_progress},
    {"rekey.pause", long_calls, handlers::pause_rekey},
    {"rekey.resume", long_calls, handlers::resume_rekey},
    {"rekey.cancel", long_calls, handlers::cancel_rekey},
    {"rekey.retry", long_calls, handlers::retry_rekey},
    {"rekey.history", long_calls, handlers::rekey_history},
    {"schedule.view", long_calls, handlers::view_schedule},
    {"schedule.modify", long_calls, handlers::modify_schedule},
    {"limit.view", long_calls, handlers::view_limit},
    {"limit.modify", long_calls, handlers::modify_limit},
    {"sed.status", io, handlers::sed_status},
    {"drive.list", long_calls, handlers::drive_list},
    {"drive.view", long_calls, handlers::drive_view},
    {"drive.provision", long_calls, handlers::drive_provision},
    {"drive.unlock", long_calls, handlers::drive_unlock},
    {"drive.lock", long_calls, handlers::drive_lock},
    {"drive.rotate", long_calls, handlers::drive_rotate},
    {"drive.verify", long_calls, handlers::drive_verify},
    {"drive.erase", long_calls, handlers::drive_erase},
    {"drive.revert", long_calls, handlers::drive_revert},
    {"drive.psid_revert", long_calls, handlers::drive_psid_revert},
    {"drive.psid_revert_recorded", long_calls, handlers::drive_psid_revert_recorded},
    {"drive.psid_record", long_calls, handlers::drive_psid_record},
    {"drive.psid_reveal", long_calls, handlers::drive_psid_reveal},
    {"drive.release", long_calls, handlers::drive_release},
    {"drive.adopt", long_calls, handlers::drive_adopt},
    {"drive.certificates", long_calls, handlers::drive_certificates},
    {"drive.certificate_html", long_calls, handlers::drive_certificate_html},
    {"custodian.list", long_calls, handlers::list_custodians},
    {"custodian.add", long_calls, handlers::add_custodian},
    {"custodian.remove", long_calls, handlers::remove_custodian},
    {"custodian.test", long_calls, handlers::test_custodian},
    {"custodian.unlock", long_calls, handlers::unlock_custodian},
    {"event.list", io, handlers::list_events},
    {"audit.list", long_calls, handlers::list_audit},
    {"audit.verify", long_calls, handlers::verify_audit},
    {"doctor.examine", long_calls, handlers::examine},
    {"doctor.remove", long_calls, handlers::remove_unknown},
    {"upgrade.view", long_calls, handlers::view_upgrade},
    {"upgrade.commit", long_calls, handlers::commit_upgrade},
    {"version", io, handlers::view_version},
    {"metrics", long_calls, handlers::render_metrics},
});

}  // namespace

const HandlerEntry* handler_of(const api::Route& route) {
  for (const HandlerEntry& entry : kHandlers)
    if (entry.route == route.name) return &entry;
  return nullptr;
}

}  // namespace keyward::daemon
