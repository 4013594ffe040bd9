// The marker lies at the front of an owned drive's DataStore, where anybody may read it: it tells
// whose drive it is and which owner PIN is in force, so that no try is spent to find out.
//
//   std::optional<OwnerMarker> marker = OwnerMarker::parse(bytes);   // none: not ours, or damaged
//
// A value, without secrets. It is not authenticated: whoever can write it owns the drive.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "sed/owner_pin.h"

namespace keyward::sed {

struct OwnerMarker {
  // What of the DataStore is ours; a user's data lies after it.
  static constexpr std::size_t kReservedBytes = 4096;
  // 64-bit numbers are big-endian: "KWOWNER1", flags 4, users 4, ranges 8, generation 8, node 16,
  // tag 16, next tag 16, and 8 bytes of a SHA-256 over all that.
  static constexpr std::size_t kBytes = 88;

  static std::optional<OwnerMarker> parse(ByteView bytes);
  Bytes render() const;

  // False while PINs change: then each authority's is the one of `tag` or of `next_tag`. In an Opal
  // drive `tag` is always that of the Locking SP, with whose PINs it changes in one transaction.
  bool settled = false;
  std::uint32_t users = 0;   // Bit n - 1: User n's PIN is derived from the owner PIN.
  std::uint64_t ranges = 0;  // Bit n - 1: range or band n is in use. The global one always is.
  std::uint64_t generation = 0;
  NodeId node{};
  PinTag tag{};       // All zeros: the factory's PINs.
  PinTag next_tag{};  // Only while not settled.

  bool operator==(const OwnerMarker&) const = default;
};

}  // namespace keyward::sed
