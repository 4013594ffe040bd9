// What every custodian must do, as tests that any of them can be put through.
//
//   TEST(Pkcs11CustodianTest, KeepsTheContract) {
//     SoftHsm token;
//     std::unique_ptr<Custodian> custodian = ...;
//     check_custodian_contract(*custodian);
//   }
//
// For test programs only (it includes GoogleTest). It makes and destroys keys under fresh contexts
// and leaves nothing behind. Whatever depends on hardware that forgets is checked only where
// destroys() says so.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "hsm/custodian.h"

namespace keyward::hsm {

inline KeyContext fresh_context(std::string_view domain = "S3") {
  return {StoreId::random(), Domain::parse(domain).value(), KeyId::random()};
}

namespace contract {

inline bool same_bytes(const SecretBytes& a, const SecretBytes& b) {
  return constant_time_equal(a.reveal(), b.reveal());
}

inline bool lists(Custodian& custodian, const KeyContext& context, bool confirmed) {
  const Result<std::vector<HeldObject>> held = custodian.list();
  EXPECT_TRUE(held.has_value()) << held.error().message;
  return held.has_value() && std::ranges::any_of(*held, [&](const HeldObject& object) {
           return object.context == context && object.confirmed == confirmed;
         });
}

template <typename T>
void expect_ok(const Result<T>& outcome, std::string_view what) {
  if (outcome.has_value()) return;
  ADD_FAILURE() << what << ": " << error_code_name(outcome.error().code) << ": "
                << outcome.error().message;
}

template <typename T>
void expect_fails(const Result<T>& outcome, std::vector<ErrorCode> allowed, std::string_view what) {
  if (outcome.has_value()) {
    ADD_FAILURE() << what << " succeeded";
  } else if (std::ranges::find(allowed, outcome.error().code) == allowed.end()) {
    ADD_FAILURE() << what << ": " << error_code_name(outcome.error().code) << ": "
                  << outcome.error().message;
  }
}

// Bytes that somebody changed, cut or mixed up never open, and are never taken for a lost network.
inline void refuses_damaged(Custodian& custodian, const SealedKey& copy,
                            const KeyContext& context) {
  std::vector<SealedKey> damaged;
  const std::size_t size = copy.blob.size();
  for (const std::size_t at : {std::size_t{0}, size / 3, size / 2, size * 3 / 4, size - 1}) {
    damaged.push_back(copy);
    damaged.back().blob[at] ^= std::byte{0x10};
  }
  for (const std::size_t kept : {std::size_t{0}, std::size_t{1}, size / 2, size - 1}) {
    damaged.push_back(copy);
    damaged.back().blob.resize(kept);
  }
  damaged.push_back(copy);
  damaged.back().blob.push_back(std::byte{0});
  for (const SealedKey& bad : damaged) {
    expect_fails(custodian.unseal(bad, context), {ErrorCode::corrupt, ErrorCode::not_found},
                 "unseal of a damaged blob");
  }
}

// Hardware that keeps one object per key finds nothing for another key: `not_found` is as good.
inline void refuses_other_contexts(Custodian& custodian, const SealedKey& copy,
                                   const KeyContext& context) {
  const std::vector<ErrorCode> allowed = {ErrorCode::corrupt, ErrorCode::not_found};
  KeyContext other_domain = context;
  other_domain.domain = Domain::parse("SMB").value();
  expect_fails(custodian.unseal(copy, other_domain), allowed, "unseal for another domain");
  KeyContext other_store = context;
  other_store.store = StoreId::random();
  expect_fails(custodian.unseal(copy, other_store), allowed, "unseal for another store");
  KeyContext other_key = context;
  other_key.key = KeyId::random();
  expect_fails(custodian.unseal(copy, other_key), allowed, "unseal for another key");
}

inline void generated_key_opens_until_destroyed(Custodian& custodian) {
  SCOPED_TRACE("generate, unseal, confirm, destroy");
  const KeyContext context = fresh_context();
  const Result<GeneratedKey> made = custodian.generate(context);
  ASSERT_TRUE(made.has_value()) << made.error().message;
  EXPECT_EQ(made->key.size(), 32u);
  EXPECT_EQ(made->copy.custodian, custodian.id());
  const Result<SecretBytes> again = custodian.unseal(made->copy, context);
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_TRUE(same_bytes(made->key, *again));
  refuses_other_contexts(custodian, made->copy, context);
  refuses_damaged(custodian, made->copy, context);

  if (custodian.destroys()) {
    EXPECT_TRUE(lists(custodian, context, false));
    expect_fails(custodian.generate(context), {ErrorCode::already_exists},
                 "custodian.generate(context)");
  }
  expect_ok(custodian.confirm(context), "custodian.confirm(context)");
  expect_ok(custodian.confirm(context), "custodian.confirm(context)");
  if (custodian.destroys()) {
    EXPECT_TRUE(lists(custodian, context, true));
    expect_fails(custodian.destroy(context, DestroyScope::unconfirmed), {ErrorCode::conflict},
                 "custodian.destroy(context, DestroyScope::unconfirmed)");
  }
  expect_ok(custodian.unseal(made->copy, context), "custodian.unseal(made->copy, context)");

  expect_ok(custodian.destroy(context, DestroyScope::everything),
            "custodian.destroy(context, DestroyScope::everything)");
  expect_ok(custodian.destroy(context, DestroyScope::everything),
            "custodian.destroy(context, DestroyScope::everything)");
  expect_ok(custodian.destroy(context, DestroyScope::unconfirmed),
            "custodian.destroy(context, DestroyScope::unconfirmed)");
  if (!custodian.destroys()) return;
  expect_fails(custodian.unseal(made->copy, context), {ErrorCode::not_found, ErrorCode::corrupt},
               "unseal of a destroyed key");
  EXPECT_FALSE(lists(custodian, context, false));
  EXPECT_FALSE(lists(custodian, context, true));
  expect_fails(custodian.confirm(context), {ErrorCode::not_found}, "custodian.confirm(context)");
}

// After a crash: destroy what was announced, then the same call again. The first blob stays dead.
inline void announced_key_is_made_anew(Custodian& custodian) {
  SCOPED_TRACE("generate, destroy(unconfirmed), generate");
  const KeyContext context = fresh_context();
  const Result<GeneratedKey> first = custodian.generate(context);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  expect_ok(custodian.destroy(context, DestroyScope::unconfirmed),
            "custodian.destroy(context, DestroyScope::unconfirmed)");
  const Result<GeneratedKey> second = custodian.generate(context);
  ASSERT_TRUE(second.has_value()) << second.error().message;
  EXPECT_FALSE(same_bytes(first->key, second->key));
  expect_ok(custodian.unseal(second->copy, context), "custodian.unseal(second->copy, context)");
  if (custodian.destroys())
    expect_fails(custodian.unseal(first->copy, context), {ErrorCode::corrupt, ErrorCode::not_found},
                 "unseal of a blob from before destroy()");
  expect_ok(custodian.destroy(context, DestroyScope::everything),
            "custodian.destroy(context, DestroyScope::everything)");
}

inline void sealed_key_opens_until_destroyed(Custodian& custodian) {
  SCOPED_TRACE("seal, unseal, destroy; two keys beside each other");
  const KeyContext context = fresh_context("LHOTSE");
  const KeyContext neighbour = fresh_context("LHOTSE");
  const SecretBytes key = SecretBytes::random(32).value();
  const Result<SealedKey> copy = custodian.seal(key, context);
  const Result<SealedKey> other = custodian.seal(key, neighbour);
  ASSERT_TRUE(copy.has_value()) << copy.error().message;
  ASSERT_TRUE(other.has_value()) << other.error().message;
  EXPECT_NE(copy->blob, other->blob);
  EXPECT_TRUE(same_bytes(custodian.unseal(*copy, context).value(), key));
  expect_fails(custodian.unseal(*copy, neighbour), {ErrorCode::corrupt},
               "custodian.unseal(*copy, neighbour)");

  expect_ok(custodian.destroy(context, DestroyScope::everything),
            "custodian.destroy(context, DestroyScope::everything)");
  if (custodian.destroys())
    expect_fails(custodian.unseal(*copy, context), {ErrorCode::corrupt, ErrorCode::not_found},
                 "unseal of a destroyed key");
  const Result<SecretBytes> untouched = custodian.unseal(*other, neighbour);
  EXPECT_TRUE(untouched.has_value()) << "destroy() took the neighbour with it";
  expect_ok(custodian.destroy(neighbour, DestroyScope::everything),
            "custodian.destroy(neighbour, DestroyScope::everything)");
}

inline void nothing_there_is_an_answer(Custodian& custodian) {
  SCOPED_TRACE("calls for a context that was never used");
  const KeyContext context = fresh_context();
  expect_ok(custodian.destroy(context, DestroyScope::unconfirmed),
            "custodian.destroy(context, DestroyScope::unconfirmed)");
  expect_ok(custodian.destroy(context, DestroyScope::everything),
            "custodian.destroy(context, DestroyScope::everything)");
  if (custodian.destroys())
    expect_fails(custodian.confirm(context), {ErrorCode::not_found}, "custodian.confirm(context)");
}

inline void probe_leaves_nothing(Custodian& custodian) {
  SCOPED_TRACE("identity and probe");
  const Result<std::string> identity = custodian.identity();
  ASSERT_TRUE(identity.has_value()) << identity.error().message;
  EXPECT_FALSE(identity->empty());
  EXPECT_EQ(custodian.identity().value(), *identity);
  const std::size_t before = custodian.list().value().size();
  expect_ok(custodian.probe(), "custodian.probe()");
  EXPECT_EQ(custodian.list().value().size(), before);
}

}  // namespace contract

// The custodian must be reachable and hold its credential.
inline void check_custodian_contract(Custodian& custodian) {
  contract::probe_leaves_nothing(custodian);
  contract::nothing_there_is_an_answer(custodian);
  contract::generated_key_opens_until_destroyed(custodian);
  contract::announced_key_is_made_anew(custodian);
  contract::sealed_key_opens_until_destroyed(custodian);
}

}  // namespace keyward::hsm
