// How much a host may ask of the target. Together they bound its memory: a connection holds at most
// kQueueEntriesMax commands of one transfer each.
#pragma once

#include <chrono>
#include <cstdint>

namespace keyward::sed::nvme {

inline constexpr std::uint16_t kQueueEntriesMax = 32;  // CAP.MQES is one less.
inline constexpr std::uint16_t kIoQueuesMax = 8;       // Of a controller.
inline constexpr std::size_t kControllersMax = 32;     // Of all subsystems.
inline constexpr unsigned kConnectionsMax = 128;
inline constexpr std::uint8_t kAsyncEventsMax = 4;

// From accept to the end of the Connect command.
inline constexpr std::chrono::seconds kHandshakeLimit{10};
// From a PDU's first byte to its last one, and for a peer that takes no answer.
inline constexpr std::chrono::seconds kPduLimit{30};
// How long what a peer has sent is read and thrown away after a fatal error, so that the
// C2HTermReq reaches it and is not overtaken by a TCP reset.
inline constexpr std::chrono::seconds kDrainLimit{1};

}  // namespace keyward::sed::nvme
