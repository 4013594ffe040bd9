// Token streams: what a session's SubPacket holds, and what answers it.
//
//   const StreamOutcome outcome = run_stream(drive, session, data);
//   if (outcome.end == StreamOutcome::End::broken) send(close_session_call(session));
#pragma once

#include "sed/emulator/session.h"

namespace keyward::sed::emulator {

struct StreamOutcome {
  enum class End : std::uint8_t {
    open,     // The session goes on.
    closed,   // The host ended it.
    broken,   // Not well-formed, or over a limit: the TPer ends it (Core 3.2.2.4.2).
    all_end,  // A revert: every session ends once the answer is out.
    power_lost,
  };
  End end = End::open;
  Bytes answer{};
};

StreamOutcome run_stream(Surroundings& drive, Session& session, ByteView data);

// `F8 invoking method [ … ] F9 [ status 0 0 ]`, with the stream at its end. None when it is not.
std::optional<Call> parse_only_call(ByteView data);
Bytes build_call(const Call& call, Status status);
Bytes close_session_call(const Session& session);

}  // namespace keyward::sed::emulator
