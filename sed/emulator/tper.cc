#include "sed/emulator/tper.h"

#include <algorithm>

#include "sed/emulator/discovery.h"
#include "sed/emulator/ranges.h"

namespace keyward::sed::emulator {
namespace {

// Protocol 01h and 02h's special values of the protocol-specific field.
constexpr std::uint16_t kDiscovery = 0x0001;
constexpr std::uint16_t kGetComId = 0x0000;
constexpr std::uint16_t kTPerReset = 0x0004;
constexpr std::uint16_t kBlockSid = 0x0005;

// Core 3.3.4.3.
constexpr std::uint32_t kVerifyComIdValid = 1;
constexpr std::uint32_t kStackReset = 2;
enum class ComIdState : std::uint32_t { invalid = 0, inactive = 1, issued = 2, associated = 3 };

constexpr std::size_t kBlockBytes = 512;

std::size_t whole_blocks(std::size_t size) {
  return (size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

}  // namespace

Tper::Tper(Surroundings drive, Clock& clock) : drive_(drive), sessions_(drive_, clock) {
  const ComIdSpan span = com_ids_of(drive_.options.family);
  for (std::uint16_t n = 0; n < span.count; ++n) {
    const auto number = static_cast<std::uint16_t>(span.first + n);
    com_ids_.emplace(number, ComId(number, drive_.options.family));
  }
}

ComId* Tper::find(std::uint16_t number) {
  const auto found = com_ids_.find(number);
  return found == com_ids_.end() ? nullptr : &found->second;
}

BusStatus Tper::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  power_lost_ = false;
  if (protocol == Protocol::com_id) return send_management(specific, payload);
  if (protocol == Protocol::tcg) return send_tcg(specific, payload);
  return BusStatus::unsupported_protocol;
}

BusStatus Tper::send_tcg(std::uint16_t specific, ByteView payload) {
  ComId* com_id = find(specific);
  return com_id == nullptr ? BusStatus::invalid_com_id : send_com_packet(*com_id, payload);
}

BusStatus Tper::send_com_packet(ComId& com_id, ByteView payload) {
  if (payload.size() < kComPacketHeaderBytes ||
      payload.size() > whole_blocks(drive_.options.max_com_packet))
    return BusStatus::invalid_length;
  if (com_id.awaits_fetch()) return BusStatus::out_of_sequence;
  if (silent_) return BusStatus::good;
  const std::uint32_t limit = drive_.options.max_com_packet;
  const ParsedComPacket parsed = parse_com_packet(
      payload, com_id.number(), limit, limit - static_cast<std::uint32_t>(kComPacketHeaderBytes));
  const HostProperties& host = com_id.host();
  drive_.response_bytes_max = std::min(
      {host.max_com_packet - static_cast<std::uint32_t>(kEnvelopeBytes),
       host.max_packet - static_cast<std::uint32_t>(kPacketHeaderBytes + kSubPacketHeaderBytes),
       limit - static_cast<std::uint32_t>(kEnvelopeBytes)});
  const SessionManager::Answer answer = sessions_.handle(com_id, parsed);
  power_lost_ = answer.power_lost;
  if (!answer.packet) return BusStatus::good;
  if (drive_.faults.dropped_replies > 0) {
    --drive_.faults.dropped_replies;
    return BusStatus::good;
  }
  com_id.put_answer(build_com_packet(com_id.number(), *answer.packet),
                    drive_.faults.outstanding_polls);
  return BusStatus::good;
}

BusStatus Tper::send_management(std::uint16_t specific, ByteView payload) {
  if (specific == kTPerReset) return programmatic_reset();
  if (specific == kBlockSid) return block_sid(payload);
  if (specific == kGetComId) return BusStatus::invalid_com_id;
  if (payload.size() < 8) return BusStatus::invalid_length;
  management_answers_[specific] = answer_management(specific, payload);
  return BusStatus::good;
}

// Opal 3.2.3: only where the SID has switched it on.
BusStatus Tper::programmatic_reset() {
  if (drive_.options.family == Family::enterprise ||
      drive_.state.admin.number_at(uid::kTPerInfo, column::kResetEnable) == 0)
    return BusStatus::invalid_com_id;
  reset(Reset::programmatic);
  return BusStatus::good;
}

BusStatus Tper::block_sid(ByteView payload) {
  if (drive_.options.family == Family::enterprise) return BusStatus::invalid_com_id;
  if (payload.empty()) return BusStatus::invalid_length;
  drive_.power.sid_blocked = true;
  drive_.power.unblocked_by_hardware_reset = (payload[0] & std::byte{1}) != std::byte{0};
  return BusStatus::good;
}

// The answer repeats ComID, extension and request, then has the length of what is available.
Bytes Tper::answer_management(std::uint16_t com_id, ByteView payload) {
  const auto request = static_cast<std::uint32_t>(read_field(payload, 4, 4));
  const bool same = read_field(payload, 0, 2) == com_id && read_field(payload, 2, 2) == 0;
  Bytes answer(payload.begin(), payload.begin() + 8);
  append_field(0, 2, answer);
  if (same && request == kVerifyComIdValid) {
    ComIdState state = ComIdState::invalid;
    if (find(com_id) != nullptr)
      state = sessions_.has_session(com_id) ? ComIdState::associated : ComIdState::issued;
    append_field(0x22, 2, answer);
    append_field(static_cast<std::uint32_t>(state), 4, answer);
    append_field(0, 30, answer);  // Times of allocation, expiry and now: not kept.
    return answer;
  }
  if (same && request == kStackReset) {
    append_field(4, 2, answer);
    append_field(reset_stack(com_id) ? 0 : 1, 4, answer);
    return answer;
  }
  answer.clear();  // No such request: nothing is available.
  append_field(com_id, 2, answer);
  append_field(0, 10, answer);
  return answer;
}

bool Tper::reset_stack(std::uint16_t com_id) {
  ComId* found = find(com_id);
  if (found == nullptr) return false;
  sessions_.end_sessions_of(com_id);
  found->reset();
  if (drive_.faults.silent_after_stack_reset) silent_ = true;
  return true;
}

BusStatus Tper::receive(Protocol protocol, std::uint16_t specific, MutableByteView buffer) {
  power_lost_ = false;
  if (protocol == Protocol::information) return receive_information(specific, buffer);
  if (protocol == Protocol::tcg) {
    if (specific == kDiscovery) {
      fill_padded(level0_discovery(drive_.options, drive_.state, drive_.power), buffer);
      return BusStatus::good;
    }
    ComId* com_id = find(specific);
    return com_id == nullptr ? BusStatus::invalid_com_id : com_id->fetch(buffer);
  }
  if (protocol != Protocol::com_id) return BusStatus::unsupported_protocol;
  // GET_COMID: all ComIDs are static, so there is none to give (Core 3.3.4.3.1).
  Bytes answer(4);
  if (specific != kGetComId) {
    const auto found = management_answers_.find(specific);
    if (found != management_answers_.end()) answer = found->second;
    management_answers_.erase(specific);
  }
  fill_padded(answer, buffer);
  return BusStatus::good;
}

BusStatus Tper::receive_information(std::uint16_t specific, MutableByteView buffer) const {
  Bytes answer;
  if (specific == 0x0000) {
    const bool ata = drive_.options.bus == Bus::sata;
    append_field(0, 6, answer);
    append_field(ata ? 4 : 3, 2, answer);
    for (const unsigned protocol : {0x00u, 0x01u, 0x02u}) append_field(protocol, 1, answer);
    if (ata) append_field(0xEF, 1, answer);
  } else if (specific == 0x0001) {
    append_field(0, 4, answer);  // No certificate.
  } else {
    return BusStatus::invalid_com_id;
  }
  fill_padded(answer, buffer);
  return BusStatus::good;
}

void Tper::reset(Reset reset) {
  sessions_.end_all();
  for (auto& [number, com_id] : com_ids_) com_id.reset();
  management_answers_.clear();
  silent_ = false;
  const bool unblocks = reset == Reset::power_cycle ||
                        (reset == Reset::hardware && drive_.power.unblocked_by_hardware_reset);
  if (unblocks) drive_.power = {};
  apply_reset(drive_.state, drive_.options, reset);
  drive_.dirty = true;
}

}  // namespace keyward::sed::emulator
