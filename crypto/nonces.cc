#include "crypto/nonces.h"

#include "crypto/kdf.h"

namespace keyward::crypto {

AeadNonce random_nonce() {
  AeadNonce nonce;
  random_fill(nonce);
  return nonce;
}

void NonceBatch::draw() {
  random_fill(std::as_writable_bytes(std::span(nonces_)));
  next_ = 0;
}

}  // namespace keyward::crypto
