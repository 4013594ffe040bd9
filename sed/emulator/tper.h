// The Tper serves security protocols 00h, 01h and 02h: discovery, ComIDs, resets, sessions.
//
//   const BusStatus status = tper.send(protocol, specific, payload);
//
// Borrows the drive's state and media, and says when the state must be saved. One thread at a time.
#pragma once

#include <map>

#include "sed/emulator/session_manager.h"

namespace keyward::sed::emulator {

class Tper final {
 public:
  Tper(Surroundings drive, Clock& clock);

  BusStatus send(Protocol protocol, std::uint16_t specific, ByteView payload);
  BusStatus receive(Protocol protocol, std::uint16_t specific, MutableByteView buffer);

  // Sessions, answers and host properties are gone, and ranges lock that ask for it.
  void reset(Reset reset);
  void end_idle_sessions() { sessions_.end_idle(); }
  // True when the command before ended in the middle with an effect.
  bool power_lost() const { return power_lost_; }

 private:
  BusStatus send_com_packet(ComId& com_id, ByteView payload);
  BusStatus send_tcg(std::uint16_t specific, ByteView payload);
  BusStatus send_management(std::uint16_t specific, ByteView payload);
  BusStatus programmatic_reset();
  BusStatus block_sid(ByteView payload);
  Bytes answer_management(std::uint16_t com_id, ByteView payload);
  bool reset_stack(std::uint16_t com_id);
  BusStatus receive_information(std::uint16_t specific, MutableByteView buffer) const;
  ComId* find(std::uint16_t number);

  Surroundings drive_;
  SessionManager sessions_;
  std::map<std::uint16_t, ComId> com_ids_;
  std::map<std::uint16_t, Bytes> management_answers_;
  bool silent_ = false;
  bool power_lost_ = false;
};

}  // namespace keyward::sed::emulator
