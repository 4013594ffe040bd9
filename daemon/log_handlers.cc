#include <unistd.h>

#include "api/audit.h"
#include "api/doctor.h"
#include "api/event.h"
#include "api/page.h"
#include "api/upgrade.h"
#include "api/version.h"
#include "base/text.h"
#include "daemon/event_text.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {
namespace {

api::AuditRow describe(const engine::AuditLine& line) {
  const store::StoredRecord& stored = line.stored;
  return {.time = stored.time,
          .trail = line.trail,
          .sequence = stored.sequence,
          .action = stored.record.action,
          .actor = stored.record.actor,
          .origin = stored.record.origin,
          .subject = stored.record.subject,
          .outcome = stored.record.outcome,
          .detail = stored.record.detail,
          .chain = to_hex(stored.chain)};
}

std::string text_of(const api::Query& query, std::string_view name) {
  return std::string(query.find(name).value_or(""));
}

Result<std::optional<UtcTime>> read_time(const api::Query& query, std::string_view name) {
  const auto text = query.find(name);
  if (!text) return std::optional<UtcTime>{};
  return std::optional(TRY(from_iso8601(*text)));
}

Result<api::UpgradeState> upgrade_state(Services& services) {
  const store::Backend::UpgradeState state = TRY(services.backend.upgrade_state());
  return api::UpgradeState{state.format_current, state.stores_to_upgrade};
}

}  // namespace

Result<Response> list_events(Services& services, const Request& request) {
  const std::size_t limit = TRY(read_limit(request.query, 100, 1'000));
  const bool newest = TRY(request.query.flag("newest"));
  const std::uint64_t after = TRY(request.query.number("after")).value_or(0);
  api::Page<api::Event> page;
  for (const engine::Event& event :
       newest ? services.events.newest(limit) : services.events.list(after, limit))
    page.items.push_back(to_api(event));
  if (!newest && page.items.size() == limit) page.next = std::to_string(page.items.back().id);
  return json_response(page);
}

Result<Response> list_audit(Services& services, const Request& request) {
  engine::AuditQuery query{.since = TRY(read_time(request.query, "since")),
                           .until = TRY(read_time(request.query, "until")),
                           .actor = text_of(request.query, "actor"),
                           .subject = text_of(request.query, "subject"),
                           .action = text_of(request.query, "action"),
                           .after = text_of(request.query, "after"),
                           .count_max = TRY(read_limit(request.query, 100, 1'000))};
  const engine::AuditPage found = TRY(services.audit.list(query));
  api::Page<api::AuditRow> page;
  for (const engine::AuditLine& line : found.lines) page.items.push_back(describe(line));
  if (!found.next.empty()) page.next = found.next;
  return json_response(page);
}

Result<Response> verify_audit(Services& services, const Request&) {
  engine::AuditVerdict verdict = TRY(services.audit.verify(services.stop));
  return json_response(api::AuditVerdict{.intact = verdict.defects.empty(),
                                         .records = verdict.records,
                                         .trails = verdict.trails,
                                         .checkpoints = verdict.checkpoints,
                                         .notes = std::move(verdict.notes),
                                         .defects = std::move(verdict.defects)});
}

Result<Response> examine(Services& services, const Request&) {
  return json_response(api::Page<api::DoctorFinding>{services.doctor.examine(services.stop)});
}

Result<Response> remove_unknown(Services& services, const Request& request) {
  const auto body = TRY(api::from_json<api::DoctorRemove>(request.body));
  TRY(services.doctor.remove_unknown(CustodianId{body.custodian}, body.key, request.caller));
  return Response{.status = 204, .content_type = {}, .body = {}};
}

Result<Response> view_upgrade(Services& services, const Request&) {
  return json_response(TRY(upgrade_state(services)));
}

Result<Response> commit_upgrade(Services& services, const Request& request) {
  const store::AuditRecord record = engine::audit_record(request.caller, "upgrade.commit", "store");
  TRY(services.backend.commit_upgrade({&record, 1}));
  return json_response(TRY(upgrade_state(services)));
}

Result<Response> view_version(Services& services, const Request&) {
  return json_response(api::Version{.product = "keyward",
                                    .version = std::string(api::kProductVersion),
                                    .api = 1,
                                    .aead_engine = services.aead_engine,
                                    .started = services.started,
                                    .pid = static_cast<std::uint64_t>(::getpid())});
}

}  // namespace keyward::daemon::handlers
