#include "sed/emulator/com_id.h"

#include <algorithm>

#include "sed/emulator/packet.h"

namespace keyward::sed::emulator {

void fill_padded(ByteView content, MutableByteView buffer) {
  const std::size_t size = std::min(content.size(), buffer.size());
  std::copy_n(content.begin(), size, buffer.begin());
  std::ranges::fill(buffer.subspan(size), std::byte{0});
}

void ComId::put_answer(Bytes com_packet, std::uint32_t polls) {
  answer_ = std::move(com_packet);
  polls_left_ = polls;
}

BusStatus ComId::fetch(MutableByteView buffer) {
  if (buffer.size() < kComPacketHeaderBytes) return BusStatus::invalid_length;
  if (answer_.empty()) {
    fill_padded(empty_com_packet(number_, 0, 0), buffer);
  } else if (polls_left_ > 0) {
    --polls_left_;
    fill_padded(empty_com_packet(number_, 1, 0), buffer);
  } else if (answer_.size() > buffer.size()) {
    const auto size = static_cast<std::uint32_t>(answer_.size());
    fill_padded(empty_com_packet(number_, size, size), buffer);
  } else {
    fill_padded(answer_, buffer);
    answer_.clear();
  }
  return BusStatus::good;
}

void ComId::reset() {
  answer_.clear();
  polls_left_ = 0;
  host_ = HostProperties(family_);
}

}  // namespace keyward::sed::emulator
