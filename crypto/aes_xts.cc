#include "crypto/aes_xts.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/c_ptr.h"
#include "base/check.h"
#include "base/secret_bytes.h"
#include "crypto/openssl_error.h"

namespace keyward::crypto {
namespace {

using EvpCipherCtx = CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using Tweak = std::array<unsigned char, 16>;

constexpr std::size_t kBlockBytes = 16;

Tweak tweak_of(std::uint64_t sector) {
  Tweak tweak{};
  for (std::size_t n = 0; n < sizeof sector; ++n)
    tweak[n] = static_cast<unsigned char>(sector >> (8 * n));
  return tweak;
}

Result<EvpCipherCtx> make_context(ByteView key, int encrypt) {
  EvpCipherCtx context(EVP_CIPHER_CTX_new());
  if (context == nullptr ||
      EVP_CipherInit_ex(context.get(), EVP_aes_256_xts(), nullptr,
                        reinterpret_cast<const unsigned char*>(key.data()), nullptr, encrypt) != 1)
    return openssl_failure("EVP_CipherInit_ex", "no AES-256-XTS");
  return context;
}

Result<void> run(EVP_CIPHER_CTX* context, std::uint64_t first_sector, std::size_t sector_bytes,
                 ByteView in, MutableByteView out) {
  CHECK(sector_bytes >= kBlockBytes && in.size() % sector_bytes == 0 && in.size() == out.size(),
        "XTS works on whole sectors");
  for (std::size_t at = 0; at < in.size(); at += sector_bytes) {
    const Tweak tweak = tweak_of(first_sector + at / sector_bytes);
    int size = 0;
    if (EVP_CipherInit_ex(context, nullptr, nullptr, nullptr, tweak.data(), -1) != 1 ||
        EVP_CipherUpdate(context, reinterpret_cast<unsigned char*>(out.data() + at), &size,
                         reinterpret_cast<const unsigned char*>(in.data() + at),
                         static_cast<int>(sector_bytes)) != 1)
      return openssl_failure("EVP_CipherUpdate", "AES-256-XTS failed");
  }
  return {};
}

}  // namespace

struct AesXts::Contexts {
  EvpCipherCtx encrypt;
  EvpCipherCtx decrypt;
};

AesXts::AesXts(std::unique_ptr<Contexts> contexts) : contexts_(std::move(contexts)) {}
AesXts::AesXts(AesXts&&) noexcept = default;
AesXts& AesXts::operator=(AesXts&&) noexcept = default;
AesXts::~AesXts() = default;

Result<AesXts> AesXts::open(ByteView key) {
  if (key.size() != kXtsKeyBytes)
    return fail(ErrorCode::invalid_argument,
                fmt::format("an AES-256-XTS key has 64 bytes, not {}", key.size()));
  if (constant_time_equal(key.first(kXtsKeyBytes / 2), key.last(kXtsKeyBytes / 2)))
    return fail(ErrorCode::invalid_argument, "the two halves of an AES-256-XTS key must differ");
  auto contexts = std::make_unique<Contexts>();
  contexts->encrypt = TRY(make_context(key, 1));
  contexts->decrypt = TRY(make_context(key, 0));
  return AesXts(std::move(contexts));
}

Result<void> AesXts::encrypt(std::uint64_t first_sector, std::size_t sector_bytes, ByteView in,
                             MutableByteView out) {
  return run(contexts_->encrypt.get(), first_sector, sector_bytes, in, out);
}

Result<void> AesXts::decrypt(std::uint64_t first_sector, std::size_t sector_bytes, ByteView in,
                             MutableByteView out) {
  return run(contexts_->decrypt.get(), first_sector, sector_bytes, in, out);
}

}  // namespace keyward::crypto
