#include "sed/emulator/properties.h"

#include <algorithm>
#include <limits>

#include "sed/emulator/arguments.h"
#include "sed/emulator/packet.h"

namespace keyward::sed::emulator {
namespace {

// Core's initial assumptions (table 168), which Opal raises (Opal 4.1.1.1).
std::uint32_t com_packet_min(Family family) { return family == Family::enterprise ? 1024 : 2048; }

std::uint32_t packet_of(std::uint32_t com_packet) {
  return com_packet - static_cast<std::uint32_t>(kComPacketHeaderBytes);
}
std::uint32_t token_of(std::uint32_t com_packet) {
  return com_packet - static_cast<std::uint32_t>(kEnvelopeBytes);
}

struct Property {
  std::string_view name;
  std::uint64_t value;
};

Value property_list(std::initializer_list<Property> properties) {
  Value all = list({});
  for (const Property& property : properties)
    all.items.push_back(named(text(property.name), number(property.value)));
  return all;
}

Value tper_properties(const EmulatedDriveOptions& options) {
  return property_list({{"MaxMethods", 1},
                        {"MaxSubpackets", 1},
                        {"MaxPacketSize", packet_of(options.max_com_packet)},
                        {"MaxPackets", 1},
                        {"MaxComPacketSize", options.max_com_packet},
                        {"MaxResponseComPacketSize", options.max_com_packet},
                        {"MaxSessions", options.max_sessions},
                        {"MaxIndTokenSize", token_of(options.max_com_packet)},
                        {"MaxAggTokenSize", token_of(options.max_com_packet)},
                        {"MaxAuthentications", options.max_authentications},
                        {"MaxTransactionLimit", 1},
                        {"DefSessionTimeout", 0},
                        {"MaxSessionTimeout", kMaxSessionTimeoutMs},
                        {"MinSessionTimeout", 0},
                        {"MaxComIDTime", 0},
                        {"ContinuedTokens", 0},
                        {"SequenceNumbers", 0},
                        {"AckNak", 0},
                        {"Asynchronous", 0}});
}

Value host_properties(const HostProperties& host) {
  return property_list({{"MaxMethods", 1},
                        {"MaxSubpackets", 1},
                        {"MaxPacketSize", host.max_packet},
                        {"MaxPackets", 1},
                        {"MaxComPacketSize", host.max_com_packet},
                        {"MaxIndTokenSize", host.max_token},
                        {"MaxAggTokenSize", host.max_token}});
}

bool take_host_properties(const Value& submitted, Family family, HostProperties& host) {
  if (!submitted.is_list()) return false;
  HostProperties taken = host;
  const std::uint32_t least = com_packet_min(family);
  const auto raised = [](const Value& value, std::uint32_t minimum) {
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        value.number, minimum, std::numeric_limits<std::uint32_t>::max()));
  };
  for (const Value& property : submitted.items) {
    if (!property.is_named() || !property.name().is_bytes() || !property.value().is_number())
      return false;
    const Value& name = property.name();
    if (name.is_text("MaxComPacketSize"))
      taken.max_com_packet = raised(property.value(), least);
    else if (name.is_text("MaxPacketSize"))
      taken.max_packet = raised(property.value(), packet_of(least));
    else if (name.is_text("MaxIndTokenSize"))
      taken.max_token = raised(property.value(), token_of(least));
  }
  host = taken;
  return true;
}

}  // namespace

HostProperties::HostProperties(Family family)
    : max_com_packet(com_packet_min(family)),
      max_packet(packet_of(max_com_packet)),
      max_token(token_of(max_com_packet)) {}

std::optional<std::vector<Value>> properties_method(const std::vector<Value>& parameters,
                                                    const EmulatedDriveOptions& options,
                                                    HostProperties& host) {
  static constexpr std::string_view kNames[] = {"HostProperties"};
  const auto arguments = Arguments::parse(parameters, 0, options.family, kNames);
  if (!arguments) return std::nullopt;
  std::vector<Value> answer = {tper_properties(options)};
  const Value* submitted = arguments->optional(0);
  if (submitted == nullptr) return answer;
  if (!take_host_properties(*submitted, options.family, host)) return std::nullopt;
  Value name = options.family == Family::enterprise ? text(kNames[0]) : number(0);
  answer.push_back(named(std::move(name), host_properties(host)));
  return answer;
}

}  // namespace keyward::sed::emulator
