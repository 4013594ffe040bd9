#include "store/entry_cipher.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "crypto/kdf.h"
#include "crypto/nonces.h"

namespace keyward::store {
namespace {

constexpr std::byte kFormat{1};
constexpr std::byte kAes256Gcm{1};
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kDigestAt = 12;
constexpr std::size_t kNonceAt = 28;
constexpr std::size_t kCiphertextAt = 40;
constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kDigestBytes = kNonceAt - kDigestAt;
static_assert(kCiphertextAt + kTagBytes == kBlobOverhead);

using NameDigest = std::array<std::byte, kDigestBytes>;

NameDigest digest_of(const EntryName& name) {
  const crypto::Sha256Digest whole = crypto::sha256(as_bytes(name.text()));
  NameDigest digest;
  std::copy_n(whole.begin(), digest.size(), digest.begin());
  return digest;
}

void write_header(std::byte* blob, std::uint64_t version, const NameDigest& digest) {
  blob[0] = kFormat;
  blob[1] = kAes256Gcm;
  blob[2] = blob[3] = std::byte{0};
  for (std::size_t i = 0; i < 8; ++i)
    blob[kVersionAt + i] = static_cast<std::byte>(version >> (56 - 8 * i));
  std::memcpy(blob + kDigestAt, digest.data(), digest.size());
}

std::uint64_t version_in(ByteView blob) {
  std::uint64_t version = 0;
  for (std::size_t i = 0; i < 8; ++i)
    version = version << 8 | std::to_integer<std::uint64_t>(blob[kVersionAt + i]);
  return version;
}

Result<void> check_format(ByteView blob) {
  if (blob.size() <= kBlobOverhead || blob.size() > kSecretBytesMax + kBlobOverhead) {
    return fail(ErrorCode::corrupt,
                fmt::format("the format does not fit: {} bytes are no blob", blob.size()));
  }
  const bool zeros = blob[2] == std::byte{0} && blob[3] == std::byte{0};
  if (blob[0] == kFormat && blob[1] == kAes256Gcm && zeros) return {};
  return fail(ErrorCode::corrupt,
              fmt::format("the format does not fit: it says format {}, algorithm {}; known is "
                          "format 1, algorithm 1",
                          std::to_integer<int>(blob[0]), std::to_integer<int>(blob[1])));
}

// Format, algorithm, version, digest of the name, key id, domain: all but the last have a fixed
// size, so no two differ in meaning and agree in bytes.
class Aad final {
 public:
  Aad(const Domain& domain, const KeyId& key) : size_(kDomainAt + domain.text().size()) {
    bytes_[0] = kFormat;
    bytes_[1] = kAes256Gcm;
    std::ranges::copy(key.bytes, bytes_.begin() + kKeyAt);
    std::ranges::copy(as_bytes(domain.text()), bytes_.begin() + kDomainAt);
  }

  ByteView of(ByteView blob) {
    std::memcpy(bytes_.data() + kEntryAt, blob.data() + kVersionAt, kNonceAt - kVersionAt);
    return {bytes_.data(), size_};
  }

 private:
  static constexpr std::size_t kEntryAt = 2;
  static constexpr std::size_t kKeyAt = kEntryAt + 8 + kDigestBytes;
  static constexpr std::size_t kDomainAt = kKeyAt + 16;
  static constexpr std::size_t kDomainBytesMax = 32;
  std::array<std::byte, kDomainAt + kDomainBytesMax> bytes_{};
  std::size_t size_;
};

crypto::AeadNonce nonce_in(ByteView blob) {
  crypto::AeadNonce nonce;
  std::memcpy(nonce.data(), blob.data() + kNonceAt, nonce.size());
  return nonce;
}

crypto::AeadTag tag_in(ByteView blob) {
  crypto::AeadTag tag;
  std::memcpy(tag.data(), blob.data() + blob.size() - kTagBytes, tag.size());
  return tag;
}

// Fills in all that comes after the header.
void seal_blob(const crypto::Aead& aead, Aad& aad, const crypto::AeadNonce& nonce,
               ByteView plaintext, MutableByteView blob) {
  std::memcpy(blob.data() + kNonceAt, nonce.data(), nonce.size());
  crypto::AeadTag tag;
  aead.encrypt(nonce, aad.of(blob), plaintext, blob.subspan(kCiphertextAt, plaintext.size()), tag);
  std::memcpy(blob.data() + blob.size() - kTagBytes, tag.data(), tag.size());
}

Result<void> open_blob(const crypto::Aead& aead, Aad& aad, ByteView blob,
                       MutableByteView plaintext) {
  const ByteView ciphertext = blob.subspan(kCiphertextAt, blob.size() - kBlobOverhead);
  Result<void> opened =
      aead.decrypt(nonce_in(blob), aad.of(blob), ciphertext, tag_in(blob), plaintext);
  if (opened) return {};
  return fail(ErrorCode::corrupt, "the tag does not fit: the entry was altered or moved");
}

Result<void> check_key(const EntryName& name, const KeyId& key, const KeyId& expected) {
  if (key == expected) return {};
  return fail(ErrorCode::conflict,
              fmt::format("entry \"{}\" is under key {}, not under {}", printable(name.text()),
                          key.to_text(), expected.to_text()));
}

// What can be told without the key.
Result<void> check_header(const EntryName& name, std::uint64_t version, ByteView blob) {
  TRY(check_format(blob));
  if (version_in(blob) != version)
    return fail(ErrorCode::corrupt, "the version does not fit: its row was altered");
  const NameDigest digest = digest_of(name);
  if (std::memcmp(digest.data(), blob.data() + kDigestAt, digest.size()) == 0) return {};
  return fail(ErrorCode::corrupt,
              "the name does not fit: the entry was renamed or swapped with another");
}

// Locked memory for at least `size` bytes, kept from one entry to the next.
class Scratch final {
 public:
  Result<MutableByteView> of(std::size_t size) {
    if (!bytes_ || bytes_->size() < size) {
      bytes_.reset();
      bytes_.emplace(TRY(SecretBytes::allocate(std::max<std::size_t>(2048, std::bit_ceil(size)))));
    }
    return bytes_->reveal_mutable().first(size);
  }

