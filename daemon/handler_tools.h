// What several handlers need: limits of lists, and the domains that a request means.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "api/rekey_requests.h"
#include "base/ids.h"
#include "daemon/message.h"
#include "engine/keyring.h"

namespace keyward::daemon {

// ?limit=, from 1 to `max`; `fallback` when absent.
Result<std::size_t> read_limit(const api::Query& query, std::size_t fallback, std::size_t max);
// ?component=, or cluster.
Result<api::Component> read_component(std::string_view text);

bool belongs_to(const Domain& domain, api::Component component);
// The domains of a component that exist.
std::vector<Domain> domains_of(const engine::Keyring& keyring, api::Component component);
// Those named, each of which must exist (`not_found`); none named: all of the component, of which
// there must be one.
Result<std::vector<Domain>> choose_domains(const engine::Keyring& keyring,
                                           const std::vector<std::string>& names,
                                           api::Component component);

}  // namespace keyward::daemon
