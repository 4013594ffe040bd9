#include "api/page.h"
#include "api/sed_status.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

namespace keyward::daemon::handlers {

Result<Response> sed_status(Services& services, const Request&) {
  api::SedStatus row{.node = 1,
                     .status = "OFFLINE",
                     .location = "Local",
                     .remote_key = {},
                     .key_created = {},
                     .error =
                         "this node keeps no PINs of drives: keywardd makes the domain SED when "
                         "its configuration has a [drives] section"};
  for (const api::DomainStatus& domain : services.keyring.status()) {
    const Result<Domain> name = Domain::parse(domain.domain);
    if (!name || !belongs_to(*name, api::Component::sed)) continue;
    row.status = api::enum_text(domain.state);
    row.key_created = domain.key_created;
    row.error = domain.error;
  }
  return json_response(api::Page<api::SedStatus>{{row}});
}

}  // namespace keyward::daemon::handlers
