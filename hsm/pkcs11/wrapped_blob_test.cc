#include "hsm/pkcs11/wrapped_blob.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hsm/pkcs11/cryptoki_error.h"
#include "hsm/pkcs11/object_label.h"
#include "hsm/pkcs11/result_matchers.h"

namespace keyward::hsm::pkcs11 {
namespace {

using ::testing::StartsWith;

KeyContext a_context() { return {StoreId::random(), Domain::parse("S3").value(), KeyId::random()}; }

WrappedBlob a_blob(Mechanism mechanism) {
  WrappedBlob blob;
  blob.mechanism = mechanism;
  crypto::random_fill(blob.id);
  blob.context_digest = digest_context(a_context());
  if (mechanism == Mechanism::aes_gcm) crypto::random_fill(blob.nonce);
  blob.ciphertext.resize(blob.ciphertext_bytes());
  crypto::random_fill(blob.ciphertext);
  return blob;
}

// Body with a digest that matches, as somebody who tampers would write it.
Bytes with_digest(Bytes body) {
  const crypto::Sha256Digest digest = crypto::sha256(body);
  body.insert(body.end(), digest.begin(), digest.end());
  return body;
}

Bytes body_of(const WrappedBlob& blob) {
  const Bytes bytes = blob.render();
  return {bytes.begin(), bytes.end() - 32};
}

TEST(WrappedBlobTest, ParsesWhatItRenders) {
  for (const Mechanism mechanism : {Mechanism::aes_gcm, Mechanism::key_wrap}) {
    const WrappedBlob blob = a_blob(mechanism);
    const auto parsed = WrappedBlob::parse(blob.render());
    ASSERT_THAT(parsed, Succeeds());
    EXPECT_EQ(parsed->mechanism, blob.mechanism);
    EXPECT_EQ(parsed->id, blob.id);
    EXPECT_EQ(parsed->context_digest, blob.context_digest);
    EXPECT_EQ(parsed->nonce, blob.nonce);
    EXPECT_EQ(parsed->ciphertext, blob.ciphertext);
  }
}

TEST(WrappedBlobTest, AnyChangedByteIsCorrupt) {
  const Bytes good = a_blob(Mechanism::aes_gcm).render();
  for (std::size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] ^= std::byte{1};
    EXPECT_THAT(WrappedBlob::parse(bad), FailsWith(ErrorCode::corrupt)) << at;
  }
}

TEST(WrappedBlobTest, AnyOtherLengthIsCorruptEvenWithAMatchingDigest) {
  for (const Mechanism mechanism : {Mechanism::aes_gcm, Mechanism::key_wrap}) {
    const Bytes body = body_of(a_blob(mechanism));
    for (std::size_t size = 0; size < body.size() + 3; ++size) {
      if (size == body.size()) continue;
      Bytes other = body;
      other.resize(size);
      EXPECT_THAT(WrappedBlob::parse(with_digest(other)), FailsWith(ErrorCode::corrupt)) << size;
      EXPECT_THAT(WrappedBlob::parse(other), FailsWith(ErrorCode::corrupt)) << size;
    }
  }
}

TEST(WrappedBlobTest, UnknownHeadsAreCorrupt) {
  const Bytes body = body_of(a_blob(Mechanism::aes_gcm));
  for (const auto& [at, value] : std::vector<std::pair<std::size_t, int>>{
           {0, 0}, {0, 2}, {1, 0}, {1, 3}, {1, 2}, {2, 1}, {3, 1}}) {
    Bytes other = body;
    other[at] = static_cast<std::byte>(value);
    EXPECT_THAT(WrappedBlob::parse(with_digest(other)), FailsWith(ErrorCode::corrupt)) << at;
  }
}

TEST(WrappedBlobTest, DigestDiffersForEveryPartOfTheContext) {
  const KeyContext context = a_context();
  KeyContext other_store = context;
  other_store.store = StoreId::random();
  KeyContext other_domain = context;
  other_domain.domain = Domain::parse("S3A").value();
  KeyContext other_key = context;
  other_key.key = KeyId::random();
  for (const KeyContext& other : {other_store, other_domain, other_key})
    EXPECT_NE(digest_context(context), digest_context(other));
}

TEST(ObjectLabelTest, ParsesWhatItWrites) {
  for (const bool confirmed : {false, true}) {
    const ObjectLabel label{a_context(), confirmed};
    const auto parsed = ObjectLabel::parse(label.to_text());
    ASSERT_TRUE(parsed.has_value());
    EXPECT_EQ(parsed->context, label.context);
    EXPECT_EQ(parsed->confirmed, confirmed);
  }
}

TEST(ObjectLabelTest, LabelsOfOthersAreNotOurs) {
  const std::string good = ObjectLabel{a_context(), true}.to_text();
  EXPECT_FALSE(ObjectLabel::parse(""));
  EXPECT_FALSE(ObjectLabel::parse("my key"));
  EXPECT_FALSE(ObjectLabel::parse(good + " x"));
  EXPECT_FALSE(ObjectLabel::parse(good.substr(1)));
  EXPECT_FALSE(ObjectLabel::parse(good.substr(0, good.size() - 1)));
  std::string lower = good;
  lower.replace(lower.find(" S3 "), 4, " s3 ");
  EXPECT_FALSE(ObjectLabel::parse(lower));
}

TEST(CryptokiErrorTest, TellsCallersAndPeopleWhatItMeans) {
  const Error error = cryptoki_error("C_Login", 0xa4);
  EXPECT_EQ(error.code, ErrorCode::locked_out);
  EXPECT_EQ(error.native, 0xa4u);
  EXPECT_THAT(error.message, StartsWith("C_Login: CKR_PIN_LOCKED: "));
  EXPECT_THAT(cryptoki_error("C_Login", 0x80000123).message, StartsWith("C_Login: CKR_0x80000123"));
}

TEST(CryptokiErrorTest, RefusedCredentialsAreNeverRetryable) {
  for (const std::uint64_t rv : {0xa0, 0xa1, 0xa2, 0xa3, 0xa4}) {
    EXPECT_FALSE(is_retryable(cryptoki_error("C_Login", rv).code)) << rv;
    EXPECT_FALSE(is_session_error(rv) || is_ambiguous(rv)) << rv;
  }
}

TEST(CryptokiErrorTest, KnowsItsFunctionsByName) {
  const std::string name = "C_WrapKey";
  EXPECT_EQ(cryptoki_function(name), "C_WrapKey");
  EXPECT_NE(cryptoki_function(name).data(), name.data());
  EXPECT_EQ(cryptoki_function("C_Nothing"), "");
}

}  // namespace
}  // namespace keyward::hsm::pkcs11
