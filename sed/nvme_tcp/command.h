// Submission and completion queue entries, and the statuses that this target gives: NVM Express
// Base Specification 1.4, 4.2 and 4.6; NVMe over Fabrics 1.1, 3.
//
//   const Command command = parse_command(capsule.first(64));
//   if (command.opcode == opcode::kSecurityReceive) …
//
// Value types, no state.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>

#include "base/bytes.h"

namespace keyward::sed::nvme {

// Little-endian fields of 1 to 8 bytes.
std::uint64_t get_field(ByteView bytes, std::size_t at, std::size_t size);
void put_field(MutableByteView bytes, std::size_t at, std::uint64_t value, std::size_t size);

namespace opcode {
inline constexpr std::uint8_t kFabrics = 0x7F;
// Admin.
inline constexpr std::uint8_t kGetLogPage = 0x02, kIdentify = 0x06, kAbort = 0x08,
                              kSetFeatures = 0x09, kGetFeatures = 0x0A, kAsyncEvent = 0x0C,
                              kKeepAlive = 0x18, kSecuritySend = 0x81, kSecurityReceive = 0x82;
// I/O.
inline constexpr std::uint8_t kFlush = 0x00, kWrite = 0x01, kRead = 0x02;
}  // namespace opcode

namespace fabrics {
inline constexpr std::uint8_t kPropertySet = 0x00, kConnect = 0x01, kPropertyGet = 0x04;
}  // namespace fabrics

inline constexpr std::size_t kCommandBytes = 64;
inline constexpr std::size_t kConnectDataBytes = 1024;

// The two descriptors that NVMe/TCP has: data in the capsule, and data that the transport moves.
inline constexpr std::uint8_t kSglInCapsule = 0x01, kSglTransport = 0x5A;

enum class Direction : std::uint8_t { none, to_controller, to_host };

struct Command {
  std::uint8_t opcode = 0;
  std::uint8_t flags = 0;  // Fused operation, and how `dptr` is to be read.
  std::uint16_t id = 0;
  std::uint32_t nsid = 0;
  std::uint64_t sgl_address = 0;
  std::uint32_t sgl_length = 0;
  std::uint8_t sgl_type = 0;
  std::array<std::uint32_t, 6> words{};  // Command dwords 10 to 15.

  std::uint32_t cdw(unsigned number) const { return words[number - 10]; }
  std::uint8_t fabrics_type() const { return static_cast<std::uint8_t>(nsid); }
  Direction direction() const;
};
// Of 64 bytes; any are a command.
Command parse_command(ByteView entry);

// Status code type and status code.
struct Status {
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  bool operator==(const Status&) const = default;
};
namespace status {
inline constexpr Status kSuccess{0, 0x00}, kInvalidOpcode{0, 0x01}, kInvalidField{0, 0x02},
    kIdConflict{0, 0x03}, kInternal{0, 0x06}, kInvalidNamespace{0, 0x0B}, kSequence{0, 0x0C},
    kSglLength{0, 0x0F}, kSglType{0, 0x11}, kSglOffset{0, 0x16}, kEventLimit{1, 0x05},
    kInvalidLogPage{1, 0x09}, kNotSaveable{1, 0x0D}, kConnectFormat{1, 0x80},
    kControllerBusy{1, 0x81}, kConnectInvalid{1, 0x82};
}  // namespace status

struct Completion {
  std::uint16_t command_id = 0;
  Status status{};
  std::uint64_t result = 0;
  std::uint16_t queue_id = 0;
  std::uint16_t queue_head = 0;
};

// What a command came to. `data` goes to the host before the completion.
struct Outcome {
  Status status{};
  std::uint64_t result = 0;
  Bytes data{};
  bool held = false;  // No completion now: an Asynchronous Event Request that waits for its event.
};

struct ConnectRequest {
  std::uint16_t queue_id = 0;
  std::uint16_t queue_entries = 0;
  std::uint32_t keep_alive_ms = 0;  // 0: none.
  std::uint16_t controller_id = 0;  // FFFFh: any, of the admin queue.
  std::array<std::byte, 16> host_id{};
  std::string subsystem{};
  std::string host{};
};
// What a refused Connect answers: the status and, in the result, where the fault lies.
struct ConnectRefusal {
  Status status{};
  std::uint64_t result = 0;
};
// The offsets that a refusal names, in the command or in its data.
ConnectRefusal bad_connect_command(std::uint16_t offset);
ConnectRefusal bad_connect_data(std::uint16_t offset);
std::expected<ConnectRequest, ConnectRefusal> parse_connect(const Command& command, ByteView data);

}  // namespace keyward::sed::nvme
