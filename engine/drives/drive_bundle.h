// A DriveBundle carries the PINs of drives from one node to another, sealed under a passphrase.
//
//   DriveBundle bundle{node, "host-a", clock.now(), std::move(drives)};
//   Bytes file = TRY(seal_bundle(bundle, passphrase));           // scrypt: a tenth of a second
//   DriveBundle again = TRY(open_bundle(file, passphrase));      // On the other node.
//
// SealedBundle is the file:
//   "KWDRIVES" 8 · format 1 (= 1) · log2 of scrypt's n 1 · r 1 · p 1 · salt 16 · size n of the
//   ciphertext 4 · key commitment 32 · nonce 12 · ciphertext n · tag 16 · SHA-256 of all before,
//   its first 16
// All before the nonce is the AAD. The commitment is checked before anything is decrypted, so that
// a bundle opens under one passphrase only; the digest at the end tells damage from a wrong
// passphrase and protects nothing. The plaintext is
//   node 16 · time in ms since 1970 8 · host name · count 2 · for each drive: its key, WWN, serial,
//   model, owner PIN, PSID
// where each text, PIN and PSID follows its length, 1 byte. A PSID that was not recorded has 0.
//
// Values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "sed/transport/security_transport.h"

namespace keyward::engine {

inline constexpr std::size_t kBundleDrivesMax = 1024;
inline constexpr std::size_t kBundlePlaintextMax = std::size_t{1} << 20;
inline constexpr std::size_t kBundleTextMax = 255;
inline constexpr std::size_t kBundlePsidMax = 64;

struct BundledDrive {
  std::string drive;              // sed::drive_key(identity).
  sed::DriveIdentity identity{};  // Without the firmware, which may change on the way.
  SecretBytes owner_pin;          // sed::kOwnerPinBytes.
  std::optional<SecretBytes> psid{};
};

struct DriveBundle {
  NodeId from{};
  std::string host;
  UtcTime time{};
  std::vector<BundledDrive> drives{};
};

// `invalid_argument` for a passphrase that does not have 12 to 1,024 bytes, and for a bundle that
// open_bundle() would refuse: no drives or too many, one twice, a key that is not its identity's.
Result<Bytes> seal_bundle(const DriveBundle& bundle, const SecretBytes& passphrase);

// `auth_failed`: another passphrase. `corrupt`: damaged, or no bundle at all. `unsupported`: of a
// later version. Nothing is computed for a file that is damaged, or asks for less or more work than
// a passphrase is worth (hsm/passphrase/passphrase_blob.h has the limits).
Result<DriveBundle> open_bundle(ByteView file, const SecretBytes& passphrase);

// The two layers, apart: for the fuzzer, which finds no passphrase by chance.
struct SealedBundle {
  crypto::ScryptCost cost{};
  std::array<std::byte, 16> salt{};
  crypto::Sha256Digest commitment{};
  crypto::AeadNonce nonce{};
  Bytes ciphertext{};
  crypto::AeadTag tag{};

  static Result<SealedBundle> parse(ByteView file);
  Bytes render() const;
  // Up to the commitment: what that covers. And up to the nonce: the AAD.
  Bytes render_cost() const;
  Bytes render_head() const;
};
// `invalid_argument` as seal_bundle(), `corrupt` as open_bundle().
Result<SecretBytes> render_bundle(const DriveBundle& bundle);
Result<DriveBundle> parse_bundle(ByteView plaintext);

}  // namespace keyward::engine
