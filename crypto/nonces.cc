#include "crypto/nonces.h"

#include "crypto/kdf.h"

namespace keyward::crypto {

AeadNonce random_nonce() {
  AeadNonce nonce;
  random_fill(nonce);
  return nonce;
}

void NonceBatch::draw() {
  const AeadNonce start = random_nonce();
  std::memcpy(&high_, start.data(), sizeof high_);
  std::memcpy(&low_, start.data() + sizeof high_, sizeof low_);
  left_ = kDrawCount;
}

}  // namespace keyward::crypto
