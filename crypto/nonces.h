// Nonces of 96 bits from getrandom(2).
//
//   aead->encrypt(random_nonce(), ...);       // a put: drawn at the moment of sealing
//
//   NonceBatch nonces;                        // a rekey batch, on the stack of the batch
//   for (auto& entry : batch) aead->encrypt(nonces.next(), ...);
//
// A batch draws 96 bits and counts up from there, 1,024 times before it draws again: what NIST
// SP 800-38D, 8.2.2 allows for a random field, and no likelier to meet another nonce than drawing
// each. A draw costs a system call. A batch must not outlive the transaction that it is for: a
// virtual machine that is cloned in between would use the rest twice. One owner each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "crypto/aead.h"

namespace keyward::crypto {

AeadNonce random_nonce();

class NonceBatch final {
 public:
  static constexpr std::size_t kDrawCount = 1024;

  NonceBatch() = default;
  NonceBatch(const NonceBatch&) = delete;
  NonceBatch& operator=(const NonceBatch&) = delete;

  AeadNonce next() {
    if (left_ == 0) draw();
    --left_;
    if (++low_ == 0) ++high_;
    AeadNonce nonce;
    std::memcpy(nonce.data(), &high_, sizeof high_);
    std::memcpy(nonce.data() + sizeof high_, &low_, sizeof low_);
    return nonce;
  }

 private:
  void draw();

  std::uint32_t high_ = 0;
  std::uint64_t low_ = 0;
  std::size_t left_ = 0;
};

}  // namespace keyward::crypto
