// One row of `keyward sed status`, and the answer of GET /api/v1/sed/status.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

struct SedStatus {
  std::uint64_t node = 1;  // The node's number; without a cluster there is one node.
  std::string status;      // A DomainState, or OFFLINE: the node keeps no PINs of drives.
  std::string location;    // "Local", or "Server": a KMIP server has the master key.
  std::string remote_key;  // Its id there.
  std::optional<UtcTime> key_created;
  std::string error;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("node", &SedStatus::node, "Node");
    visit("status", &SedStatus::status, "Status");
    visit("location", &SedStatus::location, "Location");
    visit("remote_key", &SedStatus::remote_key, "Remote Key ID");
    visit("key_created", &SedStatus::key_created, "Key Creation Date");
    visit("error", &SedStatus::error, "Error Info(if any)");
  }
};

}  // namespace keyward::api
