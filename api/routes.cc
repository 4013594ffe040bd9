#include "api/routes.h"

#include <array>

namespace keyward::api {
namespace {

using enum Method;
using enum Role;

constexpr auto kRoutes = std::to_array<Route>({
    {"entry.get", get, "/api/v1/domains/{domain}/entries/{name}", service, "", "secret", 200, "",
     "The entry's secret; its version is the ETag."},
    {"entry.put", put, "/api/v1/domains/{domain}/entries/{name}", service, "secret", "EntryWritten",
     200, "if_version:number",
     "Write an entry. If-Match: \"7\" or if_version=7 replaces version 7 only; If-None-Match: * or "
     "if_version=0 writes only a new one."},
    {"entry.delete", remove, "/api/v1/domains/{domain}/entries/{name}", service, "", "", 204,
     "if_version:number", "Delete an entry."},
    {"entry.list", get, "/api/v1/domains/{domain}/entries", service, "", "EntryRowPage", 200,
     "after,limit:number", "Entries by name, without their secrets."},
    {"entry.import", post, "/api/v1/domains/{domain}/entries:import", service, "records",
     "ImportResult", 200, "", "Write many entries in bulk transactions."},

    {"domain.list", get, "/api/v1/domains", auditor, "", "DomainStatusPage", 200,
     "component,all:flag", "The domains' status."},
    {"domain.create", post, "/api/v1/domains", security_admin, "DomainCreate", "DomainStatus", 201,
     "", "Create a domain, sealed by every configured custodian."},
    {"domain.delete", remove, "/api/v1/domains/{domain}", security_admin, "", "", 204, "",
     "Delete an empty domain and its keys."},

    {"key.list", get, "/api/v1/keys", auditor, "", "KeyInfoPage", 200, "domain",
     "The master keys of all domains."},
    {"key.view", get, "/api/v1/keys/{id}", auditor, "", "KeyInfo", 200, "", "One master key."},

    {"rekey.start", post, "/api/v1/rekeys", operator_, "RekeyStart", "DomainResultPage", 202, "",
     "Start a rekey."},
    {"rekey.progress", get, "/api/v1/rekeys", auditor, "", "RekeyStatusPage", 200,
     "component,domain", "How far the rekeys are."},
    {"rekey.pause", post, "/api/v1/rekeys:pause", operator_, "RekeySelection", "DomainResultPage",
     200, "", "Pause rekeys; entries are read and written on."},
    {"rekey.resume", post, "/api/v1/rekeys:resume", operator_, "RekeySelection", "DomainResultPage",
     200, "", "Go on with paused rekeys."},
    {"rekey.cancel", post, "/api/v1/rekeys:cancel", operator_, "RekeySelection", "DomainResultPage",
     202, "", "Take rekeys back; a conflict after the switch."},
    {"rekey.retry", post, "/api/v1/rekeys:retry", operator_, "RekeySelection", "DomainResultPage",
     202, "", "Try a failed step again now."},
    {"rekey.history", get, "/api/v1/rekeys/history", auditor, "", "RekeyStatusPage", 200,
     "component,domain,limit:number", "Finished rekeys, the newest first."},
    {"schedule.view", get, "/api/v1/rekey-schedule/{component}", auditor, "", "RekeySchedule", 200,
     "", "When the next rekey is due."},
    {"schedule.modify", put, "/api/v1/rekey-schedule/{component}", operator_, "RekeyScheduleChange",
     "RekeySchedule", 200, "", "Set how often rekeys run."},
    {"limit.view", get, "/api/v1/rekey-limit", auditor, "", "RekeyLimit", 200, "",
     "The limit of entries per second."},
    {"limit.modify", put, "/api/v1/rekey-limit", operator_, "RekeyLimit", "RekeyLimit", 200, "",
     "Set or lift the limit."},

    {"sed.status", get, "/api/v1/sed/status", auditor, "", "SedStatusPage", 200, "",
     "Where the master key of the drives' PINs is, by node."},
    {"drive.list", get, "/api/v1/sed/drives", auditor, "", "DriveRowPage", 200, "",
     "The drives, as they were last seen."},
    {"drive.view", get, "/api/v1/sed/drives/{drive}", auditor, "", "DriveRow", 200, "",
     "One drive, by serial or WWN."},
    {"drive.provision", post, "/api/v1/sed/drives:provision", security_admin, "DriveSelection",
     "DriveResultPage", 200, "", "Own drives that nobody owns, each with a random PIN."},
    {"drive.unlock", post, "/api/v1/sed/drives:unlock", operator_, "DriveSelection",
     "DriveResultPage", 200, "", "Unlock all ranges of our drives."},
    {"drive.lock", post, "/api/v1/sed/drives:lock", operator_, "DriveSelection", "DriveResultPage",
     200, "", "Lock all ranges of our drives, now."},
    {"drive.rotate", post, "/api/v1/sed/drives:rotate", operator_, "DriveSelection",
     "DriveResultPage", 200, "", "Give our drives new PINs."},
    {"drive.verify", post, "/api/v1/sed/drives:verify", operator_, "DriveSelection",
     "DriveResultPage", 200, "",
     "Prove that the stored PINs open the drives. After a restore: the order that lets PINs be "
     "sent."},
    {"drive.erase", post, "/api/v1/sed/drives/{drive}:erase", security_admin, "", "DriveResultPage",
     200, "method",
     "Destroy all data by new media keys; method=ata: by the drive's own erase. A certificate "
     "follows."},
    {"drive.revert", post, "/api/v1/sed/drives/{drive}:revert", security_admin, "",
     "DriveResultPage", 200, "", "Back to the factory state, by our PIN. All data are gone."},
    {"drive.psid_revert", post, "/api/v1/sed/drives/{drive}:psid-revert", security_admin, "secret",
     "DriveResultPage", 200, "", "Back to the factory state, by the PSID. All data are gone."},
    {"drive.psid_revert_recorded", post, "/api/v1/sed/drives/{drive}:psid-revert-recorded",
     security_admin, "", "DriveResultPage", 200, "", "The same, by the PSID that was recorded."},
    {"drive.psid_record", put, "/api/v1/sed/drives/{drive}/psid", operator_, "secret",
     "DriveResultPage", 200, "", "Keep the PSID on the drive's label."},
    {"drive.psid_reveal", get, "/api/v1/sed/drives/{drive}/psid", security_admin, "", "secret", 200,
     "", "The PSID that was recorded; always audited."},
    {"drive.release", post, "/api/v1/sed/drives:release", security_admin, "secret", "secret", 200,
     "drives",
     "PINs of drives that go to another node, sealed under the passphrase in the body; "
     "here they are forgotten."},
    {"drive.adopt", post, "/api/v1/sed/drives:adopt", security_admin, "secret", "DriveResultPage",
     200, "", "Take over drives: the body is the passphrase, a newline, and what release gave."},
    {"drive.certificates", get, "/api/v1/sed/certificates", auditor, "", "EraseCertificatePage",
     200, "", "The certificates of erased drives, the newest first."},
    {"drive.certificate_html", get, "/api/v1/sed/certificates/{id}/html", auditor, "", "html", 200,
     "", "One certificate, to be printed."},

    {"custodian.list", get, "/api/v1/custodians", auditor, "", "CustodianRowPage", 200, "",
     "The custodians and their health."},
    {"custodian.add", post, "/api/v1/custodians", security_admin, "CustodianAdd",
     "DomainResultPage", 202, "", "Let a configured custodian seal the keys too."},
    {"custodian.remove", remove, "/api/v1/custodians/{id}", security_admin, "", "RemovalResult",
     202, "no_rekey:flag,lost:flag",
     "Take a custodian away; a rekey follows unless no_rekey. lost: it cannot be reached any "
     "more."},
    {"custodian.test", post, "/api/v1/custodians/{id}:test", operator_, "", "CustodianRow", 200, "",
     "Seal and unseal a throw-away key now."},
    {"custodian.unlock", post, "/api/v1/custodians/{id}:unlock", operator_, "secret",
     "CustodianRow", 200, "", "Give a passphrase custodian its passphrase."},

    {"event.list", get, "/api/v1/events", auditor, "", "EventPage", 200,
     "after:number,limit:number,newest:flag",
     "Events, the oldest first; newest: the last ones, the newest first."},
    {"event.stream", get, "/api/v1/events/stream", auditor, "", "events", 200, "after:number",
     "Events as they are raised, as server-sent events."},
    {"audit.list", get, "/api/v1/audit", auditor, "", "AuditRowPage", 200,
     "since,until,actor,subject,action,after,limit:number", "Audit records, the oldest first."},
    {"audit.verify", post, "/api/v1/audit:verify", auditor, "", "AuditVerdict", 200, "",
     "Walk every chain of audit records."},
    {"doctor.examine", get, "/api/v1/doctor", auditor, "", "DoctorFindingPage", 200, "",
     "What does not fit together in stores and hardware. Changes nothing."},
    {"doctor.remove", post, "/api/v1/doctor:remove", security_admin, "DoctorRemove", "", 204, "",
     "Destroy one unknown object in a custodian, named by its key id."},
    {"upgrade.view", get, "/api/v1/upgrade", auditor, "", "UpgradeState", 200, "",
     "Which stores are of an older format."},
    {"upgrade.commit", post, "/api/v1/upgrade:commit", security_admin, "", "UpgradeState", 200, "",
     "Migrate the stores; older programs refuse them afterwards."},
    {"version", get, "/api/v1/version", service, "", "Version", 200, "", "What runs."},
    {"metrics", get, "/metrics", auditor, "", "text", 200, "", "Prometheus text."},
});

std::string_view next_segment(std::string_view& path) {
  const std::size_t slash = path.find('/', 1);
  const std::string_view segment = path.substr(0, slash);
  path.remove_prefix(segment.size());
  return segment;
}

// One segment with its leading slash against "/text" or "/{name}:verb".
bool match_segment(std::string_view pattern, std::string_view segment,
                   std::vector<std::string_view>& parameters) {
  if (!pattern.starts_with("/{")) return pattern == segment;
  const std::string_view verb = pattern.substr(pattern.find('}') + 1);
  if (!segment.ends_with(verb) || segment.size() <= 1 + verb.size()) return false;
  parameters.push_back(segment.substr(1, segment.size() - 1 - verb.size()));
  return true;
}

bool match_path(std::string_view pattern, std::string_view path,
                std::vector<std::string_view>& parameters) {
  parameters.clear();
  while (!pattern.empty() && !path.empty())
    if (!match_segment(next_segment(pattern), next_segment(path), parameters)) return false;
  return pattern.empty() && path.empty();
}

}  // namespace

std::string_view method_name(Method method) {
  constexpr std::string_view kNames[] = {"GET", "PUT", "POST", "PATCH", "DELETE"};
  return kNames[static_cast<std::size_t>(method)];
}

std::string_view role_name(Role role) {
  constexpr std::string_view kNames[] = {"service", "auditor", "operator", "security_admin"};
  return kNames[static_cast<std::size_t>(role)];
}

std::span<const Route> routes() { return kRoutes; }

std::optional<RouteMatch> match_route(std::string_view path, Method method) {
  RouteMatch match{nullptr, {}};
  for (const Route& route : kRoutes) {
    if (route.method != method || !match_path(route.path, path, match.parameters)) continue;
    match.route = &route;
    return match;
  }
  return std::nullopt;
}

std::vector<Method> methods_of(std::string_view path) {
  std::vector<Method> methods;
  std::vector<std::string_view> parameters;
  for (const Route& route : kRoutes)
    if (match_path(route.path, path, parameters)) methods.push_back(route.method);
  return methods;
}

}  // namespace keyward::api
