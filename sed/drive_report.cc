#include "sed/drive_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace keyward::sed {
namespace {

void note_block_sid(const tcg::BlockSidFeature& block_sid, DriveState& state) {
  if (block_sid.sid_blocked)
    state.notes.emplace_back("Block SID is set: the SID cannot speak until the power goes");
  if (block_sid.frozen) state.notes.emplace_back("the Locking SP is frozen");
}

void note_features(const tcg::Discovery& found, DriveState& state) {
  if (found.block_sid) note_block_sid(*found.block_sid, state);
  if (found.single_user && found.single_user->any)
    state.notes.emplace_back("Single User Mode is on: its ranges are their users' alone");
  if (found.namespace_locking && found.namespace_locking->range_configured)
    state.notes.emplace_back("namespaces have locking ranges of their own");
  if (found.data_removal && found.data_removal->processing)
    state.notes.emplace_back("the drive is removing data");
  if (found.data_removal && found.data_removal->interrupted)
    state.notes.emplace_back("a removal of data was interrupted: erase again");
  for (const tcg::SeagatePort& port : found.ports)
    if (port.locked) state.notes.push_back(fmt::format("port {} is locked", port.number));
  for (const tcg::OtherFeature& other : found.others)
    state.notes.push_back(
        fmt::format("feature {:04X}h: {}", other.code, tcg::feature_name(other.code)));
}

}  // namespace

Result<DriveState> report_level0(const tcg::Discovery& found, TcgLink& link) {
  DriveState state;
  state.feature = tcg::ssc_name(link.known().ssc);
  if (found.locking) {
    const tcg::LockingFeature& locking = *found.locking;
    state.locking_enabled = locking.enabled;
    state.access = locking.locked ? Access::locked : Access::unlocked;
    state.shadow_mbr_shown = locking.mbr_enabled && !locking.mbr_done;
  }
  note_features(found, state);
  if (link.has_ata_password())
    state.notes.emplace_back(
        "an ATA password is set: the drive takes no TCG owner until it is "
        "disabled");
  const auto& quirks = link.quirks().notes;
  state.notes.insert(state.notes.end(), quirks.begin(), quirks.end());
  return state;
}

void report_marker(const OwnerMarker& marker, const TcgLink& link, DriveState& state) {
  state.owner = marker.node == link.node() ? Owner::us : Owner::somebody_else;
  state.owner_node = marker.node;
  if (marker.tag != PinTag{}) state.pin = marker.tag;
  if (!marker.settled && marker.next_tag != PinTag{}) state.next_pin = marker.next_tag;
}

Result<void> report_tries(TcgLink& link, const Authority& authority, DriveState& state) {
  const TryRecord record = TRY(link.gate().record(authority.name));
  if (!record.limit && record.spent == 0 && !record.locked_out) return {};
  const auto left = record.tries_left();
  if (left) state.tries_left = std::min(*left, state.tries_left.value_or(*left));
  return {};
}

}  // namespace keyward::sed
