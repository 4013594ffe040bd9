// A Channel is one ComID of a drive: it carries token streams there and back (Core 3.3).
//
//   Channel channel = TRY(Channel::open(transport, clock, discovery, {.quirks = quirks}));
//   Bytes answer = TRY(channel.exchange({}, request));   // Session does this.
//   Bytes known = channel.properties().render();         // For the next time.
//
// One request is on its way at a time. An answer is polled for: at once, then after 1, 2, 4 … 25
// ms. Properties are asked for only when something larger than the smallest packet is at hand, so
// that unlocking takes six commands. Borrows transport and clock; one thread.
//
// Errors: the transport's; `timeout` when no answer came: it may have taken effect. The next
// exchange then clears the ComID first (STACK_RESET), which ends its sessions. `protocol` when an
// answer is malformed.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "sed/tcg/dialect.h"
#include "sed/tcg/discovery.h"
#include "sed/tcg/packet.h"
#include "sed/tcg/properties.h"
#include "sed/tcg/quirks.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed::tcg {

struct ChannelOptions {
  Quirks quirks{};
  // From an earlier channel to the same model and firmware. None: asked for when needed.
  std::optional<Properties> known{};
  // For an answer that the drive says is coming: GenKey and Revert may take their time.
  std::chrono::milliseconds answer_within = std::chrono::seconds(60);
  // For an answer of which the drive says nothing.
  std::chrono::milliseconds quiet_within = std::chrono::seconds(10);
};

class Channel final {
 public:
  // Takes the ComID that discovery names, and asks for one (GET_COMID) where it names none. No
  // other command. `unsupported` when the drive has no SSC that we speak.
  static Result<Channel> open(SecurityTransport& transport, Clock& clock,
                              const Discovery& discovery, ChannelOptions options);

  // Not while a session is open: it holds on to its channel.
  Channel(Channel&&) = default;
  Channel& operator=(Channel&&) = default;

  ComId com_id() const { return com_id_; }
  Dialect dialect() const { return dialect_; }
  const Quirks& quirks() const { return options_.quirks; }
  // False before the drive has told, or knowledge was handed in.
  bool properties_are_known() const { return known_; }
  const Properties& properties() const { return properties_; }

  // Tells the drive what we take, and learns what it takes: two commands, once. It counts for
  // sessions that start afterwards (Core 5.2.2.3), so whoever wants to read much calls it before
  // Session::start. A drive whose answer makes no sense keeps to the smallest packets.
  Result<void> negotiate();
  // How many bytes a byte string may have in a request, and, in sessions started from now on, in an
  // answer.
  std::size_t request_bytes_max() const;
  std::size_t answer_bytes_max() const;

  // Sends one ComPacket and fetches what answers it in that session; or on the control session,
  // where a drive says that it has ended a session. `answer_bytes` is how many tokens' bytes are
  // expected: a larger answer costs one command more. Where `request` holds a PIN, the packet is
  // built in locked memory and wiped.
  Result<Packet> exchange(const SessionNumbers& session, const TokenWriter& request,
                          std::size_t answer_bytes = 0);

  // A number that no other session of this channel had.
  std::uint32_t next_host_session() { return ++last_host_session_; }

  // STACK_RESET: ends all sessions of this ComID and forgets what was not fetched; no PIN's try and
  // no lock changes. `unsupported` where the quirk forbids it or the drive refuses.
  Result<void> reset_stack();
  // TPER_RESET: of the whole drive; ranges with LockOnReset of `programmatic` lock. `unsupported`
  // unless TPerInfo.ProgrammaticResetEnable is set.
  Result<void> reset_tper();
  // Nobody authenticates as SID until the next power cycle, or also the next hardware reset.
  enum class Until : std::uint8_t { power_cycle, hardware_reset };
  Result<void> block_sid(Until until);
  // A hang that was noticed elsewhere: the next exchange clears the ComID first.
  void note_hang() { hangs_ = true; }
  bool hangs() const { return hangs_; }

 private:
  Channel(SecurityTransport& transport, Clock& clock, ComId com_id, Dialect dialect,
          ChannelOptions options);

  class Poll;
  Result<void> clear();
  Result<void> drain();
  Result<void> deliver(const SessionNumbers& session, ByteView com_packet);
  Result<void> send(Protocol protocol, std::uint16_t specific, ByteView payload);
  Result<Packet> fetch(const SessionNumbers& session, std::size_t answer_bytes);
  Result<ComPacket> receive(Bytes& buffer);
  void forget_what_was_told();
  std::unexpected<Error> hang(Error error);

  SecurityTransport* transport_;
  Clock* clock_;
  ComId com_id_;
  Dialect dialect_;
  ChannelOptions options_;
  Properties properties_{};
  bool known_ = false;                     // properties_ are the drive's own.
  bool told_ = false;                      // The drive knows how large our buffers are.
  std::uint32_t host_com_packet_max_ = 0;  // What the drive may send us.
  std::uint32_t last_host_session_ = 0;
  bool hangs_ = false;
};

}  // namespace keyward::sed::tcg
