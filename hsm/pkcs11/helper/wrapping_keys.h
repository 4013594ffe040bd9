// WrappingKeys are the non-extractable AES-256 objects of one token, one for each master key, and
// what is done with them.
//
//   WrappingKeys keys(*token);
//   Mechanism mechanism = TRY(keys.choose_mechanism(Mechanism::automatic));
//   TRY(keys.generate(id, label, mechanism));
//   std::size_t size = TRY(keys.wrap({id, mechanism, iv, aad}, plaintext, out));
//
// An object is found by its CKA_ID at every call, since handles die with sessions. Two objects with
// one CKA_ID are legal in PKCS#11; here they are `conflict`. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "hsm/pkcs11/helper/token.h"

namespace keyward::hsm::pkcs11 {

struct WrapParameters {
  const ObjectId& id;
  Mechanism mechanism;
  MutableByteView iv;  // Some modules put in one of their own.
  ByteView aad;        // AES-GCM only.
};

class WrappingKeys final {
 public:
  explicit WrappingKeys(Token& token) : token_(token) {}

  // The first mechanism that seals and opens, and that refuses tampered bytes. Lists of
  // mechanisms are not asked: modules name what they cannot do.
  Result<Mechanism> choose_mechanism(Mechanism wanted);
  // Seals, opens and tampers with a session object: nothing is written to the token.
  Result<void> self_test(Mechanism mechanism);

  // `unsupported` when the object made is not the one asked for: a module may ignore
  // CKA_EXTRACTABLE and say that all is well. It is then destroyed.
  Result<void> generate(const ObjectId& id, std::string_view label, Mechanism mechanism);
  // The size written to `out`. `not_found` without an object.
  Result<std::size_t> wrap(const WrapParameters& how, ByteView plaintext, MutableByteView out);
  Result<std::size_t> unwrap(const WrapParameters& how, ByteView sealed, MutableByteView out);
  // At most `count_max`, without the first `skip`.
  Result<std::vector<ListedObject>> list(std::size_t skip, std::size_t count_max);
  // All objects with this id and this label.
  Result<void> destroy(const ObjectId& id, std::string_view label);
  Result<void> relabel(const ObjectId& id, std::string_view label);
  Result<void> random(MutableByteView out);

 private:
  using Object = CK_OBJECT_HANDLE;

  Result<std::vector<Object>> find(const ObjectId* id);
  Result<Object> find_one(const ObjectId& id);
  Result<std::string> label_of(Object object);
  Result<Object> generate_object(const ObjectId& id, std::string_view label, Mechanism mechanism,
                                 bool on_token);
  Result<void> check_attributes(Object object);
  Result<void> check_unreadable(Object object);
  Result<void> try_round_trip(Object object, Mechanism mechanism);
  Result<std::size_t> wrap_with(Object object, const WrapParameters& how, ByteView plaintext,
                                MutableByteView out);
  Result<std::size_t> unwrap_with(Object object, const WrapParameters& how, ByteView sealed,
                                  MutableByteView out);
  Result<std::size_t> gcm(Object object, const WrapParameters& how, bool encrypt, ByteView in,
                          MutableByteView out);
  Result<std::size_t> key_wrap(Object object, ByteView plaintext, MutableByteView out);
  Result<std::size_t> key_unwrap(Object object, ByteView sealed, MutableByteView out);

  const CK_FUNCTION_LIST& calls() { return token_.calls(); }
  CK_SESSION_HANDLE session() { return token_.session(); }

  Token& token_;
};

}  // namespace keyward::hsm::pkcs11
