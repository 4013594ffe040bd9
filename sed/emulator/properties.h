// What the TPer and the host can take: the Properties method (Core 5.2.2).
//
//   HostProperties host(options.family);
//   std::optional<std::vector<Value>> answer = properties_method(call.parameters, options, host);
#pragma once

#include <optional>
#include <vector>

#include "sed/emulator/options.h"
#include "sed/emulator/value.h"

namespace keyward::sed::emulator {

inline constexpr std::uint32_t kMaxSessionTimeoutMs = 600'000;

// What the host has told on one ComID; a reset of the TPer forgets it.
struct HostProperties {
  explicit HostProperties(Family family);

  std::uint32_t max_com_packet;
  std::uint32_t max_packet;
  std::uint32_t max_token;
};

// The parameters of the answer; none for INVALID_PARAMETER. Values under the minimum are raised to
// it, names that are not known are passed over (Core 5.2.2.1.1).
std::optional<std::vector<Value>> properties_method(const std::vector<Value>& parameters,
                                                    const EmulatedDriveOptions& options,
                                                    HostProperties& host);

}  // namespace keyward::sed::emulator