 private:
  std::optional<SecretBytes> bytes_;
};

Error corrupt_entry(const EntryName& name, const Error& error) {
  return with_context(error,
                      fmt::format("entry \"{}\" cannot be decrypted", printable(name.text())));
}

}  // namespace

EntryCipher::EntryCipher(Domain domain, KeyId key, std::unique_ptr<crypto::Aead> aead)
    : domain_(std::move(domain)), key_(key), aead_(std::move(aead)) {}

EntryCipher::~EntryCipher() = default;

Result<SealedEntry> EntryCipher::encrypt(const EntryName& name, std::uint64_t version,
                                         const SecretBytes& secret) {
  if (secret.size() == 0 || secret.size() > kSecretBytesMax) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("entry \"{}\" has {} bytes; a secret has 1 to {}",
                            printable(name.text()), secret.size(), kSecretBytesMax));
  }
  SealedEntry entry{key_, version, Bytes(secret.size() + kBlobOverhead)};
  write_header(entry.blob.data(), version, digest_of(name));
  Aad aad(domain_, key_);
  ++encryptions_;
  seal_blob(*aead_, aad, crypto::random_nonce(), secret.reveal(), entry.blob);
  return entry;
}

Result<SecretBytes> EntryCipher::decrypt(const EntryName& name, const SealedEntry& entry) const {
  TRY(check_key(name, entry.key, key_));
  const ByteView blob = entry.blob;
  if (Result<void> header = check_header(name, entry.version, blob); !header)
    return std::unexpected(corrupt_entry(name, header.error()));
  SecretBytes secret = TRY(SecretBytes::allocate(blob.size() - kBlobOverhead));
  Aad aad(domain_, key_);
  if (Result<void> opened = open_blob(*aead_, aad, blob, secret.reveal_mutable()); !opened)
    return std::unexpected(corrupt_entry(name, opened.error()));
  return secret;
}

// Decrypts under one key, encrypts under the other, and decrypts what it made to compare.
class EntryReencryptor final : public Reencryptor {
 public:
  EntryReencryptor(const EntryCipher& from, EntryCipher& to)
      : from_(from), to_(to), old_aad_(from.domain_, from.key_), new_aad_(to.domain_, to.key_) {}

  void begin_batch() override { nonces_.emplace(); }

  Result<void> reencrypt(ByteView old_blob, MutableByteView new_blob) override {
    TRY(check_format(old_blob));
    if (new_blob.size() != old_blob.size()) {
      return fail(ErrorCode::invalid_argument,
                  "re-encryption keeps the size of a blob; the store gave room for another");
    }
    const std::size_t size = old_blob.size() - kBlobOverhead;
    const MutableByteView scratch = TRY(scratch_.of(2 * size));
    const MutableByteView plaintext = scratch.first(size);
    const MutableByteView proof = scratch.last(size);
    TRY(open_blob(*from_.aead_, old_aad_, old_blob, plaintext));
    std::memcpy(new_blob.data(), old_blob.data(), kNonceAt);
    ++to_.encryptions_;
    seal_blob(*to_.aead_, new_aad_, nonces_->next(), plaintext, new_blob);
    const Result<void> proved = open_blob(*to_.aead_, new_aad_, new_blob, proof);
    // Not in constant time, which would cost more than the encryption: it tells nobody anything, as
    // both are ours and differ only when the machine is broken.
    if (proved && std::memcmp(plaintext.data(), proof.data(), size) == 0) return {};
    return fail(ErrorCode::corrupt,
                "what was encrypted under the new key does not decrypt to the same secret; nothing "
                "was changed. Suspect the processor or the memory of this machine");
  }

 private:
  const EntryCipher& from_;
  EntryCipher& to_;
  Aad old_aad_;
  Aad new_aad_;
  std::optional<crypto::NonceBatch> nonces_{std::in_place};
  Scratch scratch_;
};

// ---- EntryVerifier ----

class EntryVerifier::Impl {
 public:
  explicit Impl(const EntryCipher& cipher) : cipher_(cipher), aad_(cipher.domain_, cipher.key_) {}

  Result<void> verify(const EntryInfo& info, ByteView blob) {
    TRY(check_key(info.name, info.key, cipher_.key_));
    Result<void> done = check_header(info.name, info.version, blob);
    if (done) {
      const MutableByteView plaintext = TRY(scratch_.of(blob.size() - kBlobOverhead));
      done = open_blob(*cipher_.aead_, aad_, blob, plaintext);
    }
    if (done) return {};
    return std::unexpected(corrupt_entry(info.name, done.error()));
  }

 private:
  const EntryCipher& cipher_;
  Aad aad_;
  Scratch scratch_;
};

EntryVerifier::EntryVerifier(const EntryCipher& cipher) : impl_(std::make_unique<Impl>(cipher)) {}
EntryVerifier::~EntryVerifier() = default;
Result<void> EntryVerifier::verify(const EntryInfo& info, ByteView blob) {
  return impl_->verify(info, blob);
}

std::unique_ptr<Reencryptor> make_reencryptor(const EntryCipher& from, EntryCipher& to) {
  return std::make_unique<EntryReencryptor>(from, to);
}

}  // namespace keyward::store
