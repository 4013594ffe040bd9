#include "store/entry_cipher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "crypto/key_schedule.h"
#include "crypto/nonces.h"
#include "store/key_table_test_support.h"

namespace keyward::store {
namespace {

using key_table_testing::domain_named;
using key_table_testing::kNew;
using key_table_testing::kOld;
using key_table_testing::must;
using ::testing::HasSubstr;
using ::testing::Not;

SecretBytes secret_of(std::string text) {
  return must(SecretBytes::take_from(std::as_writable_bytes(std::span(text))));
}
std::string text_of(const SecretBytes& secret) {
  const ByteView bytes = secret.reveal();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
EntryName name_of(std::string_view text) { return must(EntryName::parse(text)); }

std::unique_ptr<crypto::Aead> aead_of(char fill, std::string_view engine = "auto") {
  return must(
      must(crypto::choose_aead_engine(engine)).get().open(secret_of(std::string(32, fill))));
}

MATCHER_P2(FailsNaming, code, text, "") {
  if (arg.has_value()) return false;
  *result_listener << error_code_name(arg.error().code) << ": " << arg.error().message;
  return arg.error().code == code && arg.error().message.find(text) != std::string::npos;
}

class EntryCipherTest : public ::testing::Test {
 protected:
  SealedEntry sealed(std::string_view name = "a", std::uint64_t version = 3,
                     std::string text = "hunter2 hunter2") {
    return must(cipher_.encrypt(name_of(name), version, secret_of(std::move(text))));
  }
  Result<void> reencrypt(const SealedEntry& entry, Bytes& out) {
    return make_reencryptor(cipher_, next_)->reencrypt(entry.blob, out);
  }
  EntryCipher cipher_{domain_named("S3"), kOld, aead_of('k')};
  EntryCipher next_{domain_named("S3"), kNew, aead_of('n')};
};

TEST_F(EntryCipherTest, WhatIsEncryptedDecryptsForEverySizeAndCounts) {
  for (std::size_t size : {std::size_t{1}, std::size_t{16}, std::size_t{4096}, kSecretBytesMax}) {
    const SealedEntry entry = sealed("a", 1, std::string(size, 's'));
    EXPECT_EQ(entry.blob.size(), size + 56);
    EXPECT_EQ(text_of(must(cipher_.decrypt(name_of("a"), entry))), std::string(size, 's'));
  }
  EXPECT_EQ(cipher_.encryptions(), 4u);
}

TEST_F(EntryCipherTest, EmptyAndTooLongSecretsAreRefusedAndNotCounted) {
  EXPECT_THAT(cipher_.encrypt(name_of("a"), 1, must(SecretBytes::allocate(0))),
              FailsNaming(ErrorCode::invalid_argument, "\"a\""));
  EXPECT_THAT(cipher_.encrypt(name_of("a"), 1, must(SecretBytes::allocate(kSecretBytesMax + 1))),
              FailsNaming(ErrorCode::invalid_argument, "1048577"));
  EXPECT_EQ(cipher_.encryptions(), 0u);
}

TEST_F(EntryCipherTest, TheBlobsLayoutIsTheOneThatStoresHold) {
  const SealedEntry entry = sealed("a", 0x0102030405060708);
  const Bytes header(entry.blob.begin(), entry.blob.begin() + 12);
  const Bytes expected = {std::byte{1}, std::byte{1}, std::byte{0}, std::byte{0},
                          std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4},
                          std::byte{5}, std::byte{6}, std::byte{7}, std::byte{8}};
  EXPECT_EQ(header, expected);
  // SHA-256("a") begins with ca978112 ca1bbdca fac231b3 9a23dc4d.
  EXPECT_EQ(entry.blob[12], std::byte{0xca});
  EXPECT_EQ(entry.blob[27], std::byte{0x4d});
}

TEST_F(EntryCipherTest, BothEnginesReadEachOthersBlobs) {
  EntryCipher portable(domain_named("S3"), kOld, aead_of('k', "openssl"));
  EXPECT_EQ(text_of(must(portable.decrypt(name_of("a"), sealed()))), "hunter2 hunter2");
}

TEST_F(EntryCipherTest, NoTwoBlobsShareANonce) {
  std::set<Bytes> nonces;
  for (int i = 0; i < 1000; ++i) {
    const SealedEntry entry = sealed();
    nonces.emplace(entry.blob.begin() + 28, entry.blob.begin() + 40);
  }
  EXPECT_EQ(nonces.size(), 1000u);
}

TEST_F(EntryCipherTest, EveryFlippedBitIsNoticedAndTheSecretIsNotShown) {
  const SealedEntry good = sealed();
  for (std::size_t bit = 0; bit < good.blob.size() * 8; ++bit) {
    SealedEntry bad = good;
    bad.blob[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    const Result<SecretBytes> read = cipher_.decrypt(name_of("a"), bad);
    ASSERT_THAT(read, FailsNaming(ErrorCode::corrupt, "entry \"a\"")) << "bit " << bit;
    EXPECT_THAT(read.error().message, Not(HasSubstr("hunter2")));
  }
}

TEST_F(EntryCipherTest, EveryCutIsNoticed) {
  const SealedEntry good = sealed();
  for (std::size_t size = 0; size < good.blob.size(); ++size) {
    SealedEntry bad = good;
    bad.blob.resize(size);
    EXPECT_THAT(cipher_.decrypt(name_of("a"), bad), FailsNaming(ErrorCode::corrupt, "\"a\""));
  }
}

TEST_F(EntryCipherTest, TheVerifierFindsWhateverDecryptWouldFind) {
  EntryVerifier verifier(cipher_);
  const auto agree = [&](std::string_view name, const SealedEntry& entry) {
    const Result<SecretBytes> read = cipher_.decrypt(name_of(name), entry);
    const Result<void> verified =
        verifier.verify({name_of(name), entry.key, entry.version, entry.blob.size()}, entry.blob);
    ASSERT_EQ(verified.has_value(), read.has_value());
    if (read) return;
    EXPECT_EQ(verified.error().code, read.error().code);
    EXPECT_EQ(verified.error().message, read.error().message);
  };
  const SealedEntry good = sealed();
  agree("a", good);
  agree("a", sealed("a", 3, std::string(5000, 's')));
  agree("b", good);
  agree("a", {kNew, good.version, good.blob});
  agree("a", {kOld, good.version + 1, good.blob});
  for (std::size_t bit = 0; bit < good.blob.size() * 8; ++bit) {
    SealedEntry bad = good;
    bad.blob[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    agree("a", bad);
    bad.blob.resize(bit / 8);
    agree("a", bad);
  }
  EXPECT_TRUE(verifier.verify({name_of("a"), kOld, 3, good.blob.size()}, good.blob).has_value());
}

TEST_F(EntryCipherTest, TheErrorSaysWhatDidNotFit) {
  SealedEntry entry = sealed();
  EXPECT_THAT(cipher_.decrypt(name_of("b"), entry), FailsNaming(ErrorCode::corrupt, "name"));
  entry.version = 4;
  EXPECT_THAT(cipher_.decrypt(name_of("a"), entry), FailsNaming(ErrorCode::corrupt, "version"));
  entry.blob[11] = std::byte{4};
  EXPECT_THAT(cipher_.decrypt(name_of("a"), entry), FailsNaming(ErrorCode::corrupt, "tag"));
  entry = sealed();
  entry.blob[0] = std::byte{2};
  EXPECT_THAT(cipher_.decrypt(name_of("a"), entry), FailsNaming(ErrorCode::corrupt, "format"));
  entry = sealed();
  entry.key = kNew;
  EXPECT_THAT(cipher_.decrypt(name_of("a"), entry),
              FailsNaming(ErrorCode::conflict, kNew.to_text()));
}

TEST_F(EntryCipherTest, ABlobOfAnotherDomainOrKeyIdDoesNotOpenUnderTheSameBytes) {
  const SealedEntry entry = sealed();
  EntryCipher other_domain(domain_named("S3X"), kOld, aead_of('k'));
  EXPECT_THAT(other_domain.decrypt(name_of("a"), entry), FailsNaming(ErrorCode::corrupt, "tag"));
  EntryCipher other_key(domain_named("S3"), kNew, aead_of('k'));
  SealedEntry moved = entry;
  moved.key = kNew;
  EXPECT_THAT(other_key.decrypt(name_of("a"), moved), FailsNaming(ErrorCode::corrupt, "tag"));
}

TEST_F(EntryCipherTest, ReencryptionKeepsSecretNameVersionAndSizeAndCountsUnderTheNewKey) {
  for (std::size_t size : {std::size_t{1}, std::size_t{3000}, kSecretBytesMax, std::size_t{5}}) {
    const SealedEntry entry = sealed("a", 9, std::string(size, 's'));
    Bytes blob(entry.blob.size());
    must(reencrypt(entry, blob));
    EXPECT_NE(blob, entry.blob);
    const SecretBytes read = must(next_.decrypt(name_of("a"), {kNew, 9, blob}));
    EXPECT_EQ(text_of(read), std::string(size, 's'));
  }
  EXPECT_EQ(next_.encryptions(), 4u);
}

TEST_F(EntryCipherTest, ReencryptionRefusesDamageAndAnotherSize) {
  SealedEntry entry = sealed();
  Bytes blob(entry.blob.size());
  Bytes longer(entry.blob.size() + 1);
  EXPECT_THAT(reencrypt(entry, longer), FailsNaming(ErrorCode::invalid_argument, "size"));
  entry.blob.back() ^= std::byte{1};
  EXPECT_THAT(reencrypt(entry, blob), FailsNaming(ErrorCode::corrupt, "tag"));
  entry.blob.resize(20);
  blob.resize(20);
  EXPECT_THAT(reencrypt(entry, blob), FailsNaming(ErrorCode::corrupt, "format"));
}

TEST_F(EntryCipherTest, AReencryptorNeverUsesANonceTwiceOverItsBatches) {
  const SealedEntry entry = sealed();
  auto reencryptor = make_reencryptor(cipher_, next_);
  std::set<Bytes> nonces;
  Bytes blob(entry.blob.size());
  for (int i = 0; i < 3000; ++i) {
    if (i % 700 == 0) reencryptor->begin_batch();
    must(reencryptor->reencrypt(entry.blob, blob));
    nonces.emplace(blob.begin() + 28, blob.begin() + 40);
  }
  EXPECT_EQ(nonces.size(), 3000u);
}

// A processor that errs: what it encrypts does not decrypt to the same.
class WrongAead final : public crypto::Aead {
 public:
  explicit WrongAead(bool wrong_tag) : wrong_tag_(wrong_tag), good_(aead_of('n')) {}
  void encrypt(const crypto::AeadNonce& nonce, ByteView aad, ByteView plaintext,
               MutableByteView ciphertext, crypto::AeadTag& tag) const override {
    Bytes wrong(plaintext.begin(), plaintext.end());
    if (!wrong_tag_) wrong.front() ^= std::byte{1};
    good_->encrypt(nonce, aad, wrong, ciphertext, tag);
    if (wrong_tag_) tag[3] ^= std::byte{1};
  }
  Result<void> decrypt(const crypto::AeadNonce& nonce, ByteView aad, ByteView ciphertext,
                       const crypto::AeadTag& tag, MutableByteView plaintext) const override {
    return good_->decrypt(nonce, aad, ciphertext, tag, plaintext);
  }

 private:
  bool wrong_tag_;
  std::unique_ptr<crypto::Aead> good_;
};

TEST_F(EntryCipherTest, ReencryptionProvesWhatItMadeBeforeItCounts) {
  const SealedEntry entry = sealed();
  for (bool wrong_tag : {false, true}) {
    EntryCipher broken(domain_named("S3"), kNew, std::make_unique<WrongAead>(wrong_tag));
    Bytes blob(entry.blob.size());
    EXPECT_THAT(make_reencryptor(cipher_, broken)->reencrypt(entry.blob, blob),
                FailsNaming(ErrorCode::corrupt, "processor"));
  }
}

}  // namespace
}  // namespace keyward::store
