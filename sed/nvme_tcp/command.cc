#include "sed/nvme_tcp/command.h"

#include <algorithm>

#include "sed/nvme_tcp/limits.h"

namespace keyward::sed::nvme {
namespace {

constexpr std::size_t kNqnField = 256, kNqnBytesMax = 223;
constexpr std::uint16_t kSubsystemAt = 256, kHostAt = 512;

// A qualified name that ends in a zero inside its field, or nothing.
std::string parse_nqn(ByteView data, std::size_t at) {
  const ByteView field = data.subspan(at, kNqnField);
  const auto end = std::ranges::find(field, std::byte{0});
  const auto size = static_cast<std::size_t>(end - field.begin());
  if (size > kNqnBytesMax) return {};
  return {reinterpret_cast<const char*>(field.data()), size};
}

}  // namespace

std::uint64_t get_field(ByteView bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t n = size; n-- > 0;)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + n]);
  return value;
}

void put_field(MutableByteView bytes, std::size_t at, std::uint64_t value, std::size_t size) {
  for (std::size_t n = 0; n < size; ++n) bytes[at + n] = static_cast<std::byte>(value >> (8 * n));
}

Direction Command::direction() const {
  const unsigned bits = (opcode == opcode::kFabrics ? fabrics_type() : opcode) & 3u;
  if (bits == 1) return Direction::to_controller;
  return bits == 2 ? Direction::to_host : Direction::none;
}

Command parse_command(ByteView entry) {
  Command command{
      .opcode = static_cast<std::uint8_t>(get_field(entry, 0, 1)),
      .flags = static_cast<std::uint8_t>(get_field(entry, 1, 1)),
      .id = static_cast<std::uint16_t>(get_field(entry, 2, 2)),
      .nsid = static_cast<std::uint32_t>(get_field(entry, 4, 4)),
      .sgl_address = get_field(entry, 24, 8),
      .sgl_length = static_cast<std::uint32_t>(get_field(entry, 32, 4)),
      .sgl_type = static_cast<std::uint8_t>(get_field(entry, 39, 1)),
  };
  for (std::size_t n = 0; n < command.words.size(); ++n)
    command.words[n] = static_cast<std::uint32_t>(get_field(entry, 40 + 4 * n, 4));
  return command;
}

ConnectRefusal bad_connect_command(std::uint16_t offset) {
  return {status::kConnectInvalid, offset};
}

ConnectRefusal bad_connect_data(std::uint16_t offset) {
  constexpr std::uint64_t kInData = 1u << 16;
  return {status::kConnectInvalid, kInData | offset};
}

std::expected<ConnectRequest, ConnectRefusal> parse_connect(const Command& command, ByteView data) {
  if ((command.cdw(10) & 0xFFFF) != 0)
    return std::unexpected(ConnectRefusal{status::kConnectFormat, 0});
  if (data.size() != kConnectDataBytes)
    return std::unexpected(ConnectRefusal{status::kSglLength, 0});
  const std::uint32_t last_entry = command.cdw(11) & 0xFFFF;
  if (last_entry == 0 || last_entry >= kQueueEntriesMax)
    return std::unexpected(bad_connect_command(44));
  ConnectRequest request{
      .queue_id = static_cast<std::uint16_t>(command.cdw(10) >> 16),
      .queue_entries = static_cast<std::uint16_t>(last_entry + 1),
      .keep_alive_ms = command.cdw(12),
      .controller_id = static_cast<std::uint16_t>(get_field(data, 16, 2)),
      .subsystem = parse_nqn(data, kSubsystemAt),
      .host = parse_nqn(data, kHostAt),
  };
  std::ranges::copy(data.first(request.host_id.size()), request.host_id.begin());
  if (request.subsystem.empty()) return std::unexpected(bad_connect_data(kSubsystemAt));
  if (request.host.empty()) return std::unexpected(bad_connect_data(kHostAt));
  return request;
}

}  // namespace keyward::sed::nvme
