// The links of an audit chain: each record's link covers the link before it, so that no record can
// be changed, dropped or put in between without every later link being wrong.
//
//   stored.chain = audit_link(previous.chain, stored);
//
// Link = SHA-256("keyward audit v1" ‖ previous link ‖ sequence ‖ time in ms ‖ the six fields, each
// with its length in front); integers are 8 bytes, big-endian. The first record's previous link is
// all zero. What a chain cannot show by itself: that its last records are gone together with the
// stored head. Signed checkpoints that name the head do. Pure functions; any thread.
#pragma once

#include <array>
#include <cstddef>

#include "store/audit_trail.h"

namespace keyward::store {

using AuditLink = std::array<std::byte, 32>;

// The link that `record` must have after `previous`; its own `chain` is not looked at.
AuditLink audit_link(const AuditLink& previous, const StoredRecord& record);

}  // namespace keyward::store
