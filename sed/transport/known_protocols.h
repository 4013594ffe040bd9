// KnownProtocols tells a security protocol that the drive lacks from a ComID or a length that it
// does not take: buses have one status for all of these. The list is read at the first such
// refusal, and kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "sed/transport/identity_pages.h"

namespace keyward::sed {

class KnownProtocols final {
 public:
  // True when the drive names its protocols and not this one. `receive` fetches protocol 00h,
  // specific 0000h into a buffer and answers the size.
  template <typename Receive>
  bool lacks(Protocol protocol, Receive&& receive) {
    if (protocol == Protocol::information) return false;
    if (!protocols_) {
      Bytes page(512);
      const Result<std::size_t> size = receive(MutableByteView(page));
      if (!size) return false;
      auto parsed = parse_protocol_list(ByteView(page).first(*size));
      if (!parsed) return false;
      protocols_ = *std::move(parsed);
    }
    return std::ranges::count(*protocols_, static_cast<std::uint8_t>(protocol)) == 0;
  }

 private:
  std::optional<std::vector<std::uint8_t>> protocols_;
};

}  // namespace keyward::sed
