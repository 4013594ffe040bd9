#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "api/domain_status.h"
#include "api/version.h"
#include "daemon/handler_tools.h"
#include "daemon/handlers.h"

// Prometheus text format 0.0.4.
namespace keyward::daemon::handlers {
namespace {

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

void single(std::string& out, std::string_view name, std::string_view type, std::string_view help,
            std::uint64_t value) {
  head(out, name, type, help);
  out += fmt::format("{} {}\n", name, value);
}

void domains(std::string& out, Services& services) {
  head(out, "keyward_domain_status", "gauge", "1 for the status that the domain is in");
  for (const api::DomainStatus& row : services.keyring.status())
    out += fmt::format("keyward_domain_status{{domain=\"{}\",status=\"{}\"}} 1\n", row.domain,
                       api::enum_text(row.state));
  head(out, "keyward_rekey_entries_done", "gauge", "Entries re-encrypted by the running rekey");
  const std::vector<api::RekeyStatus> rekeys = services.rekeys.progress();
  for (const api::RekeyStatus& row : rekeys)
    out += fmt::format("keyward_rekey_entries_done{{domain=\"{}\",phase=\"{}\"}} {}\n", row.domain,
                       row.phase, row.entries_done);
  head(out, "keyward_rekey_entries_total", "gauge", "Entries that the running rekey began with");
  for (const api::RekeyStatus& row : rekeys)
    out += fmt::format("keyward_rekey_entries_total{{domain=\"{}\",phase=\"{}\"}} {}\n", row.domain,
                       row.phase, row.entries_total);
}

void custodians(std::string& out, Services& services) {
  head(out, "keyward_custodian_healthy", "gauge", "Whether the last probe succeeded");
  for (const engine::CustodianHealth& health : services.custodians.health())
    out += fmt::format("keyward_custodian_healthy{{custodian=\"{}\"}} {}\n", health.id.text,
                       health.healthy ? 1 : 0);
}

void answers(std::string& out, const Metrics& metrics) {
  head(out, "keyward_http_answers_total", "counter", "Answers, by route and class of status");
  const auto routes = api::routes();
  for (std::size_t i = 0; i <= routes.size(); ++i)
    for (unsigned status = 2; status <= 5; ++status)
      if (const std::uint64_t count = metrics.answers(i, status); count > 0)
        out += fmt::format("keyward_http_answers_total{{route=\"{}\",status=\"{}xx\"}} {}\n",
                           i < routes.size() ? routes[i].name : "none", status, count);
}

std::uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  statm >> size >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

Result<Response> render_metrics(Services& services, const Request&) {
  const Metrics& metrics = services.metrics;
  std::string out;
  head(out, "keyward_info", "gauge", "What runs");
  out += fmt::format("keyward_info{{version=\"{}\",aead_engine=\"{}\"}} 1\n", api::kProductVersion,
                     services.aead_engine);
  domains(out, services);
  custodians(out, services);
  answers(out, metrics);
  single(out, "keyward_connections", "gauge", "Connections that are open",
         metrics.connections_open);
  single(out, "keyward_connections_refused_total", "counter", "Connections over the limit",
         metrics.connections_refused);
  single(out, "keyward_peers_refused_total", "counter", "Connections of uids not admitted",
         metrics.peers_refused);
  single(out, "keyward_timeouts_total", "counter", "Connections cut because they stalled",
         metrics.timeouts);
  single(out, "process_resident_memory_bytes", "gauge", "Resident memory", resident_bytes());
  return Response{
      .status = 200, .content_type = "text/plain; version=0.0.4", .body = std::move(out)};
}

}  // namespace keyward::daemon::handlers
