// The portable engine: OpenSSL EVP, with the key set once and only the nonce reset.
#pragma once

#include "crypto/aead.h"

namespace keyward::crypto {

class OpensslEngine final : public AeadEngine {
 public:
  std::string_view name() const override { return "openssl"; }
  Result<std::unique_ptr<Aead>> open(const SecretBytes& key) const override;
};

}  // namespace keyward::crypto
