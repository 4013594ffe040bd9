// The sealed copy of one master key, as the keystore keeps it.
//
//   WrappedBlob blob = TRY(WrappedBlob::parse(copy.blob));
//   Bytes bytes = blob.render();
//
// Layout:
//   format 1 (= 1) · mechanism 1 · zero 2 · CKA_ID 32 · context digest 32     the head
//   · AES-GCM:  nonce 12 · ciphertext 32 · tag 16
//   · key wrap: 72, RFC 3394 over key ‖ context digest
//   · SHA-256 of all before 32
// AES-GCM has the head as additional data. The digest at the end tells damage from a broken token
// before the token is asked; it protects nothing. Values; any thread.
#pragma once

#include <array>

#include "base/bytes.h"
#include "base/result.h"
#include "base/sealed_key.h"
#include "crypto/kdf.h"
#include "hsm/pkcs11/helper_protocol.h"

namespace keyward::hsm::pkcs11 {

struct WrappedBlob {
  Mechanism mechanism = Mechanism::aes_gcm;
  ObjectId id{};
  crypto::Sha256Digest context_digest{};
  std::array<std::byte, kGcmIvBytes> nonce{};  // AES-GCM only.
  Bytes ciphertext;

  static Result<WrappedBlob> parse(ByteView bytes);  // `corrupt`
  Bytes render() const;
  Bytes render_head() const;
  std::size_t ciphertext_bytes() const;
};

// SHA-256 over store ‖ key id ‖ domain: what a copy is bound to.
crypto::Sha256Digest digest_context(const KeyContext& context);

}  // namespace keyward::hsm::pkcs11
