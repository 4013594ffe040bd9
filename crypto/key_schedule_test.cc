#include "crypto/key_schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/text.h"

namespace keyward::crypto {
namespace {

template <typename Id>
Id counting_id(int first) {
  Id id;
  for (int at = 0; at < 16; ++at)
    id.bytes[static_cast<std::size_t>(at)] = static_cast<std::byte>(first + at);
  return id;
}

SecretBytes counting_key() {
  SecretBytes key = SecretBytes::allocate(32).value();
  for (std::size_t at = 0; at < 32; ++at) key.reveal_mutable()[at] = static_cast<std::byte>(at);
  return key;
}

const Domain kDomain = Domain::parse("S3").value();
const KeyId kKey = counting_id<KeyId>(0);
const KeyContext kContext{counting_id<StoreId>(16), kDomain, kKey};
const std::vector<WantedCustodian> kWanted = {{{"pkcs11:hsm1"}, "serial 1"},
                                              {{"tpm2:board"}, "name 2"}};

// Computed with another implementation of HKDF and HMAC. A change here makes every keystore
// unreadable.
TEST(KeyScheduleTest, TheDerivationsAreWhatTheyWere) {
  EXPECT_EQ(to_hex(derive_entry_key(counting_key(), kDomain, kKey).value().reveal()),
            "ef3f9ae72c0df98ca85b1926234886382a040a1094e30b3475dfc1b6a13e26de");
  EXPECT_EQ(to_hex(commit_to_key(counting_key(), kDomain, kKey).value()),
            "7d2bc9ea93761195726697234b7d38148bc53e51e1a6a0713c0d6e8b096b5738");
  EXPECT_EQ(to_hex(authenticate_wanted(counting_key(), kContext, kWanted).value()),
            "9f57a75753395dd30dfd1a31595bb60e0d2e13b7cab4ae68f485322a739d8f9a");
}

TEST(KeyScheduleTest, AnotherDomainKeyOrMasterKeyGivesAnotherKey) {
  const Bytes original = [] {
    const SecretBytes key = derive_entry_key(counting_key(), kDomain, kKey).value();
    return Bytes(key.reveal().begin(), key.reveal().end());
  }();
  const auto differs = [&](const Result<SecretBytes>& other) {
    return !constant_time_equal(other.value().reveal(), original);
  };
  EXPECT_TRUE(differs(derive_entry_key(counting_key(), Domain::parse("S4").value(), kKey)));
  EXPECT_TRUE(differs(derive_entry_key(counting_key(), kDomain, counting_id<KeyId>(1))));
  SecretBytes other = counting_key();
  other.reveal_mutable()[31] ^= std::byte{1};
  EXPECT_TRUE(differs(derive_entry_key(other, kDomain, kKey)));
}

TEST(KeyScheduleTest, TheWantedMacDoesNotDependOnTheOrder) {
  const std::vector<WantedCustodian> reversed(kWanted.rbegin(), kWanted.rend());
  EXPECT_EQ(authenticate_wanted(counting_key(), kContext, reversed).value(),
            authenticate_wanted(counting_key(), kContext, kWanted).value());
}

TEST(KeyScheduleTest, AnyEditOfTheWantedListChangesItsMac) {
  const WantedMac original = authenticate_wanted(counting_key(), kContext, kWanted).value();
  const auto changed = [&](const KeyContext& context, std::vector<WantedCustodian> wanted) {
    return authenticate_wanted(counting_key(), context, wanted).value() != original;
  };
  EXPECT_TRUE(changed(kContext, {}));
  EXPECT_TRUE(changed(kContext, {kWanted[0]}));
  EXPECT_TRUE(changed(kContext, {kWanted[0], kWanted[1], kWanted[1]}));
  EXPECT_TRUE(changed(kContext, {kWanted[0], {{"tpm2:board"}, "name 3"}}));
  // The same bytes, cut elsewhere.
  EXPECT_TRUE(changed(kContext, {{{"pkcs11:hsm1s"}, "erial 1"}, kWanted[1]}));
  KeyContext other = kContext;
  other.store = counting_id<StoreId>(17);
  EXPECT_TRUE(changed(other, kWanted));
}

TEST(KeyScheduleTest, OnlyMasterKeysOf32BytesAreUsed) {
  for (const std::size_t size : {0u, 16u, 31u, 33u}) {
    const SecretBytes key = SecretBytes::random(size).value();
    EXPECT_EQ(derive_entry_key(key, kDomain, kKey).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(commit_to_key(key, kDomain, kKey).error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(authenticate_wanted(key, kContext, kWanted).error().code,
              ErrorCode::invalid_argument);
  }
}

TEST(KeyScheduleTest, AnIdentityOver65535BytesIsRefused) {
  const std::vector<WantedCustodian> wanted = {{{"pkcs11:a"}, std::string(65536, 'x')}};
  EXPECT_EQ(authenticate_wanted(counting_key(), kContext, wanted).error().code,
            ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace keyward::crypto
