// The sealed copy of one master key under a passphrase, as the keystore keeps it.
//
//   PassphraseBlob blob = TRY(PassphraseBlob::parse(copy.blob));
//   Bytes bytes = blob.render();
//
// Layout:
//   format 1 (= 1) · log2 of scrypt's n 1 · r 1 · p 1 · salt 16 · key commitment 32
//   · nonce 12 · ciphertext 32 · tag 16 · SHA-256 of all before, its first 16
// Everything up to the nonce, and the context, is the AAD. The digest at the end tells damage from
// a wrong passphrase; it protects nothing.
//
// Values; any thread.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"

namespace keyward::hsm {

inline constexpr std::size_t kSealedKeyBytes = 32;
using PassphraseSalt = std::array<std::byte, 16>;

// Blobs and settings outside these limits are refused before any memory is spent: under the floor a
// passphrase is guessed too quickly, over the ceiling a changed byte could take all memory.
inline constexpr crypto::ScryptCost kScryptFloor{1u << 14, 8, 1};
inline constexpr crypto::ScryptCost kScryptCeiling{1u << 20, 16, 4};
inline constexpr std::uint64_t kScryptMemoryMax = std::uint64_t{1} << 30;

bool is_within_limits(const crypto::ScryptCost& cost);
// "n 2^14 to 2^20, r 8 to 16, p 1 to 4, at most 1 GiB of memory".
std::string_view scrypt_limits_text();

struct PassphraseBlob {
  crypto::ScryptCost cost;
  PassphraseSalt salt{};
  crypto::Sha256Digest commitment{};
  crypto::AeadNonce nonce{};
  std::array<std::byte, kSealedKeyBytes> ciphertext{};
  crypto::AeadTag tag{};

  // `corrupt` when bytes were changed, cut or added, or the cost is outside its limits;
  // `unsupported` for a format of a later version.
  static Result<PassphraseBlob> parse(ByteView bytes);
  Bytes render() const;
  // Format, cost and salt: what the key commitment covers.
  Bytes render_cost() const;
  // All that stands before the nonce.
  Bytes render_head() const;
};

}  // namespace keyward::hsm
