// Reads and writes the owner marker in a drive's DataStore, and what else anybody may read of its
// Locking SP.
//
//   std::optional<OwnerMarker> marker = TRY(read_marker(link));   // Spends no try.
//   TRY(write_marker(session, *marker));                          // As whoever may.
//
// Free functions over a TcgLink; one thread.
#pragma once

#include <optional>

#include "sed/owner_marker.h"
#include "sed/tcg_link.h"

namespace keyward::sed {

// None when there is none, anybody may not read it, or the Locking SP is not active.
Result<std::optional<OwnerMarker>> read_marker(TcgLink& link);

// The marker, how many ranges there are and how large the byte tables: into link.known(), in one
// session.
Result<std::optional<OwnerMarker>> learn_locking_sp(TcgLink& link);

Result<void> write_marker(tcg::Session& session, const OwnerMarker& marker);

// Which ranges are in use, 0 first; read from the marker when not known yet.
Result<std::vector<std::uint32_t>> ranges_in_use(TcgLink& link);

}  // namespace keyward::sed
