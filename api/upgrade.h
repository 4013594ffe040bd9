// `keyward upgrade`: whether stores are of an older format, which commit migrates for good.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/fields.h"

namespace keyward::api {

struct UpgradeState {
  std::uint64_t format_current = 0;            // What this program writes.
  std::vector<std::string> stores_to_upgrade;  // "control", "S3". Empty: nothing to commit.

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("format_current", &UpgradeState::format_current);
    visit("stores_to_upgrade", &UpgradeState::stores_to_upgrade);
  }
};

}  // namespace keyward::api
