#include "crypto/ipsec_mb_engine.h"

#ifdef KEYWARD_HAS_IPSEC_MB

#include <intel-ipsec-mb.h>
#include <string.h>

#include "base/c_ptr.h"
#include "base/check.h"

namespace keyward::crypto {
namespace {

using ImbMgr = CPtr<IMB_MGR, free_mb_mgr>;

// The calls that the library chose for this CPU. Its manager, some hundred KiB of queues that only
// the job API uses, is freed once they are copied.
struct GcmCalls {
  aes_gcm_pre_t expand = nullptr;
  aes_gcm_enc_dec_t encrypt = nullptr;
  aes_gcm_enc_dec_t decrypt = nullptr;
  std::string_view name;
};

std::string_view engine_name(IMB_ARCH arch, std::uint64_t features) {
  const bool vaes = (features & IMB_FEATURE_VAES) != 0;
  switch (arch) {
    case IMB_ARCH_AVX512:
      return vaes ? "ipsec-mb/vaes512" : "ipsec-mb/avx512";
    case IMB_ARCH_AVX2:
      return vaes ? "ipsec-mb/vaes256" : "ipsec-mb/avx2";
    case IMB_ARCH_AVX:
      return "ipsec-mb/avx";
    case IMB_ARCH_SSE:
      return "ipsec-mb/sse";
    default:
      return {};
  }
}

GcmCalls find_calls() {
  const ImbMgr manager(alloc_mb_mgr(0));
  if (manager == nullptr || (manager->features & IMB_FEATURE_AESNI) == 0) return {};
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(manager.get(), &arch);
  return {manager->gcm256_pre, manager->gcm256_enc, manager->gcm256_dec,
          engine_name(arch, manager->features)};
}

const std::uint8_t* octets(ByteView bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}
std::uint8_t* octets(MutableByteView bytes) {
  return reinterpret_cast<std::uint8_t*>(bytes.data());
}

class IpsecMbAead final : public Aead {
 public:
  IpsecMbAead(const GcmCalls& calls, SecretBytes expanded)
      : calls_(calls), expanded_(std::move(expanded)) {}

  void encrypt(const AeadNonce& nonce, ByteView aad, ByteView plaintext, MutableByteView ciphertext,
               AeadTag& tag) const override {
    CHECK(ciphertext.size() == plaintext.size(), "ciphertext and plaintext have one size");
    run(calls_.encrypt, nonce, aad, plaintext, ciphertext, tag);
  }

  Result<void> decrypt(const AeadNonce& nonce, ByteView aad, ByteView ciphertext,
                       const AeadTag& tag, MutableByteView plaintext) const override {
    CHECK(ciphertext.size() == plaintext.size(), "ciphertext and plaintext have one size");
    AeadTag computed;
    run(calls_.decrypt, nonce, aad, ciphertext, plaintext, computed);
    // The library computes the tag and leaves the comparison to its caller.
    if (constant_time_equal(computed, tag)) return {};
    if (!plaintext.empty()) ::explicit_bzero(plaintext.data(), plaintext.size());
    return fail(ErrorCode::corrupt, "AES-256-GCM: the tag does not match");
  }

 private:
  void run(aes_gcm_enc_dec_t call, const AeadNonce& nonce, ByteView aad, ByteView input,
           MutableByteView output, AeadTag& tag) const {
    gcm_context_data state;
    call(reinterpret_cast<const gcm_key_data*>(expanded_.reveal().data()), &state, octets(output),
         octets(input), input.size(), octets(ByteView(nonce)), octets(aad), aad.size(),
         octets(MutableByteView(tag)), tag.size());
    ::explicit_bzero(&state, sizeof state);  // It holds the last block's key stream.
  }

  const GcmCalls& calls_;
  SecretBytes expanded_;  // A gcm_key_data, at a multiple of 64 bytes.
};

class IpsecMbEngine final : public AeadEngine {
 public:
  std::string_view name() const override { return calls_.name; }

  Result<std::unique_ptr<Aead>> open(const SecretBytes& key) const override {
    if (key.size() != kAeadKeyBytes)
      return fail(ErrorCode::invalid_argument, "an AES-256 key has 32 bytes");
    SecretBytes expanded = TRY(SecretBytes::allocate(sizeof(gcm_key_data)));
    calls_.expand(key.reveal().data(),
                  reinterpret_cast<gcm_key_data*>(expanded.reveal_mutable().data()));
    return std::make_unique<IpsecMbAead>(calls_, std::move(expanded));
  }

  bool is_usable() const { return !calls_.name.empty(); }

 private:
  const GcmCalls calls_ = find_calls();
};

}  // namespace

const AeadEngine* ipsec_mb_engine() {
  static const IpsecMbEngine engine;
  return engine.is_usable() ? &engine : nullptr;
}

}  // namespace keyward::crypto

#else

namespace keyward::crypto {
const AeadEngine* ipsec_mb_engine() { return nullptr; }
}  // namespace keyward::crypto

#endif
