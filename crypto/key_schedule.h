// All that is derived from a master key, in one place, so that the labels can be read side by side.
//
//   std::unique_ptr<Aead> aead = TRY(engine.open(TRY(derive_entry_key(mk, domain, key_id))));
//   if (!constant_time_equal(TRY(commit_to_key(mk, domain, key_id)), row.commitment)) ...
//
// HKDF-SHA-256 (RFC 5869), empty salt. info = label ‖ 0 ‖ domain ‖ 0 ‖ key id (16 bytes). The
// master key itself never keys a cipher. Pure functions; any thread.
#pragma once

#include <span>

#include "base/ids.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "base/secret_bytes.h"

namespace keyward::crypto {

inline constexpr std::size_t kMasterKeyBytes = 32;

// "entry v1": the AES-256-GCM key of the entries.
Result<SecretBytes> derive_entry_key(const SecretBytes& master_key, const Domain& domain,
                                     const KeyId& key);
// "commit v1": published in the key table.
Result<KeyCommitment> commit_to_key(const SecretBytes& master_key, const Domain& domain,
                                    const KeyId& key);
// "wanted v1" gives the MAC key; the MAC is HMAC-SHA-256 over store id ‖ domain ‖ each custodian
// (length-prefixed id and identity, sorted by id).
Result<WantedMac> authenticate_wanted(const SecretBytes& master_key, const KeyContext& context,
                                      std::span<const WantedCustodian> wanted);

}  // namespace keyward::crypto
