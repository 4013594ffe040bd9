// Proves an authority by its PIN: Core 5.3.4.1.3 (Authenticate) and 5.1.5.12 (lock-out).
#pragma once

#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

enum class Proof : std::uint8_t {
  accepted,
  refused,     // Wrong PIN, disabled, blocked. A wrong PIN has cost a try.
  locked_out,  // No tries are left; the PIN was not looked at.
  invalid,     // No such authority, or a class.
  power_lost,
};

Proof prove(Surroundings& drive, Session& session, Uid authority, ByteView pin);

}  // namespace keyward::sed::emulator
