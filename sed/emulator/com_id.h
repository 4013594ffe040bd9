// ComId is one ComID's side of the synchronous protocol (Core 3.3.10): one answer at a time, which
// must be fetched before the next request.
#pragma once

#include "sed/emulator/bus_status.h"
#include "sed/emulator/properties.h"

namespace keyward::sed::emulator {

class ComId final {
 public:
  ComId(std::uint16_t number, Family family) : number_(number), family_(family), host_(family) {}

  std::uint16_t number() const { return number_; }
  bool awaits_fetch() const { return !answer_.empty(); }
  HostProperties& host() { return host_; }

  // A whole ComPacket, which takes `polls` fetches that say "not yet".
  void put_answer(Bytes com_packet, std::uint32_t polls);
  BusStatus fetch(MutableByteView buffer);
  // STACK_RESET, and every reset of the TPer.
  void reset();

 private:
  std::uint16_t number_;
  Family family_;
  HostProperties host_;
  Bytes answer_;
  std::uint32_t polls_left_ = 0;
};

// Fills `buffer` with `content` and zeros after it. What does not fit is cut off.
void fill_padded(ByteView content, MutableByteView buffer);

}  // namespace keyward::sed::emulator
