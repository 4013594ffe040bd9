// The sealed copy of one master key, as the keystore keeps it.
//
//   SealedBlob blob = TRY(SealedBlob::parse(copy.blob));
//   Bytes bytes = blob.render();
//
// Layout, integers big-endian:
//   format 1 (= 1) · flags 1 (1: a PIN is needed) · PCR mask 4 · NV index 4 · slot 2
//   · context digest 32 · size 2, TPM2B_PUBLIC · size 2, TPM2B_PRIVATE
//   · for each PCR in the mask, ascending: 32, its value when it was sealed
//   · nonce 12 · ciphertext 32 · tag 16 · SHA-256 of all before 32
// Everything up to the nonce, and the context, is the AAD. The digest at the end tells damage from
// refusal before the TPM is asked, and so before a try of the PIN is spent; it protects nothing.
//
// Values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "hsm/tpm2/pcr_values.h"

namespace keyward::hsm::tpm2 {

inline constexpr std::size_t kKeyBytes = 32;

// The place of a key's second secret: an NV index, and a slot in it.
struct SlotPlace {
  std::uint32_t index = 0;
  std::uint16_t slot = 0;
  auto operator<=>(const SlotPlace&) const = default;
};

struct SealedBlob {
  bool needs_pin = false;
  SlotPlace place;
  crypto::Sha256Digest context_digest{};
  Bytes tpm_public;   // TPM2B_PUBLIC
  Bytes tpm_private;  // TPM2B_PRIVATE
  PcrValues pcrs;     // When it was sealed.
  crypto::AeadNonce nonce{};
  std::array<std::byte, kKeyBytes> ciphertext{};
  crypto::AeadTag tag{};

  static Result<SealedBlob> parse(ByteView bytes);  // `corrupt`
  Bytes render() const;
  // All that stands before the nonce.
  Bytes render_head() const;
};

}  // namespace keyward::hsm::tpm2
