#include <fmt/format.h>

#include "api/custodian_row.h"
#include "api/page.h"
#include "api/rekey_requests.h"
#include "base/text.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {
namespace {

api::Page<api::DomainResult> describe(const std::vector<engine::DomainOutcome>& outcomes) {
  api::Page<api::DomainResult> page;
  for (const engine::DomainOutcome& outcome : outcomes) {
    page.items.push_back({outcome.domain.text(), {}, {}, {}});
    if (!outcome.error) continue;
    page.items.back().code = error_code_name(outcome.error->code);
    page.items.back().error = outcome.error->message;
  }
  return page;
}

Result<Response> view_custodian(Services& services, const CustodianId& id) {
  for (const api::CustodianRow& row : services.admin.list())
    if (row.id == id.text) return json_response(row);
  return fail(
      ErrorCode::not_found,
      fmt::format("There is no custodian {}. See: keyward custodians list", printable(id.text)));
}

}  // namespace

Result<Response> list_custodians(Services& services, const Request&) {
  return json_response(api::Page<api::CustodianRow>{services.admin.list()});
}

Result<Response> add_custodian(Services& services, const Request& request) {
  const auto body = TRY(api::from_json<api::CustodianAdd>(request.body));
  std::vector<Domain> domains;
  for (const std::string& name : body.domains) domains.push_back(TRY(Domain::parse(name)));
  const engine::AddReport report =
      TRY(services.admin.add(CustodianId{body.id}, domains, request.caller));
  return json_response(describe(report.domains), 202);
}

Result<Response> remove_custodian(Services& services, const Request& request) {
  engine::RemoveOptions options;
  if (TRY(request.query.flag("no_rekey"))) options.after = engine::AfterRemoval::no_rekey;
  if (TRY(request.query.flag("lost"))) options.hardware = engine::RemovedHardware::lost;
  const engine::RemoveReport report =
      TRY(services.admin.remove(CustodianId{request.parameters[0]}, options, request.caller));
  api::RemovalResult result{describe(report.domains).items, report.except};
  return json_response(result, 202);
}

Result<Response> test_custodian(Services& services, const Request& request) {
  const CustodianId id{request.parameters[0]};
  TRY(services.admin.test(id, request.caller));
  return view_custodian(services, id);
}

Result<Response> unlock_custodian(Services& services, const Request& request) {
  const CustodianId id{request.parameters[0]};
  SecretBytes passphrase = TRY(request.secret->duplicate());
  TRY(services.admin.unlock(id, std::move(passphrase), request.caller));
  return view_custodian(services, id);
}

}  // namespace keyward::daemon::handlers
