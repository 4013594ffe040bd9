#include "crypto/kdf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/text.h"
#include "crypto/nonces.h"

namespace keyward::crypto {
namespace {

Bytes hex(std::string_view text) { return from_hex(text).value(); }
SecretBytes secret(std::string_view text) {
  Bytes bytes = hex(text);
  return SecretBytes::take_from(bytes).value();
}

// FIPS 180-4's examples.
TEST(Sha256Test, KnownAnswers) {
  EXPECT_EQ(to_hex(sha256(as_bytes("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256(ByteView{})),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256Test, PartsCountAsOneMessage) {
  const ByteView parts[] = {as_bytes("a"), {}, as_bytes("bc")};
  EXPECT_EQ(sha256(parts), sha256(as_bytes("abc")));
}

// RFC 4231, test cases 1, 2 and 6.
TEST(HmacSha256Test, KnownAnswers) {
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(20, std::byte{0x0b}), as_bytes("Hi There")).value()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")).value()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(to_hex(hmac_sha256(Bytes(131, std::byte{0xaa}),
                               as_bytes("Test Using Larger Than Block-Size Key - Hash Key First"))
                       .value()),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(HmacSha256Test, EmptyKeyAndMessageHaveTheirMac) {
  EXPECT_EQ(to_hex(hmac_sha256({}, {}).value()),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

// RFC 5869, A.1 and A.3.
TEST(HkdfSha256Test, KnownAnswers) {
  EXPECT_EQ(to_hex(hkdf_sha256(Bytes(22, std::byte{0x0b}), hex("000102030405060708090a0b0c"),
                               hex("f0f1f2f3f4f5f6f7f8f9"), 42)
                       .value()
                       .reveal()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  EXPECT_EQ(to_hex(hkdf_sha256(Bytes(22, std::byte{0x0b}), {}, {}, 42).value().reveal()),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

// RFC 7914, section 12: the second and the third vector.
TEST(ScryptTest, KnownAnswers) {
  EXPECT_EQ(
      to_hex(scrypt(as_bytes("password"), as_bytes("NaCl"), {1024, 8, 16}, 64).value().reveal()),
      "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
      "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640");
  EXPECT_EQ(to_hex(scrypt(as_bytes("pleaseletmein"), as_bytes("SodiumChloride"), {16384, 8, 1}, 64)
                       .value()
                       .reveal()),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
            "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887");
}

TEST(ScryptTest, CostsThatMakeNoSenseOrTakeAllMemoryAreRefused) {
  for (const ScryptCost& cost : {ScryptCost{0, 8, 1},
                                 {1, 8, 1},
                                 {1000, 8, 1},
                                 {1024, 0, 1},
                                 {1024, 8, 0},
                                 {1u << 25, 8, 1},
                                 {1u << 24, 64, 1},
                                 {1024, 65, 1},
                                 {1024, 8, 65},
                                 {std::uint64_t{1} << 63, 8, 1}}) {
    const auto key = scrypt(as_bytes("x"), as_bytes("y"), cost, 32);
    ASSERT_FALSE(key.has_value()) << cost.n;
    EXPECT_EQ(key.error().code, ErrorCode::invalid_argument) << cost.n;
  }
}

// RFC 8032, 7.1, tests 1 and 2.
TEST(Ed25519Test, KnownAnswers) {
  const SecretBytes one =
      secret("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
  EXPECT_EQ(to_hex(ed25519_public_key(one).value()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  EXPECT_EQ(to_hex(ed25519_sign(one, {}).value()),
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
            "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
  const SecretBytes two =
      secret("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
  EXPECT_EQ(to_hex(ed25519_sign(two, hex("72")).value()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e"
            "458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
}

TEST(Ed25519Test, OnlyTheSignedMessageUnderTheRightKeyVerifies) {
  const SecretBytes seed = SecretBytes::random(32).value();
  const Ed25519PublicKey key = ed25519_public_key(seed).value();
  Ed25519Signature signature = ed25519_sign(seed, as_bytes("head 7")).value();
  EXPECT_TRUE(ed25519_verify(key, as_bytes("head 7"), signature));
  EXPECT_FALSE(ed25519_verify(key, as_bytes("head 8"), signature));
  const SecretBytes other = SecretBytes::random(32).value();
  EXPECT_FALSE(ed25519_verify(ed25519_public_key(other).value(), as_bytes("head 7"), signature));
  signature[0] ^= std::byte{1};
  EXPECT_FALSE(ed25519_verify(key, as_bytes("head 7"), signature));
  EXPECT_FALSE(ed25519_verify(Ed25519PublicKey{}, as_bytes("head 7"), Ed25519Signature{}));
}

TEST(Ed25519Test, SeedsOfOtherSizesAreRefused) {
  const SecretBytes seed = SecretBytes::random(31).value();
  EXPECT_EQ(ed25519_public_key(seed).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(ed25519_sign(seed, {}).error().code, ErrorCode::invalid_argument);
}

TEST(NonceBatchTest, NoNonceComesTwiceAlsoOverSeveralDraws) {
  NonceBatch batch;
  std::set<AeadNonce> seen;
  const std::size_t count = 3 * NonceBatch::kDrawCount + 1;
  for (std::size_t n = 0; n < count; ++n) seen.insert(batch.next());
  for (int n = 0; n < 100; ++n) seen.insert(random_nonce());
  EXPECT_EQ(seen.size(), count + 100);
}

TEST(NonceBatchTest, BatchesShareNothing) {
  std::set<AeadNonce> seen;
  for (int batch = 0; batch < 1000; ++batch) {
    NonceBatch nonces;
    for (int n = 0; n < 20; ++n) seen.insert(nonces.next());
  }
  EXPECT_EQ(seen.size(), 1000u * 20u);
}

}  // namespace
}  // namespace keyward::crypto
