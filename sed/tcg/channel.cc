#include "sed/tcg/channel.h"

#include <fmt/format.h>

#include <algorithm>

#include "sed/tcg/byte_reader.h"

namespace keyward::sed::tcg {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstPause{1};
constexpr milliseconds kLongestPause{25};

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kFirstBufferBytes = 2048;
// A drive may answer with more than we said that we take, within reason.
constexpr std::size_t kBufferBytesMax = 1u << 20;

// Protocol 02h's values of the protocol-specific field, and requests (Core 3.3.4, Opal 3.2.3, Block
// SID 1.00).
constexpr std::uint16_t kGetComId = 0x0000;
constexpr std::uint16_t kTPerReset = 0x0004;
constexpr std::uint16_t kBlockSid = 0x0005;
constexpr std::uint32_t kStackReset = 2;
constexpr std::size_t kManagementHeaderBytes = 12;

std::size_t whole_blocks(std::size_t size) {
  return (size + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

// Those with which a transport says that the drive did not take the command.
bool was_not_taken(ErrorCode code) {
  return code == ErrorCode::busy || code == ErrorCode::conflict || code == ErrorCode::unsupported ||
         code == ErrorCode::invalid_argument || code == ErrorCode::not_permitted;
}

// A ComID of our own, where discovery names none: ComID, extension.
Result<ComId> ask_for_com_id(SecurityTransport& transport) {
  Bytes buffer(kBlockBytes);
  const std::size_t size =
      TRY(transport.receive(Protocol::com_id, kGetComId, MutableByteView(buffer)));
  ByteReader reader(ByteView(buffer).first(std::min(size, buffer.size())));
  const ComId com_id{reader.u16(), reader.u16()};
  if (reader.ran_out() || com_id.number == 0)
    return fail(ErrorCode::unsupported, "the drive names no ComID, and gives none");
  return com_id;
}

}  // namespace

// When to ask again: after 1, 2, 4 … 25 ms, until it has taken too long.
class Channel::Poll final {
 public:
  Poll(Clock& clock, const ChannelOptions& options)
      : clock_(clock), options_(options), start_(clock.monotonic()), last_promise_(start_) {}

  // False when time is up. `promised`: the drive says that the answer is coming.
  bool again(bool promised) {
    const MonotonicTime now = clock_.monotonic();
    if (promised) last_promise_ = now;
    const MonotonicTime end =
        promised ? start_ + options_.answer_within : last_promise_ + options_.quiet_within;
    if (now >= end) return false;
    clock_.sleep_until({}, std::min(now + pause_, end));
    pause_ = std::min(2 * pause_, kLongestPause);
    return true;
  }

 private:
  Clock& clock_;
  const ChannelOptions& options_;
  MonotonicTime start_;
  MonotonicTime last_promise_;
  milliseconds pause_ = kFirstPause;
};

Channel::Channel(SecurityTransport& transport, Clock& clock, ComId com_id, Dialect dialect,
                 ChannelOptions options)
    : transport_(&transport),
      clock_(&clock),
      com_id_(com_id),
      dialect_(dialect),
      options_(std::move(options)),
      properties_(options_.known.value_or(least_properties(dialect))),
      known_(options_.known.has_value()) {
  forget_what_was_told();
}

Result<Channel> Channel::open(SecurityTransport& transport, Clock& clock,
                              const Discovery& discovery, ChannelOptions options) {
  const SscFeature* ssc = discovery.ssc();
  if (ssc == nullptr)
    return fail(ErrorCode::unsupported, "the drive has no TCG subsystem class that we know");
  if (discovery.tper && !discovery.tper->synchronous)
    return fail(ErrorCode::unsupported, "the drive does not speak TCG's synchronous protocol");
  ComId com_id{ssc->base_com_id, 0};
  if (com_id.number == 0) com_id = TRY(ask_for_com_id(transport));
  const Dialect dialect = ssc->ssc == Ssc::enterprise ? Dialect::enterprise : Dialect::opal;
  return Channel(transport, clock, com_id, dialect, std::move(options));
}

void Channel::forget_what_was_told() {
  told_ = false;
  host_com_packet_max_ = least_properties(dialect_).com_packet_bytes_max;
}

std::unexpected<Error> Channel::hang(Error error) {
  hangs_ = true;
  return std::unexpected(std::move(error));
}

std::size_t Channel::request_bytes_max() const {
  const std::size_t packet =
      std::min(properties_.com_packet_bytes_max, kComPacketBytesMax) - kComPacketHeaderBytes;
  const std::size_t tokens = std::min<std::size_t>(packet, properties_.packet_bytes_max) -
                             kPacketHeaderBytes - kSubPacketHeaderBytes;
  return std::min<std::size_t>(tokens, properties_.token_bytes_max) - kCallBytesMax;
}

std::size_t Channel::answer_bytes_max() const {
  return host_com_packet_max_ - kEnvelopeBytes - kCallBytesMax;
}

Result<void> Channel::negotiate() {
  if (told_) return {};
  TokenWriter request;
  write_properties_call(dialect_, request);
  const Packet answer = TRY(exchange({}, request));
  told_ = true;
  if (const auto told = parse_properties(dialect_, answer.tokens)) {
    properties_ = told->tper;
    host_com_packet_max_ = told->host_com_packet_bytes_max;
  }
  known_ = true;
  return {};
}

Result<Packet> Channel::exchange(const SessionNumbers& session, const TokenWriter& request,
                                 std::size_t answer_bytes) {
  if (hangs_) TRY(clear());
  const std::size_t tokens = (request.size() + 3) / 4 * 4;
  if (kEnvelopeBytes + tokens > properties_.com_packet_bytes_max)
    return fail(ErrorCode::invalid_argument,
                fmt::format("the drive takes ComPackets of {} bytes, and this one has {}",
                            properties_.com_packet_bytes_max, kEnvelopeBytes + tokens));
  const std::size_t size = com_packet_bytes(request.size());
  if (request.holds_secret()) {
    SecretBytes packet = TRY(SecretBytes::allocate(size));
    write_com_packet(com_id_, session, request, packet.reveal_mutable());
    TRY(deliver(session, packet.reveal()));
  } else {
    Bytes packet(size);
    write_com_packet(com_id_, session, request, packet);
    TRY(deliver(session, packet));
  }
  return fetch(session, answer_bytes);
}

// `conflict` is an answer that nobody has fetched. On the control session it can only be an earlier
// process's: it is cleared away, and the request, which was not taken, sent once more.
Result<void> Channel::deliver(const SessionNumbers& session, ByteView com_packet) {
  bool cleared = false;
  Poll poll(*clock_, options_);
  for (;;) {
    Result<void> sent = transport_->send(Protocol::tcg, com_id_.number, com_packet);
    if (sent) return sent;
    const ErrorCode code = sent.error().code;
    if (code == ErrorCode::busy && poll.again(false)) continue;
    if (code == ErrorCode::conflict && session == SessionNumbers{} && !cleared) {
      cleared = true;
      TRY(clear());
      continue;
    }
    if (code == ErrorCode::conflict || !was_not_taken(code)) return hang(std::move(sent).error());
    return sent;
  }
}

Result<ComPacket> Channel::receive(Bytes& buffer) {
  const std::size_t size =
      TRY(transport_->receive(Protocol::tcg, com_id_.number, MutableByteView(buffer)));
  ComPacket got = TRY(parse_com_packet(ByteView(buffer).first(std::min(size, buffer.size()))));
  if (got.com_id.number != com_id_.number)
    return fail(ErrorCode::protocol, fmt::format("the drive answers for ComID {:04X}h, not {:04X}h",
                                                 got.com_id.number, com_id_.number));
  return got;
}

namespace {

// True when the drive wants a larger buffer, which it now has.
Result<bool> grow(const ComPacket& got, Bytes& buffer) {
  if (got.outstanding == 0 || got.min_transfer <= buffer.size()) return false;
  if (got.min_transfer > kBufferBytesMax)
    return fail(ErrorCode::protocol,
                fmt::format("the drive wants to answer with {} bytes", got.min_transfer));
  buffer.assign(whole_blocks(got.min_transfer), std::byte{0});
  return true;
}

// Appends what is for this session. A word of the control session, in the middle of another one, is
// that the drive has ended it. Packets of sessions that nobody knows are passed over.
void collect(ComPacket& got, Packet& answer, bool& some) {
  for (Packet& packet : got.packets) {
    if (packet.tokens.empty()) continue;
    if (packet.session == answer.session) {
      answer.tokens.insert(answer.tokens.end(), packet.tokens.begin(), packet.tokens.end());
      some = true;
    } else if (packet.session == SessionNumbers{} && !some) {
      answer = std::move(packet);
      some = true;
    }
  }
}

}  // namespace

Result<Packet> Channel::fetch(const SessionNumbers& session, std::size_t answer_bytes) {
  Bytes buffer(std::max(kFirstBufferBytes, com_packet_bytes(answer_bytes)));
  Poll poll(*clock_, options_);
  Packet answer{session, {}};
  bool some = false;
  for (;;) {
    Result<ComPacket> got = receive(buffer);
    if (!got) {
      if (got.error().code == ErrorCode::busy && poll.again(false)) continue;
      return hang(std::move(got).error());
    }
    collect(*got, answer, some);
    if (some && got->outstanding == 0) return answer;
    Result<bool> grown = grow(*got, buffer);
    if (!grown) return hang(std::move(grown).error());
    if (*grown || poll.again(got->outstanding > 0)) continue;
    if (some) return answer;
    return hang({ErrorCode::timeout,
                 got->outstanding > 0
                     ? "the drive has promised an answer and not given it in time"
                     : "the drive took the command and gives no answer; it may have taken effect"});
  }
}

// Makes the ComID ready for a new request. Its sessions are over.
Result<void> Channel::clear() {
  hangs_ = false;
  Result<void> cleared = reset_stack();
  if (!cleared && cleared.error().code == ErrorCode::unsupported) cleared = drain();
  if (!cleared) hangs_ = true;
  return cleared;
}

Result<void> Channel::drain() {
  Bytes buffer(kFirstBufferBytes);
  Poll poll(*clock_, options_);
  for (;;) {
    const ComPacket got = TRY(receive(buffer));
    if (got.packets.empty() && got.outstanding == 0) return {};
    if (TRY(grow(got, buffer))) continue;
    if (!poll.again(got.outstanding > 0))
      return fail(ErrorCode::timeout, "the drive does not finish an answer that nobody awaits");
  }
}

Result<void> Channel::send(Protocol protocol, std::uint16_t specific, ByteView payload) {
  Poll poll(*clock_, options_);
  for (;;) {
    Result<void> sent = transport_->send(protocol, specific, payload);
    if (sent || sent.error().code != ErrorCode::busy || !poll.again(false)) return sent;
  }
}

// Core 3.3.4.3.2: ComID, extension and request come back, then the length of what is available; 0
// while it is not done.
Result<void> Channel::reset_stack() {
  if (options_.quirks.no_stack_reset)
    return fail(ErrorCode::unsupported, "this model does not survive a STACK_RESET");
  Bytes request;
  append_big_endian(com_id_.number, 2, request);
  append_big_endian(com_id_.extension, 2, request);
  append_big_endian(kStackReset, 4, request);
  request.resize(kBlockBytes);
  Result<void> sent = send(Protocol::com_id, com_id_.number, request);
  if (!sent) {
    if (was_not_taken(sent.error().code) && sent.error().code != ErrorCode::busy)
      return fail(ErrorCode::unsupported, "the drive does not take STACK_RESET");
    return sent;
  }
  forget_what_was_told();
  Bytes buffer(kBlockBytes);
  Poll poll(*clock_, options_);
  do {
    const std::size_t size =
        TRY(transport_->receive(Protocol::com_id, com_id_.number, MutableByteView(buffer)));
    ByteReader answer(ByteView(buffer).first(std::min(size, buffer.size())));
    answer.skip(kManagementHeaderBytes - 2);
    if (answer.u16() < 4) continue;
    if (answer.u32() == 0 && !answer.ran_out()) return {};
    return fail(ErrorCode::unsupported, "the drive does not carry out STACK_RESET");
  } while (poll.again(false));
  return fail(ErrorCode::timeout, "the drive does not finish STACK_RESET");
}

Result<void> Channel::reset_tper() {
  Result<void> sent = send(Protocol::com_id, kTPerReset, Bytes(kBlockBytes));
  if (!sent && was_not_taken(sent.error().code) && sent.error().code != ErrorCode::busy)
    return fail(ErrorCode::unsupported,
                "the drive does not take TPER_RESET: its owner has not enabled it");
  forget_what_was_told();
  if (sent) hangs_ = false;
  return sent;
}

Result<void> Channel::block_sid(Until until) {
  Bytes payload(kBlockBytes);
  if (until == Until::hardware_reset) payload[0] = std::byte{1};
  Result<void> sent = send(Protocol::com_id, kBlockSid, payload);
  if (!sent && was_not_taken(sent.error().code) && sent.error().code != ErrorCode::busy)
    return fail(ErrorCode::unsupported, "the drive has no Block SID");
  return sent;
}

}  // namespace keyward::sed::tcg
