#include "sed/emulator/discovery.h"

#include "sed/emulator/packet.h"
#include "sed/emulator/ranges.h"
#include "sed/emulator/single_user.h"

namespace keyward::sed::emulator {
namespace {

constexpr std::size_t kHeaderBytes = 48;

void append_feature(std::uint16_t code, unsigned version, ByteView body, Bytes& out) {
  append_field(code, 2, out);
  append_field(version << 4, 1, out);
  append_field(body.size(), 1, out);
  out.insert(out.end(), body.begin(), body.end());
}

unsigned bit(bool set, unsigned position) { return set ? 1u << position : 0u; }

Bytes tper_feature() {
  Bytes body;
  append_field(bit(true, 0) | bit(true, 4) | bit(true, 6), 1, body);  // Sync, streaming, ComIDs.
  body.resize(0x0C);
  return body;
}

Bytes locking_feature(const EmulatedDriveOptions& options, const DriveState& state) {
  const bool opal = options.family != Family::enterprise;
  const bool encrypts = options.family != Family::pyrite2;
  const bool active = state.locking_is_active();
  const bool shadow =
      opal && active && state.locking.number_at(uid::kMbrControl, column::kMbrEnable) != 0;
  const bool done = shadow && state.locking.number_at(uid::kMbrControl, column::kMbrDone) != 0;
  Bytes body;
  append_field(bit(true, 0) | bit(active, 1) | bit(any_range_locked(state, options), 2) |
                   bit(encrypts, 3) | bit(shadow, 4) | bit(done, 5) | bit(!opal, 6) | bit(true, 7),
               1, body);
  body.resize(0x0C);
  return body;
}

Bytes geometry_feature(const EmulatedDriveOptions& options) {
  const std::uint32_t alignment = options.alignment_sectors;
  Bytes body;
  append_field(bit(alignment != 0, 0), 1, body);
  append_field(0, 7, body);
  append_field(options.sector_bytes, 4, body);
  append_field(alignment == 0 ? 1 : alignment, 8, body);
  append_field(0, 8, body);  // LowestAlignedLBA.
  return body;
}

Bytes single_user_feature(const EmulatedDriveOptions& options, const DriveState& state) {
  const Value* ranges = state.locking.cell(uid::kLockingInfo, kSingleUserRanges);
  const std::size_t count = ranges == nullptr ? 0 : ranges->items.size();
  const bool policy = count != 0 && state.locking.number_at(uid::kLockingInfo, kRangePolicy) != 0;
  Bytes body;
  append_field(options.ranges + 1, 4, body);
  append_field(bit(count != 0, 0) | bit(count == options.ranges + 1, 1) | bit(policy, 2), 1, body);
  body.resize(0x0C);
  return body;
}

Bytes data_store_feature(const EmulatedDriveOptions& options) {
  Bytes body;
  append_field(0, 2, body);
  append_field(1, 2, body);  // Tables.
  append_field(options.data_store_bytes, 4, body);
  append_field(1, 4, body);  // Alignment.
  return body;
}

// Opal 2, Pyrite 2 and Ruby have the same fields.
Bytes opal_family_feature(const EmulatedDriveOptions& options) {
  constexpr unsigned kIsMsid = 0x00;
  constexpr unsigned kVendorUnique = 0xFF;
  const ComIdSpan com_ids = com_ids_of(options.family);
  Bytes body;
  append_field(com_ids.first, 2, body);
  append_field(com_ids.count, 2, body);
  append_field(0, 1, body);                               // Reads across ranges are served.
  const bool pyrite = options.family == Family::pyrite2;  // Has nothing in their place.
  append_field(pyrite ? 0 : options.admins, 2, body);
  append_field(pyrite ? 0 : options.users, 2, body);
  append_field(options.sid_is_msid ? kIsMsid : kVendorUnique, 1, body);
  append_field(options.sid_is_msid ? kIsMsid : kVendorUnique, 1, body);
  body.resize(0x10);
  return body;
}

Bytes enterprise_feature(const EmulatedDriveOptions& options) {
  const ComIdSpan com_ids = com_ids_of(options.family);
  Bytes body;
  append_field(com_ids.first, 2, body);
  append_field(com_ids.count, 2, body);
  body.resize(0x10);
  return body;
}

Bytes block_sid_feature(const DriveState& state, const VolatileState& power) {
  const bool changed = state.admin.cell(uid::kPinSid, column::kPin)->bytes != state.pins.msid;
  Bytes body;
  append_field(bit(changed, 0) | bit(power.sid_blocked, 1), 1, body);
  append_field(bit(power.unblocked_by_hardware_reset, 0), 1, body);
  body.resize(0x0C);
  return body;
}

void append_opal_family(const EmulatedDriveOptions& options, const DriveState& state, Bytes& out) {
  if (options.family == Family::pyrite2)
    return append_feature(0x0303, 1, opal_family_feature(options), out);
  append_feature(0x0003, 1, geometry_feature(options), out);
  if (options.family == Family::ruby)
    return append_feature(0x0304, 1, opal_family_feature(options), out);
  append_feature(0x0201, 1, single_user_feature(options, state), out);
  append_feature(0x0202, 1, data_store_feature(options), out);
  append_feature(0x0203, 1, opal_family_feature(options), out);
}

}  // namespace

ComIdSpan com_ids_of(Family family) {
  return family == Family::enterprise ? ComIdSpan{0x07FE, 2} : ComIdSpan{0x1000, 1};
}

Bytes level0_discovery(const EmulatedDriveOptions& options, const DriveState& state,
                       const VolatileState& power) {
  Bytes features;
  append_feature(0x0001, 1, tper_feature(), features);
  append_feature(0x0002, 1, locking_feature(options, state), features);
  if (options.family == Family::enterprise) {
    append_feature(0x0100, 1, enterprise_feature(options), features);
  } else {
    append_opal_family(options, state, features);
    append_feature(0x0402, 2, block_sid_feature(state, power), features);
  }
  Bytes out;
  append_field(kHeaderBytes - 4 + features.size(), 4, out);
  append_field(1, 4, out);  // Data structure revision.
  out.resize(kHeaderBytes);
  out.insert(out.end(), features.begin(), features.end());
  return out;
}

}  // namespace keyward::sed::emulator
