#include "hsm/passphrase/passphrase_blob.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace keyward::hsm {
namespace {

constexpr std::byte kFormat{1};
constexpr std::size_t kDigestBytes = 16;
constexpr std::size_t kBlobBytes = 4 + sizeof(PassphraseSalt) + sizeof(crypto::Sha256Digest) +
                                   sizeof(crypto::AeadNonce) + kSealedKeyBytes +
                                   sizeof(crypto::AeadTag) + kDigestBytes;

void append(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

template <typename Array>
void take(ByteView& in, Array& out) {
  std::ranges::copy(in.first(out.size()), out.begin());
  in = in.subspan(out.size());
}

ByteView digest_of(const crypto::Sha256Digest& digest) {
  return ByteView(digest).first(kDigestBytes);
}

}  // namespace

bool is_within_limits(const crypto::ScryptCost& cost) {
  return std::has_single_bit(cost.n) && cost.n >= kScryptFloor.n && cost.n <= kScryptCeiling.n &&
         cost.r >= kScryptFloor.r && cost.r <= kScryptCeiling.r && cost.p >= kScryptFloor.p &&
         cost.p <= kScryptCeiling.p && 128 * cost.n * cost.r <= kScryptMemoryMax;
}

std::string_view scrypt_limits_text() {
  return "n a power of two from 16384 to 1048576, r 8 to 16, p 1 to 4, at most 1 GiB of memory";
}

Result<PassphraseBlob> PassphraseBlob::parse(ByteView bytes) {
  if (bytes.size() != kBlobBytes)
    return fail(ErrorCode::corrupt,
                fmt::format("the copy sealed by a passphrase has {} bytes instead of {}",
                            bytes.size(), kBlobBytes));
  const crypto::Sha256Digest digest = crypto::sha256(bytes.first(kBlobBytes - kDigestBytes));
  if (!std::ranges::equal(digest_of(digest), bytes.last(kDigestBytes)))
    return fail(ErrorCode::corrupt, "the copy sealed by a passphrase was changed or is damaged");
  if (bytes[0] != kFormat)
    return fail(ErrorCode::unsupported,
                fmt::format("the copy sealed by a passphrase has format {}, this version knows 1",
                            std::to_integer<int>(bytes[0])));
  PassphraseBlob blob;
  const unsigned log2_n = std::to_integer<unsigned>(bytes[1]);
  blob.cost = {log2_n < 64 ? std::uint64_t{1} << log2_n : 0,
               std::to_integer<std::uint32_t>(bytes[2]), std::to_integer<std::uint32_t>(bytes[3])};
  if (!is_within_limits(blob.cost))
    return fail(ErrorCode::corrupt,
                fmt::format("the copy sealed by a passphrase asks for scrypt n=2^{} r={} p={}, "
                            "outside the limits: {}",
                            log2_n, blob.cost.r, blob.cost.p, scrypt_limits_text()));
  ByteView rest = bytes.subspan(4);
  take(rest, blob.salt);
  take(rest, blob.commitment);
  take(rest, blob.nonce);
  take(rest, blob.ciphertext);
  take(rest, blob.tag);
  return blob;
}

Bytes PassphraseBlob::render_cost() const {
  Bytes bytes{kFormat, static_cast<std::byte>(std::countr_zero(cost.n)),
              static_cast<std::byte>(cost.r), static_cast<std::byte>(cost.p)};
  append(bytes, salt);
  return bytes;
}

Bytes PassphraseBlob::render_head() const {
  Bytes bytes = render_cost();
  append(bytes, commitment);
  return bytes;
}

Bytes PassphraseBlob::render() const {
  Bytes bytes = render_head();
  append(bytes, nonce);
  append(bytes, ciphertext);
  append(bytes, tag);
  const crypto::Sha256Digest digest = crypto::sha256(bytes);
  append(bytes, digest_of(digest));
  return bytes;
}

}  // namespace keyward::hsm
