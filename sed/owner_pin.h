// The owner PIN is the one secret that owns a drive: 32 random bytes, of which each authority's own
// PIN is derived. So one authority's PIN does not give away another's.
//
//   SecretBytes owner_pin = TRY(SecretBytes::random(kOwnerPinBytes));
//   SecretBytes sid_pin = TRY(authority_pin(owner_pin, "SID"));
//
// Pure functions; any thread. `invalid_argument` for an owner PIN of another size.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::sed {

inline constexpr std::size_t kOwnerPinBytes = 32;

// 32 bytes, the most that a C_PIN and an ATA password hold: HKDF-SHA-256(owner PIN, "sed pin v1 " ‖
// authority). Authorities: "SID", "Admin1", "User1" …, "BandMaster0" …, "EraseMaster", "ATA user",
// "ATA master".
Result<SecretBytes> authority_pin(const SecretBytes& owner_pin, std::string_view authority);

// Tells owner PINs apart and gives nothing of them away: HKDF-SHA-256(owner PIN, "sed tag v1"), cut
// to 16 bytes. It stands in the drive's marker, so that no try is spent to learn whose PIN it has.
using PinTag = std::array<std::byte, 16>;
Result<PinTag> pin_tag(const SecretBytes& owner_pin);

// What a person read from a label, as the drive knows it: upper case, no dashes, no spaces.
Result<SecretBytes> normalized_psid(const SecretBytes& typed);

}  // namespace keyward::sed
