#include <algorithm>

#include "api/page.h"
#include "api/rekey_requests.h"
#include "api/rekey_status.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {
namespace {

api::DomainResult result_of(const Domain& domain, const Error* error) {
  api::DomainResult row{.domain = domain.text(), .job = {}, .code = {}, .error = {}};
  if (error == nullptr) return row;
  row.code = error_code_name(error->code);
  row.error = error->message;
  return row;
}

using Act = std::vector<Result<void>> (engine::RekeyService::*)(std::span<const Domain>,
                                                                const engine::Caller&);

Result<Response> act(Services& services, const Request& request, Act function) {
  const auto body = TRY(api::from_json<api::RekeySelection>(request.body));
  const std::vector<Domain> domains = TRY(choose_domains(
      services.keyring, body.domains, body.component.value_or(api::Component::cluster)));
  const std::vector<Result<void>> results = (services.rekeys.*function)(domains, request.caller);
  api::Page<api::DomainResult> page;
  for (std::size_t i = 0; i < results.size(); ++i)
    page.items.push_back(result_of(domains[i], results[i] ? nullptr : &results[i].error()));
  return json_response(page, request.route->status);
}

Result<std::vector<Domain>> read_selection(Services& services, const api::Query& query) {
  const api::Component component = TRY(read_component(query.find("component").value_or("cluster")));
  if (const auto name = query.find("domain"))
    return choose_domains(services.keyring, {std::string(*name)}, component);
  return domains_of(services.keyring, component);
}

engine::ScheduleName schedule_name(api::Component component) {
  return component == api::Component::sed ? engine::ScheduleName::sed
                                          : engine::ScheduleName::cluster;
}

Result<api::RekeySchedule> describe(Services& services, api::Component component) {
  const engine::ScheduleName name = schedule_name(component);
  const engine::Schedule schedule = TRY(services.rekeys.schedule(name));
  return api::RekeySchedule{.component = component,
                            .key_rotation = schedule.rotation.to_text(),
                            .description = schedule.rotation.to_words(),
                            .last_rekey = schedule.last_run,
                            .next_rekey = TRY(services.rekeys.next_run(name)),
                            .version = schedule.version};
}

}  // namespace

Result<Response> start_rekey(Services& services, const Request& request) {
  const auto body = TRY(api::from_json<api::RekeyStart>(request.body));
  const std::vector<Domain> domains = TRY(choose_domains(
      services.keyring, body.domains, body.component.value_or(api::Component::cluster)));
  std::vector<CustodianId> without;
  for (const std::string& id : body.without) without.push_back({id});
  const std::vector<Result<JobId>> jobs =
      services.rekeys.start(domains, std::move(without), request.caller);
  api::Page<api::DomainResult> page;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    page.items.push_back(result_of(domains[i], jobs[i] ? nullptr : &jobs[i].error()));
    if (jobs[i]) page.items.back().job = jobs[i]->to_text();
  }
  return json_response(page, request.route->status);
}

Result<Response> pause_rekey(Services& services, const Request& request) {
  return act(services, request, &engine::RekeyService::pause);
}
Result<Response> resume_rekey(Services& services, const Request& request) {
  return act(services, request, &engine::RekeyService::resume);
}
Result<Response> cancel_rekey(Services& services, const Request& request) {
  return act(services, request, &engine::RekeyService::cancel);
}
Result<Response> retry_rekey(Services& services, const Request& request) {
  return act(services, request, &engine::RekeyService::retry);
}

Result<Response> rekey_progress(Services& services, const Request& request) {
  const std::vector<Domain> domains = TRY(read_selection(services, request.query));
  return json_response(api::Page<api::RekeyStatus>{services.rekeys.progress(domains)});
}

Result<Response> rekey_history(Services& services, const Request& request) {
  const std::size_t limit = TRY(read_limit(request.query, 20, 1'000));
  api::Page<api::RekeyStatus> page;
  for (const Domain& domain : TRY(read_selection(services, request.query)))
    for (api::RekeyStatus& row : TRY(services.rekeys.history(domain, limit)))
      page.items.push_back(std::move(row));
  std::stable_sort(page.items.begin(), page.items.end(),
                   [](const auto& a, const auto& b) { return a.started > b.started; });
  if (page.items.size() > limit) page.items.resize(limit);
  return json_response(page);
}

Result<Response> view_schedule(Services& services, const Request& request) {
  const api::Component component = TRY(read_component(request.parameters[0]));
  return json_response(TRY(describe(services, component)));
}

Result<Response> modify_schedule(Services& services, const Request& request) {
  const api::Component component = TRY(read_component(request.parameters[0]));
  const auto body = TRY(api::from_json<api::RekeyScheduleChange>(request.body));
  engine::Schedule schedule = TRY(services.rekeys.schedule(schedule_name(component)));
  schedule.rotation = TRY(Rotation::parse(body.key_rotation));
  schedule.version = body.if_version.value_or(schedule.version);
  TRY(services.rekeys.set_schedule(schedule_name(component), schedule, request.caller));
  return json_response(TRY(describe(services, component)));
}

Result<Response> view_limit(Services& services, const Request&) {
  return json_response(api::RekeyLimit{services.rekeys.rate_limit()});
}

Result<Response> modify_limit(Services& services, const Request& request) {
  const auto body = TRY(api::from_json<api::RekeyLimit>(request.body));
  if (body.entries_per_second == 0)
    return fail(ErrorCode::invalid_argument,
                "The limit is at least 1 entry per second. null lifts it; to stop rekeys, pause "
                "them: keyward cluster rekey pause");
  TRY(services.rekeys.set_rate_limit(body.entries_per_second, request.caller));
  return json_response(api::RekeyLimit{services.rekeys.rate_limit()});
}

}  // namespace keyward::daemon::handlers
