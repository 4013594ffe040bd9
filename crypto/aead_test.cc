#include "crypto/aead.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "base/log.h"
#include "crypto/ipsec_mb_engine.h"
#include "crypto/kdf.h"
#include "crypto/known_answers.h"
#include "crypto/nonces.h"
#include "crypto/openssl_engine.h"

namespace keyward::crypto {
namespace {

Bytes random_bytes(std::size_t size) {
  Bytes bytes(size);
  random_fill(bytes);
  return bytes;
}

std::unique_ptr<Aead> open_random(const AeadEngine& engine) {
  return engine.open(SecretBytes::random(32).value()).value();
}

bool is_zero(ByteView bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

class AeadEngineTest : public testing::TestWithParam<const AeadEngine*> {};

TEST_P(AeadEngineTest, AnswersTheKnownAnswerTests) {
  const Result<void> checked = check_known_answers(*GetParam());
  EXPECT_TRUE(checked.has_value()) << checked.error().message;
}

TEST_P(AeadEngineTest, EverySizeRoundTripsAlsoInPlaceAndUnaligned) {
  const std::unique_ptr<Aead> aead = open_random(*GetParam());
  for (std::size_t size = 0; size < 1100; size += size < 300 ? 1 : 37) {
    const Bytes plaintext = random_bytes(size + 1);
    const ByteView input = ByteView(plaintext).subspan(1);
    const Bytes aad = random_bytes(size % 70);
    const AeadNonce nonce = random_nonce();
    Bytes buffer(size + 3);
    const MutableByteView output = MutableByteView(buffer).subspan(3);
    AeadTag tag{};
    aead->encrypt(nonce, aad, input, output, tag);
    ASSERT_TRUE(aead->decrypt(nonce, aad, output, tag, output).has_value()) << size;
    ASSERT_TRUE(std::ranges::equal(output, input)) << size;
  }
}

TEST_P(AeadEngineTest, AnyChangedInputIsCorruptAndLeavesZeros) {
  const std::unique_ptr<Aead> aead = open_random(*GetParam());
  const Bytes plaintext = random_bytes(300);
  const Bytes aad = random_bytes(61);
  const AeadNonce nonce = random_nonce();
  Bytes ciphertext(plaintext.size());
  AeadTag tag{};
  aead->encrypt(nonce, aad, plaintext, ciphertext, tag);

  const auto refused = [&](const AeadNonce& with_nonce, ByteView with_aad, ByteView with_ciphertext,
                           const AeadTag& with_tag) {
    Bytes opened(with_ciphertext.size(), std::byte{0xaa});
    const Result<void> outcome =
        aead->decrypt(with_nonce, with_aad, with_ciphertext, with_tag, opened);
    return !outcome.has_value() && outcome.error().code == ErrorCode::corrupt && is_zero(opened);
  };
  for (std::size_t at = 0; at < tag.size(); ++at) {
    AeadTag other = tag;
    other[at] ^= std::byte{0x80};
    EXPECT_TRUE(refused(nonce, aad, ciphertext, other)) << at;
  }
  for (std::size_t at = 0; at < nonce.size(); ++at) {
    AeadNonce other = nonce;
    other[at] ^= std::byte{1};
    EXPECT_TRUE(refused(other, aad, ciphertext, tag)) << at;
  }
  for (const std::size_t at : {0u, 15u, 16u, 255u, 299u}) {
    Bytes other = ciphertext;
    other[at] ^= std::byte{1};
    EXPECT_TRUE(refused(nonce, aad, other, tag)) << at;
  }
  Bytes other_aad = aad;
  other_aad[60] ^= std::byte{1};
  EXPECT_TRUE(refused(nonce, other_aad, ciphertext, tag));
  EXPECT_TRUE(refused(nonce, ByteView(aad).first(60), ciphertext, tag));
  EXPECT_TRUE(refused(nonce, aad, ByteView(ciphertext).first(299), tag));
  Bytes opened(300);
  EXPECT_TRUE(aead->decrypt(nonce, aad, ciphertext, tag, opened).has_value());
}

TEST_P(AeadEngineTest, AnotherKeyDoesNotOpenIt) {
  const std::unique_ptr<Aead> one = open_random(*GetParam());
  const std::unique_ptr<Aead> two = open_random(*GetParam());
  Bytes text = random_bytes(32);
  const AeadNonce nonce = random_nonce();
  AeadTag tag{};
  one->encrypt(nonce, {}, text, text, tag);
  EXPECT_FALSE(two->decrypt(nonce, {}, text, tag, text).has_value());
}

TEST_P(AeadEngineTest, KeysOfOtherSizesAreRefused) {
  for (const std::size_t size : {0u, 16u, 31u, 33u, 64u}) {
    const auto opened = GetParam()->open(SecretBytes::random(size).value());
    ASSERT_FALSE(opened.has_value()) << size;
    EXPECT_EQ(opened.error().code, ErrorCode::invalid_argument);
  }
}

TEST_P(AeadEngineTest, ManyThreadsShareOneKey) {
  const std::unique_ptr<Aead> aead = open_random(*GetParam());
  std::vector<std::jthread> threads;
  std::atomic<int> wrong = 0;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        const Bytes plaintext = random_bytes(static_cast<std::size_t>(round));
        const AeadNonce nonce = random_nonce();
        Bytes text = plaintext;
        AeadTag tag{};
        aead->encrypt(nonce, {}, text, text, tag);
        if (!aead->decrypt(nonce, {}, text, tag, text) || text != plaintext) ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

std::string test_name(const testing::TestParamInfo<const AeadEngine*>& info) {
  std::string name(info.param->name());
  std::ranges::replace_if(
      name, [](char letter) { return letter == '/' || letter == '-'; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Engines, AeadEngineTest, testing::ValuesIn(aead_engines()), test_name);

TEST(AeadEnginesTest, AllEnginesMakeTheSameCiphertextAndOpenEachOthers) {
  for (std::size_t size = 0; size < 5000; size += 131) {
    const SecretBytes key = SecretBytes::random(32).value();
    const Bytes plaintext = random_bytes(size);
    const Bytes aad = random_bytes(size % 50);
    const AeadNonce nonce = random_nonce();
    Bytes expected(size);
    AeadTag expected_tag{};
    OpensslEngine().open(key).value()->encrypt(nonce, aad, plaintext, expected, expected_tag);
    for (const AeadEngine* engine : aead_engines()) {
      const std::unique_ptr<Aead> aead = engine->open(key).value();
      Bytes made(size);
      AeadTag tag{};
      aead->encrypt(nonce, aad, plaintext, made, tag);
      EXPECT_EQ(made, expected) << engine->name() << " " << size;
      EXPECT_EQ(tag, expected_tag) << engine->name() << " " << size;
      EXPECT_TRUE(aead->decrypt(nonce, aad, expected, expected_tag, made).has_value());
    }
  }
}

// Passes everything on to OpenSSL, but is wrong once the text is longer than a vector register.
class WrongEngine final : public AeadEngine {
 public:
  std::string_view name() const override { return "wrong/test"; }
  Result<std::unique_ptr<Aead>> open(const SecretBytes& key) const override {
    return std::make_unique<WrongAead>(TRY(OpensslEngine().open(key)));
  }

 private:
  class WrongAead final : public Aead {
   public:
    explicit WrongAead(std::unique_ptr<Aead> right) : right_(std::move(right)) {}
    void encrypt(const AeadNonce& nonce, ByteView aad, ByteView plaintext,
                 MutableByteView ciphertext, AeadTag& tag) const override {
      right_->encrypt(nonce, aad, plaintext, ciphertext, tag);
      if (plaintext.size() > 64) tag[0] ^= std::byte{1};
    }
    Result<void> decrypt(const AeadNonce& nonce, ByteView aad, ByteView ciphertext,
                         const AeadTag& tag, MutableByteView plaintext) const override {
      return right_->decrypt(nonce, aad, ciphertext, tag, plaintext);
    }

   private:
    std::unique_ptr<Aead> right_;
  };
};

TEST(ChooseAeadEngineTest, AutoTakesTheNextEngineWhenTheFirstFailsItsTestsAndLogsIt) {
  std::string logged;
  set_log_sink([&](LogLevel, std::string_view text) { logged += text; });
  const WrongEngine wrong;
  const OpensslEngine right;
  const AeadEngine* const engines[] = {&wrong, &right};
  const auto chosen = choose_aead_engine("auto", engines);
  set_log_sink(nullptr);
  ASSERT_TRUE(chosen.has_value()) << chosen.error().message;
  EXPECT_EQ(chosen->get().name(), "openssl");
  EXPECT_NE(logged.find("wrong/test"), std::string::npos) << logged;
}

TEST(ChooseAeadEngineTest, ANamedEngineThatFailsItsTestsIsUnsupported) {
  const WrongEngine wrong;
  const OpensslEngine right;
  const AeadEngine* const engines[] = {&wrong, &right};
  EXPECT_EQ(choose_aead_engine("wrong", engines).error().code, ErrorCode::unsupported);
}

TEST(ChooseAeadEngineTest, NoWorkingEngineIsUnsupported) {
  set_log_sink([](LogLevel, std::string_view) {});
  const WrongEngine wrong;
  const AeadEngine* const engines[] = {&wrong};
  EXPECT_EQ(choose_aead_engine("auto", engines).error().code, ErrorCode::unsupported);
  set_log_sink(nullptr);
}

TEST(ChooseAeadEngineTest, UnknownNamesAreRefusedAndOpensslIsAlwaysThere) {
  EXPECT_EQ(choose_aead_engine("rot13").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(choose_aead_engine("").error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(choose_aead_engine("openssl").value().get().name(), "openssl");
  EXPECT_EQ(&choose_aead_engine("auto").value().get(), aead_engines().front());
}

TEST(ChooseAeadEngineTest, IpsecMbIsChosenByNameWhereItRunsAndUnsupportedElsewhere) {
  const auto chosen = choose_aead_engine("ipsec-mb");
  if (ipsec_mb_engine() != nullptr) {
    EXPECT_EQ(&chosen.value().get(), ipsec_mb_engine());
  } else {
    EXPECT_EQ(chosen.error().code, ErrorCode::unsupported);
  }
  const OpensslEngine openssl;
  const AeadEngine* const engines[] = {&openssl};
  EXPECT_EQ(choose_aead_engine("ipsec-mb", engines).error().code, ErrorCode::unsupported);
}

}  // namespace
}  // namespace keyward::crypto
