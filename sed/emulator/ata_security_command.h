// The ATA Security feature set's commands (ACS-3, 7.36 to 7.41).
#pragma once

#include <cstdint>

namespace keyward::sed {

enum class AtaSecurityCommand : std::uint8_t {
  set_password = 0xF1,
  unlock = 0xF2,
  erase_prepare = 0xF3,
  erase_unit = 0xF4,
  freeze_lock = 0xF5,
  disable_password = 0xF6,
};

}  // namespace keyward::sed
