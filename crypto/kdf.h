// HKDF, HMAC, SHA-256, scrypt and Ed25519, each with our own types. With crypto/aead and TLS the
// only users of OpenSSL.
//
//   SecretBytes key = TRY(hkdf_sha256(input, salt, info, 32));
//
// Pure functions; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"

namespace keyward::crypto {

using Sha256Digest = std::array<std::byte, 32>;

// SHA-256 over the parts, one after another.
Sha256Digest sha256(std::span<const ByteView> parts);
Sha256Digest sha256(ByteView bytes);
// RFC 2104.
Result<Sha256Digest> hmac_sha256(ByteView key, ByteView message);
// RFC 5869, extract and expand.
Result<SecretBytes> hkdf_sha256(ByteView input, ByteView salt, ByteView info, std::size_t size);

// RFC 7914.
struct ScryptCost {
  std::uint64_t n = 1u << 17;  // A power of two.
  std::uint32_t r = 8;
  std::uint32_t p = 1;
};
Result<SecretBytes> scrypt(ByteView passphrase, ByteView salt, const ScryptCost& cost,
                           std::size_t size);

// getrandom(2); for nonces and salts, which are not secret.
void random_fill(MutableByteView bytes);

// RFC 8032. The seed is the private key, 32 bytes.
using Ed25519PublicKey = std::array<std::byte, 32>;
using Ed25519Signature = std::array<std::byte, 64>;
Result<Ed25519PublicKey> ed25519_public_key(const SecretBytes& seed);
Result<Ed25519Signature> ed25519_sign(const SecretBytes& seed, ByteView message);
bool ed25519_verify(const Ed25519PublicKey& key, ByteView message,
                    const Ed25519Signature& signature);

}  // namespace keyward::crypto
