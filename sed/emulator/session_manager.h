// SessionManager opens and ends sessions (Core 3.3.7, 5.2.3), and runs what arrives in them.
//
// It answers a ComPacket's session packet with another, or with none.
#pragma once

#include <map>
#include <optional>

#include "base/clock.h"
#include "sed/emulator/com_id.h"
#include "sed/emulator/packet.h"
#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

class SessionManager final {
 public:
  SessionManager(Surroundings& drive, Clock& clock) : drive_(drive), clock_(clock) {}

  struct Answer {
    std::optional<SessionPacket> packet{};
    bool power_lost = false;
  };
  Answer handle(ComId& com_id, const ParsedComPacket& parsed);

  bool has_session(std::uint16_t com_id) const;
  void end_sessions_of(std::uint16_t com_id);
  void end_all() { sessions_.clear(); }
  // Those that were idle for longer than they asked for.
  void end_idle();

 private:
  Answer control(ComId& com_id, const SessionPacket& packet);
  Answer properties(ComId& com_id, const Call& call);
  Answer start_session(ComId& com_id, const Call& call);
  Status open(Session& session, const Call& call);
  Status admit(const Session& session) const;
  Answer regular(Session& session, const SessionPacket& packet);
  Answer break_off(const Session& session);
  Session* find(const ComId& com_id, const SessionPacket& packet);

  Surroundings& drive_;
  Clock& clock_;
  std::map<std::uint32_t, Session> sessions_;  // By the TPer's number.
  std::uint32_t last_number_ = 0;
};

}  // namespace keyward::sed::emulator
