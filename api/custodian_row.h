// One row of `keyward custodians list`, and the answer of GET /api/v1/custodians.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "api/rekey_requests.h"
#include "base/clock.h"

namespace keyward::api {

struct CustodianRow {
  std::string id;           // "pkcs11:hsm1".
  bool configured = false;  // False: only keystores name it; it stands in no configuration.
  bool healthy = false;
  bool destroys = false;
  bool needs_passphrase = false;     // It waits for :unlock.
  std::string identity;              // Token serial, SRK name. Empty while it is not known.
  std::vector<std::string> domains;  // Which want it.
  std::uint64_t copies = 0;          // Keys that it holds a sealed copy of, over all domains.
  std::optional<UtcTime> since;      // When it became healthy or unhealthy.
  std::string error;                 // With the next step.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &CustodianRow::id, "Custodian");
    visit("configured", &CustodianRow::configured);
    visit("healthy", &CustodianRow::healthy, "Healthy");
    visit("destroys", &CustodianRow::destroys, "Destroys");
    visit("needs_passphrase", &CustodianRow::needs_passphrase);
    visit("identity", &CustodianRow::identity, "Identity");
    visit("domains", &CustodianRow::domains);
    visit("copies", &CustodianRow::copies, "Copies");
    visit("since", &CustodianRow::since);
    visit("error", &CustodianRow::error, "Error Info(if any)");
  }
};

// POST /api/v1/custodians
struct CustodianAdd {
  std::string id;
  std::vector<std::string> domains;  // Empty: all.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &CustodianAdd::id);
    visit("domains", &CustodianAdd::domains);
  }
};

// The answer of DELETE /api/v1/custodians/{id}.
struct RemovalResult {
  std::vector<DomainResult> items;  // Domains in which it was wanted or held a copy.
  std::vector<std::string> except;  // What can still open the keys of today, in words.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("items", &RemovalResult::items);
    visit("except", &RemovalResult::except);
  }
};

}  // namespace keyward::api
