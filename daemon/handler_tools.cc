#include "daemon/handler_tools.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::daemon {
namespace {

// Node-local keystores, which no rekey of the cluster touches.
constexpr std::string_view kSed = "SED";
constexpr std::string_view kOwn = "KEYWARD";

}  // namespace

Result<std::size_t> read_limit(const api::Query& query, std::size_t fallback, std::size_t max) {
  const std::optional<std::uint64_t> limit = TRY(query.number("limit"));
  if (!limit) return fallback;
  if (*limit >= 1 && *limit <= max) return static_cast<std::size_t>(*limit);
  return fail(ErrorCode::invalid_argument,
              fmt::format("The parameter \"limit\" takes 1 to {}, not {}.", max, *limit));
}

Result<api::Component> read_component(std::string_view text) {
  for (const auto& name : api::enum_names(api::Component{}))
    if (name.text == text) return name.value;
  return fail(ErrorCode::invalid_argument,
              fmt::format("\"{}\" is no component. Write cluster or sed.", printable(text)));
}

bool belongs_to(const Domain& domain, api::Component component) {
  if (component == api::Component::sed) return domain.text() == kSed;
  return domain.text() != kSed && domain.text() != kOwn;
}

std::vector<Domain> domains_of(const engine::Keyring& keyring, api::Component component) {
  std::vector<Domain> domains = keyring.domains();
  std::erase_if(domains, [&](const Domain& domain) { return !belongs_to(domain, component); });
  return domains;
}

Result<std::vector<Domain>> choose_domains(const engine::Keyring& keyring,
                                           const std::vector<std::string>& names,
                                           api::Component component) {
  std::vector<Domain> chosen;
  if (names.empty()) {
    chosen = domains_of(keyring, component);
    if (!chosen.empty()) return chosen;
    return fail(ErrorCode::not_found,
                "There is no domain yet. Create one: keyward cluster domains create <domain>");
  }
  const std::vector<Domain> existing = keyring.domains();
  for (const std::string& name : names) {
    Domain domain = TRY(Domain::parse(name));
    if (std::find(existing.begin(), existing.end(), domain) == existing.end())
      return fail(ErrorCode::not_found,
                  fmt::format("The domain {} does not exist. See: keyward cluster status", name));
    if (std::find(chosen.begin(), chosen.end(), domain) == chosen.end())
      chosen.push_back(std::move(domain));
  }
  return chosen;
}

}  // namespace keyward::daemon
