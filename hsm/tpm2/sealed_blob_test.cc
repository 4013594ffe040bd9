#include "hsm/tpm2/sealed_blob.h"

#include <gtest/gtest.h>

#include <random>

namespace keyward::hsm::tpm2 {
namespace {

SealedBlob sample() {
  SealedBlob blob;
  blob.needs_pin = true;
  blob.place = {0x01800102, 17};
  crypto::random_fill(blob.context_digest);
  blob.tpm_public = Bytes(78, std::byte{3});
  blob.tpm_private = Bytes(158, std::byte{4});
  blob.pcrs = {{7, {}}, {11, {}}};
  crypto::random_fill(blob.pcrs[1].value);
  crypto::random_fill(blob.nonce);
  crypto::random_fill(blob.ciphertext);
  crypto::random_fill(blob.tag);
  return blob;
}

TEST(SealedBlobTest, ReadsBackWhatItWrote) {
  const SealedBlob blob = sample();
  const SealedBlob again = SealedBlob::parse(blob.render()).value();
  EXPECT_EQ(again.needs_pin, blob.needs_pin);
  EXPECT_EQ(again.place, blob.place);
  EXPECT_EQ(again.context_digest, blob.context_digest);
  EXPECT_EQ(again.tpm_public, blob.tpm_public);
  EXPECT_EQ(again.tpm_private, blob.tpm_private);
  EXPECT_EQ(again.pcrs, blob.pcrs);
  EXPECT_EQ(again.nonce, blob.nonce);
  EXPECT_EQ(again.ciphertext, blob.ciphertext);
  EXPECT_EQ(again.tag, blob.tag);
  EXPECT_EQ(again.render(), blob.render());
}

TEST(SealedBlobTest, EveryChangedByteIsCorrupt) {
  const Bytes good = sample().render();
  for (std::size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= std::byte{0x20};
    const auto parsed = SealedBlob::parse(bad);
    ASSERT_FALSE(parsed.has_value()) << at;
    EXPECT_EQ(parsed.error().code, ErrorCode::corrupt);
  }
}

// Structure, not only the digest: whoever changes the bytes can repair that.
TEST(SealedBlobTest, CutAndMixedUpBytesAreCorruptEvenWithTheirDigestRepaired) {
  const Bytes good = sample().render();
  const Bytes body(good.begin(), good.end() - 32);
  const auto with_digest = [](Bytes bytes) {
    const crypto::Sha256Digest digest = crypto::sha256(bytes);
    bytes.insert(bytes.end(), digest.begin(), digest.end());
    return bytes;
  };
  ASSERT_TRUE(SealedBlob::parse(with_digest(body)).has_value());
  for (std::size_t size = 0; size < body.size(); ++size) {
    EXPECT_FALSE(SealedBlob::parse(
        with_digest({body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size)})))
        << size;
  }
  Bytes longer = body;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(SealedBlob::parse(with_digest(longer)).has_value());
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same bytes each time.
  for (int round = 0; round < 20000; ++round) {
    Bytes mixed = body;
    for (int change = 0; change < 3; ++change) {
      mixed[random() % 60] = static_cast<std::byte>(random());
    }
    const auto parsed = SealedBlob::parse(with_digest(mixed));
    if (parsed) {
      EXPECT_EQ(parsed->render(), with_digest(mixed));  // One form only.
    }
  }
}

TEST(PcrValuesTest, OnlyChangedPcrsAreNamed) {
  const PcrValues before = {{7, {}}, {11, {}}, {23, {}}};
  PcrValues now = before;
  EXPECT_EQ(describe_change(before, now), "");
  now[0].value[31] = std::byte{1};
  now[2].value[0] = std::byte{1};
  EXPECT_EQ(describe_change(before, now),
            "PCR 7 (Secure Boot state and keys), PCR 23 (application)");
  EXPECT_EQ(pcr_mask(before), (1u << 7) | (1u << 11) | (1u << 23));
  EXPECT_NE(pcr_digest(before), pcr_digest(now));
}

}  // namespace
}  // namespace keyward::hsm::tpm2
