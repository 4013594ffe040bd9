// How what a TCG drive tells becomes a DriveState.
//
//   DriveState state = TRY(report_level0(found, link));
//   report_marker(*marker, link, state);
//
// Free functions; one thread.
#pragma once

#include "sed/owner_marker.h"
#include "sed/tcg_link.h"

namespace keyward::sed {

Result<DriveState> report_level0(const tcg::Discovery& found, TcgLink& link);
void report_marker(const OwnerMarker& marker, const TcgLink& link, DriveState& state);
// Lowers state.tries_left to what the ledger says of this authority.
Result<void> report_tries(TcgLink& link, const Authority& authority, DriveState& state);

}  // namespace keyward::sed
