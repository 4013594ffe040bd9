#include "crypto/known_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/text.h"

namespace keyward::crypto {
namespace {

struct Vector {
  std::string_view name;
  std::string_view key;
  std::string_view nonce;
  std::string_view aad;
  std::string_view plaintext;
  std::string_view ciphertext;
  std::string_view tag;
};

constexpr std::string_view kZeroKey =
    "0000000000000000000000000000000000000000000000000000000000000000";
constexpr std::string_view kSpecKey =
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
constexpr std::string_view kSpecNonce = "cafebabefacedbaddecaf888";
constexpr std::string_view kSpecAad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
constexpr std::string_view kSpecPlaintext =
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
constexpr std::string_view kSpecCiphertext =
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";

// McGrew and Viega, "The Galois/Counter Mode of Operation" (the submission behind SP 800-38D), test
// cases 13 to 16; and the first vector of NIST CAVP's gcmEncryptExtIV256 with a 128-bit text and
// AAD.
constexpr std::array kVectors{
    Vector{"case 13", kZeroKey, "000000000000000000000000", "", "", "",
           "530f8afbc74536b9a963b4f1c4cb738b"},
    Vector{"case 14", kZeroKey, "000000000000000000000000", "", "00000000000000000000000000000000",
           "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
    Vector{"case 15", kSpecKey, kSpecNonce, "", kSpecPlaintext, kSpecCiphertext,
           "b094dac5d93471bdec1a502270e3cc6c"},
    Vector{"case 16", kSpecKey, kSpecNonce, kSpecAad, kSpecPlaintext.substr(0, 120),
           kSpecCiphertext.substr(0, 120), "76fc6ece0f4e1768cddf8853bb2d551b"},
    Vector{"CAVP", "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
           "ac93a1a6145299bde902f21a", "1e0889016f67601c8ebea4943bc23ad6",
           "2d71bcfa914e4ac045b2aa60955fad24", "8995ae2e6df3dbf96fac7b7137bae67f",
           "eca5aa77d51d4a0a14d9c51e1da474ab"},
};

// 4,099 bytes that count up to 250, under the specification's key: wide code has loops of 256 bytes
// and more that the short vectors do not reach. The tag covers the ciphertext.
constexpr std::size_t kLongBytes = 4099;
constexpr std::string_view kLongTag = "2349c9255eb119b0d791edf38cfd1114";

Bytes decode(std::string_view hex) {
  Result<Bytes> bytes = from_hex(hex);
  CHECK(bytes.has_value(), "a test vector is not hexadecimal");
  return *std::move(bytes);
}

template <typename Array>
Array decode_array(std::string_view hex) {
  const Bytes bytes = decode(hex);
  Array array{};
  CHECK(bytes.size() == array.size(), "a test vector has the wrong size");
  std::ranges::copy(bytes, array.begin());
  return array;
}

// Both directions, and a changed tag that must be refused with nothing left to read.
bool is_right(const Aead& aead, const AeadNonce& nonce, ByteView aad, const Bytes& plaintext,
              const Bytes* ciphertext, const AeadTag& tag) {
  Bytes made(plaintext.size());
  AeadTag made_tag{};
  aead.encrypt(nonce, aad, plaintext, made, made_tag);
  if (made_tag != tag || (ciphertext != nullptr && made != *ciphertext)) return false;

  Bytes opened(plaintext.size());
  if (!aead.decrypt(nonce, aad, made, tag, opened) || opened != plaintext) return false;

  made_tag[15] ^= std::byte{1};
  if (aead.decrypt(nonce, aad, made, made_tag, opened)) return false;
  return std::ranges::all_of(opened, [](std::byte byte) { return byte == std::byte{0}; });
}

Result<std::unique_ptr<Aead>> open_with(const AeadEngine& engine, std::string_view key_hex) {
  Bytes key = decode(key_hex);
  return engine.open(TRY(SecretBytes::take_from(key)));
}

bool long_is_right(const Aead& aead) {
  Bytes plaintext(kLongBytes);
  for (std::size_t at = 0; at < plaintext.size(); ++at)
    plaintext[at] = static_cast<std::byte>(at % 251);
  return is_right(aead, decode_array<AeadNonce>(kSpecNonce), decode(kSpecAad), plaintext, nullptr,
                  decode_array<AeadTag>(kLongTag));
}

std::unexpected<Error> wrong(const AeadEngine& engine, std::string_view vector) {
  return fail(ErrorCode::unsupported,
              fmt::format("the AES-256-GCM engine {} gives a wrong answer to the known-answer test "
                          "\"{}\" on this machine",
                          engine.name(), vector));
}

}  // namespace

Result<void> check_known_answers(const AeadEngine& engine) {
  for (const Vector& vector : kVectors) {
    const std::unique_ptr<Aead> aead = TRY(open_with(engine, vector.key));
    const Bytes ciphertext = decode(vector.ciphertext);
    if (!is_right(*aead, decode_array<AeadNonce>(vector.nonce), decode(vector.aad),
                  decode(vector.plaintext), &ciphertext, decode_array<AeadTag>(vector.tag)))
      return wrong(engine, vector.name);
  }
  const std::unique_ptr<Aead> aead = TRY(open_with(engine, kSpecKey));
  if (!long_is_right(*aead)) return wrong(engine, "4,099 bytes");
  return {};
}

}  // namespace keyward::crypto
