#include "crypto/openssl_engine.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include <climits>
#include <mutex>
#include <vector>

#include "base/c_ptr.h"
#include "base/check.h"
#include "crypto/openssl_error.h"

namespace keyward::crypto {
namespace {

using EvpCipherCtx = CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

enum class Direction : int { decrypt = 0, encrypt = 1 };

const unsigned char* uchars(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* uchars(MutableByteView bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
int length(ByteView bytes) {
  CHECK(bytes.size() <= INT_MAX, "EVP takes at most 2 GiB at once");
  return static_cast<int>(bytes.size());
}

class OpensslAead final : public Aead {
 public:
  explicit OpensslAead(SecretBytes key) : key_(std::move(key)) {}

  // Makes the first context, so that a library without the cipher shows at once.
  Result<void> prepare() {
    put_back(TRY(make_context()));
    return {};
  }

  void encrypt(const AeadNonce& nonce, ByteView aad, ByteView plaintext, MutableByteView ciphertext,
               AeadTag& tag) const override {
    CHECK(ciphertext.size() == plaintext.size(), "ciphertext and plaintext have one size");
    EvpCipherCtx context = take();
    run(context.get(), Direction::encrypt, nonce, aad, plaintext, ciphertext);
    int size = 0;
    unsigned char none[16];
    const bool done = EVP_CipherFinal_ex(context.get(), none, &size) == 1 &&
                      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG,
                                          static_cast<int>(tag.size()), tag.data()) == 1;
    CHECK(done, "EVP's AES-256-GCM gives no tag");
    put_back(std::move(context));
  }

  Result<void> decrypt(const AeadNonce& nonce, ByteView aad, ByteView ciphertext,
                       const AeadTag& tag, MutableByteView plaintext) const override {
    CHECK(ciphertext.size() == plaintext.size(), "ciphertext and plaintext have one size");
    EvpCipherCtx context = take();
    run(context.get(), Direction::decrypt, nonce, aad, ciphertext, plaintext);
    AeadTag expected = tag;  // EVP's parameter is not const.
    CHECK(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG,
                              static_cast<int>(expected.size()), expected.data()) == 1,
          "EVP's AES-256-GCM takes no tag");
    int size = 0;
    unsigned char none[16];
    const bool matches = EVP_CipherFinal_ex(context.get(), none, &size) == 1;
    put_back(std::move(context));
    if (matches) return {};
    ERR_clear_error();
    if (!plaintext.empty()) ::explicit_bzero(plaintext.data(), plaintext.size());
    return fail(ErrorCode::corrupt, "AES-256-GCM: the tag does not match");
  }

 private:
  Result<EvpCipherCtx> make_context() const {
    EvpCipherCtx context(EVP_CIPHER_CTX_new());
    if (context == nullptr ||
        EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, uchars(key_.reveal()), nullptr,
                          static_cast<int>(Direction::encrypt)) != 1)
      return openssl_failure("EVP_CipherInit_ex", "no AES-256-GCM");
    return context;
  }

  // A context that nobody uses, or a new one.
  EvpCipherCtx take() const {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        EvpCipherCtx context = std::move(idle_.back());
        idle_.pop_back();
        return context;
      }
    }
    Result<EvpCipherCtx> made = make_context();
    CHECK(made.has_value(), "no memory for a cipher context");
    return *std::move(made);
  }

  void put_back(EvpCipherCtx context) const {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(context));
  }

  // The key schedule is the same in both directions, so it is not set again.
  static void run(EVP_CIPHER_CTX* context, Direction direction, const AeadNonce& nonce,
                  ByteView aad, ByteView input, MutableByteView output) {
    int size = 0;
    bool done = EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, uchars(ByteView(nonce)),
                                  static_cast<int>(direction)) == 1;
    if (!aad.empty())
      done = done && EVP_CipherUpdate(context, nullptr, &size, uchars(aad), length(aad)) == 1;
    if (!input.empty())
      done = done &&
             EVP_CipherUpdate(context, uchars(output), &size, uchars(input), length(input)) == 1;
    CHECK(done, "EVP's AES-256-GCM does not work");
  }

  SecretBytes key_;
  mutable std::mutex mutex_;
  mutable std::vector<EvpCipherCtx> idle_;
};

}  // namespace

Result<std::unique_ptr<Aead>> OpensslEngine::open(const SecretBytes& key) const {
  if (key.size() != kAeadKeyBytes)
    return fail(ErrorCode::invalid_argument, "an AES-256 key has 32 bytes");
  auto aead = std::make_unique<OpensslAead>(TRY(key.duplicate()));
  TRY(aead->prepare());
  return aead;
}

}  // namespace keyward::crypto
