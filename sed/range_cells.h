// A range's cells in the Locking table, and what they mean: the same in Opal and in Enterprise.
//
//   TRY(session.set(tcg::range::opal(1), locks_of(Access::unlocked)));
//
// Pure but for misplaced(), which asks the drive.
#pragma once

#include "sed/drive.h"
#include "sed/tcg/session.h"

namespace keyward::sed {

// Of ranges 1 … 64 the marker says whether they are in use.
inline constexpr std::uint32_t kRangesMarked = 64;

tcg::Row locks_of(Access access);
Access access_of(const tcg::Row& row);
// Locks when the power goes, and is open now.
tcg::Row lockable_and_open();
// The cells that place a range; without sectors it is not in use, and has no lock.
tcg::Row placed_at(std::uint64_t first_sector, std::uint64_t sectors);
Range range_of(std::uint32_t number, const tcg::Row& row);
// INVALID_PARAMETER says nothing of the reason: the drive's alignment is it most often.
Error misplaced(tcg::Session& session, const tcg::Uid& locking_info, const Error& refusal);

}  // namespace keyward::sed
