#include "hsm/tpm2/sealed_blob.h"

#include <algorithm>

#include "base/check.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::byte kFormat{1};
constexpr std::byte kNeedsPin{1};
constexpr std::size_t kDigestBytes = 32;
constexpr unsigned kPcrCount = 24;

void append(Bytes& out, ByteView bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

void append_number(Bytes& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) out.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void append_sized(Bytes& out, ByteView bytes) {
  CHECK(bytes.size() <= 0xffff, "a TPM structure is shorter than 64 KiB");
  append_number(out, bytes.size(), 2);
  append(out, bytes);
}

// Reads from the front; after the first read beyond the end everything reads as zero and ok() is
// false.
class Reader final {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {}

  ByteView take(std::size_t size) {
    if (size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const ByteView front = rest_.first(size);
    rest_ = rest_.subspan(size);
    return front;
  }
  std::uint32_t number(std::size_t bytes) {
    std::uint32_t value = 0;
    for (const std::byte byte : take(bytes))
      value = value << 8 | std::to_integer<std::uint32_t>(byte);
    return value;
  }
  Bytes sized() {
    const ByteView bytes = take(number(2));
    return {bytes.begin(), bytes.end()};
  }
  template <std::size_t Size>
  void fill(std::array<std::byte, Size>& out) {
    std::ranges::copy(take(Size), out.begin());
  }
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }

 private:
  ByteView rest_;
  bool ok_ = true;
};

PcrValues read_pcrs(Reader& reader, std::uint32_t mask) {
  PcrValues values;
  for (unsigned pcr = 0; pcr < kPcrCount && reader.ok(); ++pcr) {
    if ((mask >> pcr & 1u) == 0) continue;
    reader.fill(values.emplace_back(PcrValue{static_cast<std::uint8_t>(pcr), {}}).value);
  }
  return values;
}

std::unexpected<Error> damaged() {
  return fail(ErrorCode::corrupt,
              "this sealed copy is damaged, or was not made by a tpm2 custodian; use another "
              "custodian's copy of the key, or restore the keystore from a backup");
}

}  // namespace

Result<SealedBlob> SealedBlob::parse(ByteView bytes) {
  if (bytes.size() < kDigestBytes || bytes.front() != kFormat) return damaged();
  const ByteView body = bytes.first(bytes.size() - kDigestBytes);
  if (!std::ranges::equal(crypto::sha256(body), bytes.last(kDigestBytes))) return damaged();
  Reader reader(body.subspan(1));
  SealedBlob blob;
  const std::uint32_t flags = reader.number(1);
  const std::uint32_t mask = reader.number(4);
  if (flags > 1 || mask >> kPcrCount != 0) return damaged();
  blob.needs_pin = flags == 1;
  blob.place.index = reader.number(4);
  blob.place.slot = static_cast<std::uint16_t>(reader.number(2));
  reader.fill(blob.context_digest);
  blob.tpm_public = reader.sized();
  blob.tpm_private = reader.sized();
  blob.pcrs = read_pcrs(reader, mask);
  reader.fill(blob.nonce);
  reader.fill(blob.ciphertext);
  reader.fill(blob.tag);
  if (!reader.at_end()) return damaged();
  return blob;
}

Bytes SealedBlob::render_head() const {
  Bytes out = {kFormat, needs_pin ? kNeedsPin : std::byte{0}};
  append_number(out, pcr_mask(pcrs), 4);
  append_number(out, place.index, 4);
  append_number(out, place.slot, 2);
  append(out, context_digest);
  append_sized(out, tpm_public);
  append_sized(out, tpm_private);
  for (const PcrValue& value : pcrs) append(out, value.value);
  return out;
}

Bytes SealedBlob::render() const {
  Bytes out = render_head();
  append(out, nonce);
  append(out, ciphertext);
  append(out, tag);
  append(out, crypto::sha256(out));
  return out;
}

}  // namespace keyward::hsm::tpm2
