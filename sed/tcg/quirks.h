// Quirks are what drives in the field do against the specification. One table (quirks.cc) names the
// models and firmwares, and where each was reported.
//
//   const Quirks quirks = quirks_of(transport.identity());
//   if (quirks.no_stack_reset) …
//
// Values; pure.
#pragma once

#include <string>
#include <vector>

#include "sed/transport/security_transport.h"

namespace keyward::sed::tcg {

struct Quirks {
  bool no_stack_reset = false;   // It stops answering after STACK_RESET until a power cycle.
  bool no_authenticate = false;  // The PIN must ride in StartSession.
  bool short_properties =
      false;  // Its Properties repeat none of ours: it answers in small packets.
  bool shadow_mbr_stays = false;     // MBRControl.Enable cannot be set back.
  std::vector<std::string> notes{};  // For people: each quirk in force, with its report.
};

Quirks quirks_of(const DriveIdentity& identity);

}  // namespace keyward::sed::tcg
