#include "crypto/kdf.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <bit>
#include <string>

#include "base/c_ptr.h"
#include "base/check.h"
#include "base/os_random.h"
#include "crypto/openssl_error.h"

namespace keyward::crypto {
namespace {

using EvpMd = CPtr<EVP_MD, EVP_MD_free>;
using EvpMdCtx = CPtr<EVP_MD_CTX, EVP_MD_CTX_free>;
using EvpKdf = CPtr<EVP_KDF, EVP_KDF_free>;
using EvpKdfCtx = CPtr<EVP_KDF_CTX, EVP_KDF_CTX_free>;
using EvpPkey = CPtr<EVP_PKEY, EVP_PKEY_free>;

constexpr std::size_t kEd25519SeedBytes = 32;

const unsigned char* uchars(ByteView bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* uchars(MutableByteView bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

OSSL_PARAM octets(const char* name, ByteView bytes) {
  // OpenSSL only reads it; its type has no const.
  return OSSL_PARAM_construct_octet_string(name, const_cast<std::byte*>(bytes.data()),
                                           bytes.size());
}

Result<EvpPkey> private_key(const SecretBytes& seed) {
  if (seed.size() != kEd25519SeedBytes)
    return fail(ErrorCode::invalid_argument,
                fmt::format("an Ed25519 seed has 32 bytes, not {}", seed.size()));
  EvpPkey key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, uchars(seed.reveal()), seed.size()));
  if (key == nullptr) return openssl_failure("EVP_PKEY_new_raw_private_key", "no Ed25519 key");
  return key;
}

}  // namespace

Sha256Digest sha256(std::span<const ByteView> parts) {
  // Looking for the algorithm and making a context cost several times what a short text does.
  static const EvpMd algorithm(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  thread_local const EvpMdCtx context(EVP_MD_CTX_new());
  Sha256Digest digest;
  bool done = algorithm != nullptr && context != nullptr &&
              EVP_DigestInit_ex2(context.get(), algorithm.get(), nullptr) == 1;
  for (const ByteView part : parts)
    done = done && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  done = done && EVP_DigestFinal_ex(context.get(), uchars(MutableByteView(digest)), nullptr) == 1;
  CHECK(done, "OpenSSL's SHA-256 does not work");
  return digest;
}

Sha256Digest sha256(ByteView bytes) { return sha256(std::span(&bytes, 1)); }

Result<Sha256Digest> hmac_sha256(ByteView key, ByteView message) {
  static constexpr unsigned char kEmpty = 0;  // HMAC() takes no null key.
  Sha256Digest mac;
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), key.empty() ? &kEmpty : uchars(key), static_cast<int>(key.size()),
           uchars(message), message.size(), uchars(MutableByteView(mac)), &size) == nullptr ||
      size != mac.size())
    return openssl_failure("HMAC", "no HMAC-SHA-256");
  return mac;
}

Result<SecretBytes> hkdf_sha256(ByteView input, ByteView salt, ByteView info, std::size_t size) {
  const EvpKdf kdf(EVP_KDF_fetch(nullptr, OSSL_KDF_NAME_HKDF, nullptr));
  const EvpKdfCtx context(EVP_KDF_CTX_new(kdf.get()));
  if (context == nullptr) return openssl_failure("EVP_KDF_fetch", "no HKDF");
  std::string digest = "SHA256";
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      octets(OSSL_KDF_PARAM_KEY, input), octets(OSSL_KDF_PARAM_INFO, info),
      // An empty salt is left out: RFC 5869 then takes zeros, as it does for an empty one.
      salt.empty() ? OSSL_PARAM_construct_end() : octets(OSSL_KDF_PARAM_SALT, salt),
      OSSL_PARAM_construct_end()};
  SecretBytes key = TRY(SecretBytes::allocate(size));
  if (EVP_KDF_derive(context.get(), uchars(key.reveal_mutable()), size, params) != 1)
    return openssl_failure("EVP_KDF_derive", "no HKDF-SHA-256");
  return key;
}

Result<SecretBytes> scrypt(ByteView passphrase, ByteView salt, const ScryptCost& cost,
                           std::size_t size) {
  // The same memory that EVP_PBE_scrypt counts: the big table, p blocks, and one more.
  constexpr std::uint64_t kMemoryMax = std::uint64_t{1} << 32;
  const bool sane = std::has_single_bit(cost.n) && cost.n > 1 && cost.n <= (1u << 24) &&
                    cost.r >= 1 && cost.r <= 64 && cost.p >= 1 && cost.p <= 64;
  const std::uint64_t memory = sane ? 128 * std::uint64_t{cost.r} * (cost.n + cost.p + 2) : 0;
  if (!sane || memory > kMemoryMax)
    return fail(ErrorCode::invalid_argument,
                fmt::format("scrypt does not take the cost n={} r={} p={}: n is a power of two up "
                            "to 2^24, r and p are 1 to 64, and at most 4 GiB are used",
                            cost.n, cost.r, cost.p));
  SecretBytes key = TRY(SecretBytes::allocate(size));
  if (EVP_PBE_scrypt(reinterpret_cast<const char*>(passphrase.data()), passphrase.size(),
                     uchars(salt), salt.size(), cost.n, cost.r, cost.p, memory,
                     uchars(key.reveal_mutable()), size) == 1)
    return key;
  Error error = openssl_failure("EVP_PBE_scrypt", "no key from the passphrase").error();
  error.code = ErrorCode::exhausted;  // The cost is sane: only the memory can be missing.
  error.message += fmt::format(" ({} MiB of memory are needed)", memory >> 20);
  return std::unexpected(std::move(error));
}

void random_fill(MutableByteView bytes) { os_random_fill(bytes); }

Result<Ed25519PublicKey> ed25519_public_key(const SecretBytes& seed) {
  const EvpPkey key = TRY(private_key(seed));
  Ed25519PublicKey raw;
  std::size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), uchars(MutableByteView(raw)), &size) != 1)
    return openssl_failure("EVP_PKEY_get_raw_public_key", "no Ed25519 public key");
  return raw;
}

Result<Ed25519Signature> ed25519_sign(const SecretBytes& seed, ByteView message) {
  const EvpPkey key = TRY(private_key(seed));
  const EvpMdCtx context(EVP_MD_CTX_new());
  Ed25519Signature signature;
  std::size_t size = signature.size();
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), uchars(MutableByteView(signature)), &size, uchars(message),
                     message.size()) != 1)
    return openssl_failure("EVP_DigestSign", "no Ed25519 signature");
  return signature;
}

bool ed25519_verify(const Ed25519PublicKey& key, ByteView message,
                    const Ed25519Signature& signature) {
  const EvpPkey pkey(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, uchars(ByteView(key)), key.size()));
  const EvpMdCtx context(EVP_MD_CTX_new());
  const bool valid =
      pkey != nullptr && context != nullptr &&
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, pkey.get()) == 1 &&
      EVP_DigestVerify(context.get(), uchars(ByteView(signature)), signature.size(),
                       uchars(message), message.size()) == 1;
  ERR_clear_error();  // A wrong signature leaves its reason there.
  return valid;
}

}  // namespace keyward::crypto
