// One row of `keyward keys list`: a master key of one domain. Nothing of it is secret.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "base/clock.h"

namespace keyward::api {

enum class MasterKeyState : std::uint8_t { announced, pending, current, retiring };

constexpr auto enum_names(MasterKeyState) {
  return std::to_array<EnumName<MasterKeyState>>({{MasterKeyState::announced, "announced"},
                                                  {MasterKeyState::pending, "pending"},
                                                  {MasterKeyState::current, "current"},
                                                  {MasterKeyState::retiring, "retiring"}});
}

struct KeyInfo {
  std::string id;
  std::string domain;
  MasterKeyState state = MasterKeyState::announced;
  std::optional<UtcTime> created;
  std::string check_value;  // The first 8 bytes of the key's commitment, 16 hexadecimal digits.
  std::vector<std::string> copies;   // Custodians that hold a proved copy.
  std::vector<std::string> holders;  // Custodians that may hold something for it.
  std::vector<std::string> except;   // While retiring: who cannot destroy it, or was lost.
  std::uint64_t encryptions_reserved = 0;

  template <typename Visitor>
  static void fields(Visitor& visit) {
    visit("id", &KeyInfo::id, "Key ID");
    visit("domain", &KeyInfo::domain, "Domain");
    visit("state", &KeyInfo::state, "State");
    visit("created", &KeyInfo::created, "Key Creation Date");
    visit("check_value", &KeyInfo::check_value, "Check Value");
    visit("copies", &KeyInfo::copies, "Copies");
    visit("holders", &KeyInfo::holders);
    visit("except", &KeyInfo::except);
    visit("encryptions_reserved", &KeyInfo::encryptions_reserved);
  }
};

}  // namespace keyward::api
