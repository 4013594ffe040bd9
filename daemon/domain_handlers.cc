#include <fmt/format.h>

#include <algorithm>

#include "api/domain_status.h"
#include "api/key_info.h"
#include "api/page.h"
#include "base/text.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {
namespace {

std::vector<std::string> texts(const std::vector<CustodianId>& ids) {
  std::vector<std::string> out;
  for (const CustodianId& id : ids) out.push_back(id.text);
  return out;
}

api::KeyInfo describe(const Domain& domain, const store::KeyRow& row) {
  api::KeyInfo info{.id = row.id.to_text(),
                    .domain = domain.text(),
                    .state = static_cast<api::MasterKeyState>(row.state),
                    .created = row.created,
                    .check_value = {},
                    .copies = {},
                    .holders = texts(row.holders),
                    .except = texts(row.except),
                    .encryptions_reserved = row.encryptions_reserved};
  if (row.state != store::KeyState::announced)
    info.check_value = to_hex(ByteView(row.commitment).first(8));
  for (const SealedKey& copy : row.copies) info.copies.push_back(copy.custodian.text);
  return info;
}

Result<void> append_keys(Services& services, const Domain& domain,
                         std::vector<api::KeyInfo>& keys) {
  const std::shared_ptr<store::Keystore> keystore = TRY(services.keyring.keystore(domain));
  const store::KeyTable table = TRY(keystore->keys());
  for (const store::KeyRow& row : table.keys) keys.push_back(describe(domain, row));
  return {};
}

// A keystore that does not open is left out: `domains` shows it as LOCKED, with its error.
std::vector<api::KeyInfo> all_keys(Services& services) {
  std::vector<api::KeyInfo> keys;
  for (const Domain& domain : services.keyring.domains())
    if (const Result<void> read = append_keys(services, domain, keys); !read)
      log(LogLevel::debug, "the keys of {} are not listed: {}", domain.text(),
          read.error().message);
  return keys;
}

}  // namespace

Result<Response> list_domains(Services& services, const Request& request) {
  const bool all = TRY(request.query.flag("all"));
  const api::Component component =
      TRY(read_component(request.query.find("component").value_or("cluster")));
  api::Page<api::DomainStatus> page{services.keyring.status()};
  if (!all)
    std::erase_if(page.items, [&](const api::DomainStatus& row) {
      const Result<Domain> domain = Domain::parse(row.domain);
      return !domain || !belongs_to(*domain, component);
    });
  return json_response(page);
}

Result<Response> create_domain(Services& services, const Request& request) {
  const auto body = TRY(api::from_json<api::DomainCreate>(request.body));
  const Domain domain = TRY(Domain::parse(body.domain));
  TRY(services.keyring.create_domain(domain, request.caller));
  for (const api::DomainStatus& row : services.keyring.status())
    if (row.domain == domain.text()) return json_response(row, 201);
  return fail(
      ErrorCode::not_found,
      fmt::format("The domain {} was created, and deleted by somebody else since.", domain.text()));
}

Result<Response> delete_domain(Services& services, const Request& request) {
  const Domain domain = TRY(Domain::parse(request.parameters[0]));
  TRY(services.keyring.delete_domain(domain, request.caller));
  return Response{.status = 204, .content_type = {}, .body = {}};
}

Result<Response> list_keys(Services& services, const Request& request) {
  api::Page<api::KeyInfo> page;
  if (const auto name = request.query.find("domain"))
    TRY(append_keys(services, TRY(Domain::parse(*name)), page.items));
  else
    page.items = all_keys(services);
  return json_response(page);
}

Result<Response> view_key(Services& services, const Request& request) {
  const KeyId id = TRY(KeyId::parse(request.parameters[0]));
  for (const api::KeyInfo& key : all_keys(services))
    if (key.id == id.to_text()) return json_response(key);
  return fail(ErrorCode::not_found,
              fmt::format("No keystore that is open has the master key {}. See: keyward keys list",
                          id.to_text()));
}

}  // namespace keyward::daemon::handlers
