// The context of a seal as bytes, for a custodian that authenticates it as additional data.
//
//   aead->encrypt(nonce, context_bytes(context), key.reveal(), ciphertext, tag);
#pragma once

#include "base/bytes.h"
#include "base/sealed_key.h"

namespace keyward::hsm {

// store (16 bytes) ‖ key id (16 bytes) ‖ domain: unambiguous, since only the last has no fixed
// size.
Bytes context_bytes(const KeyContext& context);

}  // namespace keyward::hsm
