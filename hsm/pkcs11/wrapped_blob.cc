#include "hsm/pkcs11/wrapped_blob.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kHeadBytes = 4 + kObjectIdBytes + sizeof(crypto::Sha256Digest);
constexpr std::byte kFormat{1};

std::unexpected<Error> corrupt(std::string_view what) {
  return fail(ErrorCode::corrupt,
              std::string("the sealed copy is damaged: ") + std::string(what) +
                  ". Restore it from a backup, or open the key with another custodian");
}

void append(Bytes& bytes, ByteView part) { bytes.insert(bytes.end(), part.begin(), part.end()); }

template <std::size_t Size>
void take(ByteView& bytes, std::array<std::byte, Size>& part) {
  std::ranges::copy(bytes.first(Size), part.begin());
  bytes = bytes.subspan(Size);
}

}  // namespace

std::size_t WrappedBlob::ciphertext_bytes() const {
  return mechanism == Mechanism::aes_gcm ? kKeyBytes + kGcmTagBytes
                                         : kKeyBytes + context_digest.size() + kKeyWrapGrowthBytes;
}

Bytes WrappedBlob::render_head() const {
  Bytes head{kFormat, static_cast<std::byte>(mechanism), std::byte{0}, std::byte{0}};
  append(head, id);
  append(head, context_digest);
  return head;
}

Bytes WrappedBlob::render() const {
  Bytes bytes = render_head();
  if (mechanism == Mechanism::aes_gcm) append(bytes, nonce);
  append(bytes, ciphertext);
  append(bytes, crypto::sha256(bytes));
  return bytes;
}

Result<WrappedBlob> WrappedBlob::parse(ByteView bytes) {
  if (bytes.size() < kHeadBytes + sizeof(crypto::Sha256Digest)) return corrupt("it is too short");
  const ByteView body = bytes.first(bytes.size() - sizeof(crypto::Sha256Digest));
  if (!std::ranges::equal(crypto::sha256(body), bytes.subspan(body.size())))
    return corrupt("its digest does not match");
  if (body[0] != kFormat) return corrupt("its format is not known to this version");
  WrappedBlob blob;
  blob.mechanism = static_cast<Mechanism>(body[1]);
  if (blob.mechanism != Mechanism::aes_gcm && blob.mechanism != Mechanism::key_wrap)
    return corrupt("its mechanism is not known to this version");
  if (body[2] != std::byte{0} || body[3] != std::byte{0}) return corrupt("its head is not zero");
  ByteView rest = body.subspan(4);
  take(rest, blob.id);
  take(rest, blob.context_digest);
  if (blob.mechanism == Mechanism::aes_gcm) {
    if (rest.size() < blob.nonce.size()) return corrupt("it is too short");
    take(rest, blob.nonce);
  }
  if (rest.size() != blob.ciphertext_bytes()) return corrupt("its length is wrong");
  blob.ciphertext.assign(rest.begin(), rest.end());
  return blob;
}

crypto::Sha256Digest digest_context(const KeyContext& context) {
  const auto parts = std::to_array<ByteView>(
      {context.store.bytes, context.key.bytes, as_bytes(context.domain.text())});
  return crypto::sha256(parts);
}

}  // namespace keyward::hsm::pkcs11
