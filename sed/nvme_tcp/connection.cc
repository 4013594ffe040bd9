#include "sed/nvme_tcp/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <stop_token>

#include "base/log.h"
#include "sed/nvme_tcp/limits.h"

namespace keyward::sed::nvme {
namespace {

using std::chrono::steady_clock;

bool is_connect(const Command& command) {
  return command.opcode == opcode::kFabrics && command.fabrics_type() == fabrics::kConnect;
}

}  // namespace

Connection::Connection(Descriptor socket, Target& target)
    : stream_(std::move(socket)),
      target_(target),
      handshake_end_(steady_clock::now() + kHandshakeLimit) {}

void Connection::serve() {
  if (greet()) {
    while (controller_ == nullptr)
      if (next_pdu() == Go::end) break;
  }
  if (controller_ == nullptr) return;
  {
    // With its admin queue, a controller's other queues end.
    const std::stop_callback end(controller_->ended(), [this] { stop(); });
    while (next_pdu() == Go::on) continue;
  }
  target_.disconnect(controller_, queue_id_);
}

// How long the peer may be silent. An admin queue has its keep-alive time, twice over as the
// specification allows, so that a slow machine under test is not taken for a dead one.
TcpStream::Limit Connection::idle_limit() const {
  if (controller_ == nullptr) {
    const auto left = handshake_end_ - steady_clock::now();
    return std::max(std::chrono::ceil<std::chrono::milliseconds>(left),
                    std::chrono::milliseconds{0});
  }
  const std::chrono::milliseconds keep_alive = controller_->keep_alive();
  if (queue_id_ != 0 || keep_alive.count() == 0) return std::nullopt;
  return 2 * keep_alive;
}

// True when pdu_ holds a whole PDU. Else `go` says how it went on.
bool Connection::read_pdu(CommonHeader& header, Go& go) {
  go = Go::end;
  pdu_.resize(kCommonHeaderBytes);
  const MutableByteView first = MutableByteView(pdu_).first(1);
  const TcpStream::End idle = stream_.read(first, idle_limit());
  if (idle == TcpStream::End::timed_out && controller_ != nullptr)
    log(LogLevel::warning, "nvme-tcp: controller {}: no keep-alive came in time",
        controller_->id());
  if (idle != TcpStream::End::none) return false;
  if (stream_.read(MutableByteView(pdu_).subspan(1), kPduLimit) != TcpStream::End::none)
    return false;
  const Parsed<CommonHeader> parsed = parse_header(pdu_);
  if (!parsed) {
    go = end_with(parsed.error(), pdu_);
    return false;
  }
  header = *parsed;
  pdu_.resize(header.plen);
  return stream_.read(MutableByteView(pdu_).subspan(kCommonHeaderBytes), kPduLimit) ==
         TcpStream::End::none;
}

Connection::Go Connection::end_with(FatalError error, ByteView pdu) {
  log(LogLevel::warning, "nvme-tcp: a host broke the protocol: status {}, field {}",
      static_cast<unsigned>(error.status), error.field);
  if (stream_.write(build_term_req(error, pdu)) == TcpStream::End::none) stream_.finish();
  return Go::end;
}

bool Connection::greet() {
  CommonHeader header{};
  Go go = Go::on;
  if (!read_pdu(header, go)) return false;
  if (header.type != PduType::ic_req) {
    end_with({FatalStatus::sequence_error}, pdu_);
    return false;
  }
  const Parsed<IcReq> request = parse_ic_req(header, pdu_);
  if (!request) {
    end_with(request.error(), pdu_);
    return false;
  }
  data_alignment_ = request->data_alignment;
  return stream_.write(build_ic_resp()) == TcpStream::End::none;
}

Connection::Go Connection::next_pdu() {
  CommonHeader header{};
  Go go = Go::on;
  if (!read_pdu(header, go)) return go;
  switch (header.type) {
    case PduType::command:
      return take_capsule(parse_capsule(header, pdu_));
    case PduType::h2c_data: {
      const Parsed<H2cData> part = parse_h2c_data(header, pdu_);
      return part ? take_data(*part, pdu_) : end_with(part.error(), pdu_);
    }
    case PduType::h2c_term_req:
      log(LogLevel::warning, "nvme-tcp: the host ended the connection with status {}",
          get_field(pdu_, 8, 2));
      return Go::end;
    default:
      return end_with({FatalStatus::sequence_error}, pdu_);
  }
}

bool Connection::is_known(std::uint16_t command_id) const {
  return transfers_.contains(command_id);
}

Status Connection::check(const Command& command, ByteView in_capsule) const {
  constexpr std::uint8_t kFlagsMask = 0xC3, kSglFlags = 0x40;
  if ((command.flags & kFlagsMask) != kSglFlags) return status::kInvalidField;
  if (is_known(command.id)) return status::kIdConflict;
  if (controller_ == nullptr && !is_connect(command)) return status::kSequence;
  const Direction direction = command.direction();
  // Not every command that could have data has some: Set Features, for one.
  const bool no_data = command.sgl_length == 0 && command.sgl_type != kSglInCapsule;
  if (direction == Direction::none || no_data)
    return in_capsule.empty() ? status::kSuccess : status::kInvalidField;
  if (command.sgl_type == kSglTransport) {
    if (!in_capsule.empty()) return status::kInvalidField;
    return command.sgl_length <= kTransferBytesMax ? status::kSuccess : status::kSglLength;
  }
  if (command.sgl_type != kSglInCapsule || direction == Direction::to_host) return status::kSglType;
  if (command.sgl_address > in_capsule.size()) return status::kSglOffset;
  return command.sgl_length <= in_capsule.size() - command.sgl_address ? status::kSuccess
                                                                       : status::kSglLength;
}

Connection::Go Connection::take_capsule(const CommandCapsule& capsule) {
  const Command& command = capsule.command;
  queue_head_ = static_cast<std::uint16_t>((queue_head_ + 1) % queue_entries_);
  const Status status = check(command, capsule.data);
  if (status != status::kSuccess) return answer(command, {.status = status});
  if (command.direction() != Direction::to_controller) return execute(command, {});
  if (command.sgl_length == 0) return execute(command, {});
  if (command.sgl_type == kSglTransport) return ask_for_data(command);
  return execute(command, capsule.data.subspan(static_cast<std::size_t>(command.sgl_address),
                                               command.sgl_length));
}

Connection::Go Connection::ask_for_data(const Command& command) {
  // More than its queue has entries.
  if (transfers_.size() >= queue_entries_) return end_with({FatalStatus::sequence_error}, pdu_);
  transfers_.emplace(command.id, Transfer{command, {}});
  const Bytes pdu = build_r2t(command.id, command.id, command.sgl_length);
  return stream_.write(pdu) == TcpStream::End::none ? Go::on : Go::end;
}

// Data come in order, and the last PDU is marked as that.
Connection::Go Connection::take_data(const H2cData& part, ByteView pdu) {
  constexpr std::uint32_t kCommandField = 8, kTagField = 10, kOffsetField = 12, kFlagsField = 1;
  const auto found = transfers_.find(part.command_id);
  if (found == transfers_.end())
    return end_with({FatalStatus::invalid_header_field, kCommandField}, pdu);
  if (part.tag != part.command_id)
    return end_with({FatalStatus::invalid_header_field, kTagField}, pdu);
  Transfer& transfer = found->second;
  const std::size_t missing = transfer.command.sgl_length - transfer.data.size();
  if (part.offset != transfer.data.size() || part.data.size() > missing)
    return end_with({FatalStatus::data_out_of_range, kOffsetField}, pdu);
  if (part.last != (part.data.size() == missing))
    return end_with({FatalStatus::invalid_header_field, kFlagsField}, pdu);
  transfer.data.insert(transfer.data.end(), part.data.begin(), part.data.end());
  if (!part.last) return Go::on;
  const Transfer whole = std::move(transfer);
  transfers_.erase(found);
  return execute(whole.command, whole.data);
}

Outcome Connection::connect(const Command& command, ByteView data) {
  if (controller_ != nullptr) return {.status = status::kSequence};
  const auto request = parse_connect(command, data);
  if (!request) return {.status = request.error().status, .result = request.error().result};
  auto controller = target_.connect(*request);
  if (!controller)
    return {.status = controller.error().status, .result = controller.error().result};
  controller_ = *std::move(controller);
  queue_id_ = request->queue_id;
  queue_entries_ = request->queue_entries;
  queue_head_ %= queue_entries_;
  return {.result = controller_->id()};
}

Connection::Go Connection::execute(const Command& command, ByteView data) {
  if (is_connect(command)) return answer(command, connect(command, data));
  if (controller_ == nullptr) return answer(command, {.status = status::kSequence});
  return answer(command, controller_->execute(command, data, queue_id_));
}

Connection::Go Connection::answer(const Command& command, const Outcome& outcome) {
  if (outcome.held) return Go::on;
  if (!outcome.data.empty() &&
      stream_.write(build_c2h_data(command.id, outcome.data, data_alignment_)) !=
          TcpStream::End::none)
    return Go::end;
  const Bytes response = build_response({.command_id = command.id,
                                         .status = outcome.status,
                                         .result = outcome.result,
                                         .queue_id = queue_id_,
                                         .queue_head = queue_head_});
  return stream_.write(response) == TcpStream::End::none ? Go::on : Go::end;
}

}  // namespace keyward::sed::nvme
