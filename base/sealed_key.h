// What a custodian gives and a keystore keeps: a master key's sealed copy, and what it is bound to.
//
//   KeyContext context = table.context(key_id);                  // store, domain, key
//   SealedKey copy = TRY(custodian.seal(master_key, context));   // hsm/ makes it
//   row.copies.push_back(copy);                                  // store/ keeps it
//
// It stands in base/ because hsm/ and store/ both need it and do not include each other. Values.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"

namespace keyward {

// A custodian's kind and the name that the operator gave it in the configuration: "pkcs11:hsm1",
// "tpm2:board", "passphrase:safe". People type it, so it is short; which token, TPM or server it
// really is stands in WantedCustodian::identity. Text, not an enumeration: a new kind changes no
// header.
struct CustodianId {
  std::string text;
  auto operator<=>(const CustodianId&) const = default;
};

// Authenticated with the seal, so that a blob cannot be moved to another key, domain or store; and
// written beside the object in the hardware, so that it can be found there by this alone.
struct KeyContext {
  StoreId store;
  Domain domain;
  KeyId key;
  auto operator<=>(const KeyContext&) const = default;
};

// A master key as it may lie on disk. The blob's layout is the custodian's own, with a format
// number in front; for KMIP it is a reference to the server's object.
struct SealedKey {
  CustodianId custodian;
  Bytes blob;
  bool operator==(const SealedKey&) const = default;
};

// A custodian that is to hold a copy of every key, and the public part that it was pinned by when
// it was added: a token's serial number, an SRK's name. Keystores authenticate the list with a MAC
// under a key derived from the master key, so that a thief who edits the files cannot make Keyward
// seal to a device of his.
struct WantedCustodian {
  CustodianId id;
  std::string identity;  // Custodian::identity() at the time.
  auto operator<=>(const WantedCustodian&) const = default;
};

// Binds a key row to one master key: HKDF-SHA-256(MK, "commit v1" ‖ domain ‖ key id), compared in
// full whenever a copy is unsealed. People see its first 8 bytes as the check value.
using KeyCommitment = std::array<std::byte, 32>;
// HMAC-SHA-256 over the list of wanted custodians, see crypto/key_schedule.h.
using WantedMac = std::array<std::byte, 32>;

}  // namespace keyward
