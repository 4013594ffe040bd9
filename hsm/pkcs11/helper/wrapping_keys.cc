#include "hsm/pkcs11/helper/wrapping_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/secret_bytes.h"
#include "base/text.h"
#include "hsm/pkcs11/cryptoki_error.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr CK_ULONG kKeyBytes = 32;
// A module that never says "no more" would else take all memory before its time is over.
constexpr std::size_t kObjectsMax = 65'536;

std::unexpected<Error> failure(std::string_view function, CK_RV rv) {
  return std::unexpected(cryptoki_error(function, rv));
}

// Cryptoki takes what it only reads as non-const.
CK_BYTE_PTR cryptoki_bytes(ByteView bytes) {
  return reinterpret_cast<CK_BYTE_PTR>(const_cast<std::byte*>(bytes.data()));
}

template <typename Value>
CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, Value& value) {
  return {type, &value, sizeof(Value)};
}

CK_ATTRIBUTE attribute(CK_ATTRIBUTE_TYPE type, ByteView value) {
  return {type, cryptoki_bytes(value), value.size()};
}

// Lengths are the module's word: one beyond the room that it was given is never believed.
Result<std::size_t> checked_size(std::string_view function, CK_ULONG size, std::size_t room) {
  if (size <= room) return static_cast<std::size_t>(size);
  return fail(ErrorCode::protocol,
              fmt::format("{}: the module says that its answer has {} bytes, where it was given "
                          "room for {}; report it to the token's vendor",
                          function, size, room),
              function);
}

// An object that dies with the session, or with this.
class SessionObject final {
 public:
  SessionObject(Token& token, CK_OBJECT_HANDLE object) : token_(token), object_(object) {}
  ~SessionObject() { static_cast<void>(token_.calls().C_DestroyObject(token_.session(), object_)); }
  SessionObject(const SessionObject&) = delete;
  SessionObject& operator=(const SessionObject&) = delete;

 private:
  Token& token_;
  CK_OBJECT_HANDLE object_;
};

}  // namespace

Result<Mechanism> WrappingKeys::choose_mechanism(Mechanism wanted) {
  if (wanted != Mechanism::automatic) {
    TRY(self_test(wanted));
    return wanted;
  }
  const Result<void> gcm_works = self_test(Mechanism::aes_gcm);
  if (gcm_works) return Mechanism::aes_gcm;
  const Result<void> key_wrap_works = self_test(Mechanism::key_wrap);
  if (key_wrap_works) return Mechanism::key_wrap;
  if (gcm_works.error().code != ErrorCode::unsupported) return std::unexpected(gcm_works.error());
  return fail(ErrorCode::unsupported,
              fmt::format("the token can seal a key neither with AES-GCM ({}) nor with AES key "
                          "wrap ({}): Keyward cannot use it",
                          gcm_works.error().message, key_wrap_works.error().message),
              "C_Encrypt", gcm_works.error().native);
}

Result<void> WrappingKeys::self_test(Mechanism mechanism) {
  TRY(token_.check_present());
  const ObjectId id{};
  const Object object = TRY(generate_object(id, "keyward self-test", mechanism, false));
  const SessionObject owner(token_, object);
  return try_round_trip(object, mechanism);
}

Result<void> WrappingKeys::try_round_trip(Object object, Mechanism mechanism) {
  std::array<std::byte, 64> plaintext{};
  std::array<std::byte, 96> sealed{};
  std::array<std::byte, 96> opened{};
  std::array<std::byte, kGcmIvBytes> iv{};
  const ObjectId id{};
  TRY(random(plaintext));
  TRY(random(iv));
  const std::array<std::byte, 8> aad{std::byte{1}};
  const WrapParameters how{id, mechanism, iv, aad};
  const std::size_t size = TRY(wrap_with(object, how, plaintext, sealed));
  const ByteView blob(sealed.data(), size);
  const std::size_t opened_size = TRY(unwrap_with(object, how, blob, opened));
  if (opened_size != plaintext.size() ||
      !std::ranges::equal(ByteView(opened.data(), opened_size), plaintext))
    return fail(ErrorCode::unsupported, "C_Decrypt: the token opens something else than it sealed",
                "C_Decrypt");
  sealed[size / 2] ^= std::byte{1};
  if (unwrap_with(object, how, blob, opened))
    return fail(ErrorCode::unsupported, "C_Decrypt: the token opens bytes that were tampered with",
                "C_Decrypt");
  return {};
}

Result<WrappingKeys::Object> WrappingKeys::generate_object(const ObjectId& id,
                                                           std::string_view label,
                                                           Mechanism mechanism, bool on_token) {
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  CK_BBOOL token = on_token ? CK_TRUE : CK_FALSE;
  CK_BBOOL encrypts = mechanism == Mechanism::aes_gcm ? CK_TRUE : CK_FALSE;
  CK_BBOOL wraps = mechanism == Mechanism::key_wrap ? CK_TRUE : CK_FALSE;
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_KEY_TYPE key_type = CKK_AES;
  CK_ULONG size = kKeyBytes;
  auto attributes = std::to_array<CK_ATTRIBUTE>({
      attribute(CKA_CLASS, object_class),
      attribute(CKA_KEY_TYPE, key_type),
      attribute(CKA_VALUE_LEN, size),
      attribute(CKA_TOKEN, token),
      attribute(CKA_PRIVATE, yes),
      attribute(CKA_SENSITIVE, yes),
      attribute(CKA_EXTRACTABLE, no),
      attribute(CKA_MODIFIABLE, yes),
      attribute(CKA_ENCRYPT, encrypts),
      attribute(CKA_DECRYPT, encrypts),
      attribute(CKA_WRAP, wraps),
      attribute(CKA_UNWRAP, wraps),
      attribute(CKA_SIGN, no),
      attribute(CKA_VERIFY, no),
      attribute(CKA_ID, ByteView(id)),
      attribute(CKA_LABEL, as_bytes(label)),
  });
  CK_MECHANISM generate{CKM_AES_KEY_GEN, nullptr, 0};
  Object object = 0;
  const CK_RV rv =
      calls().C_GenerateKey(session(), &generate, attributes.data(), attributes.size(), &object);
  if (rv != CKR_OK) return failure("C_GenerateKey", rv);
  return object;
}

Result<void> WrappingKeys::generate(const ObjectId& id, std::string_view label,
                                    Mechanism mechanism) {
  const Object object = TRY(generate_object(id, label, mechanism, true));
  Result<void> checked = check_attributes(object);
  if (!checked) {
    static_cast<void>(calls().C_DestroyObject(session(), object));
    return checked;
  }
  // A module may answer OK and keep nothing (opencryptoki under parallel use), or make two.
  const std::size_t shown = TRY(find(&id)).size();
  if (shown == 1) return {};
  return fail(ErrorCode::protocol,
              fmt::format("C_GenerateKey: the token answered OK and shows {} such keys instead of "
                          "one. Does another program use it at the same time?",
                          shown),
              "C_GenerateKey");
}

Result<void> WrappingKeys::check_attributes(Object object) {
  CK_OBJECT_CLASS object_class = 0;
  CK_KEY_TYPE key_type = 0;
  CK_ULONG size = 0;
  std::array<CK_BBOOL, 6> flags{};
  auto attributes = std::to_array<CK_ATTRIBUTE>({
      attribute(CKA_CLASS, object_class),
      attribute(CKA_KEY_TYPE, key_type),
      attribute(CKA_VALUE_LEN, size),
      attribute(CKA_TOKEN, flags[0]),
      attribute(CKA_PRIVATE, flags[1]),
      attribute(CKA_SENSITIVE, flags[2]),
      attribute(CKA_ALWAYS_SENSITIVE, flags[3]),
      attribute(CKA_NEVER_EXTRACTABLE, flags[4]),
      attribute(CKA_EXTRACTABLE, flags[5]),
  });
  const CK_RV rv =
      calls().C_GetAttributeValue(session(), object, attributes.data(), attributes.size());
  if (rv != CKR_OK) return failure("C_GetAttributeValue", rv);
  constexpr std::array<CK_BBOOL, 6> kWanted{CK_TRUE, CK_TRUE, CK_TRUE, CK_TRUE, CK_TRUE, CK_FALSE};
  if (object_class == CKO_SECRET_KEY && key_type == CKK_AES && size == kKeyBytes &&
      flags == kWanted)
    return check_unreadable(object);
  return fail(ErrorCode::unsupported,
              fmt::format("C_GetAttributeValue: the token's wrapping key is not the one asked for "
                          "(AES-256, sensitive, never extractable): class {}, type {}, {} bytes, "
                          "token {}, private {}, sensitive {}, always sensitive {}, never "
                          "extractable {}, extractable {}. Keyward does not use such a key; look "
                          "for a setting of the token that allows the strict one",
                          object_class, key_type, size, flags[0], flags[1], flags[2], flags[3],
                          flags[4], flags[5]),
              "C_GetAttributeValue");
}

// What a module says of a key and what it does with it are two things.
Result<void> WrappingKeys::check_unreadable(Object object) {
  std::array<std::byte, 64> bytes{};
  CK_ATTRIBUTE value{CKA_VALUE, bytes.data(), bytes.size()};
  const CK_RV rv = calls().C_GetAttributeValue(session(), object, &value, 1);
  ::explicit_bzero(bytes.data(), bytes.size());
  if (rv != CKR_OK || value.ulValueLen == 0) return {};
  return fail(ErrorCode::unsupported,
              "C_GetAttributeValue: the token calls its wrapping key sensitive and gives out its "
              "bytes all the same. Keyward does not use such a token; ask its vendor",
              "C_GetAttributeValue");
}

Result<std::vector<WrappingKeys::Object>> WrappingKeys::find(const ObjectId* id) {
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_BBOOL yes = CK_TRUE;
  std::vector<CK_ATTRIBUTE> wanted{attribute(CKA_CLASS, object_class), attribute(CKA_TOKEN, yes)};
  if (id != nullptr) wanted.push_back(attribute(CKA_ID, ByteView(*id)));
  CK_RV rv = calls().C_FindObjectsInit(session(), wanted.data(), wanted.size());
  if (rv != CKR_OK) return failure("C_FindObjectsInit", rv);
  std::vector<Object> found;
  std::array<Object, 64> some{};
  CK_ULONG count = 0;
  bool is_sane = true;
  do {
    rv = calls().C_FindObjects(session(), some.data(), some.size(), &count);
    is_sane = count <= some.size() && found.size() + some.size() <= kObjectsMax;
    if (rv == CKR_OK && is_sane) found.insert(found.end(), some.begin(), some.begin() + count);
  } while (rv == CKR_OK && is_sane && count > 0);
  const CK_RV final_rv = calls().C_FindObjectsFinal(session());
  if (rv != CKR_OK) return failure("C_FindObjects", rv);
  if (!is_sane)
    return fail(ErrorCode::protocol,
                fmt::format("C_FindObjects: the module names {} objects where {} were asked for, "
                            "after {}; report it to the token's vendor",
                            count, some.size(), found.size()),
                "C_FindObjects");
  if (final_rv != CKR_OK) return failure("C_FindObjectsFinal", final_rv);
  return found;
}

Result<WrappingKeys::Object> WrappingKeys::find_one(const ObjectId& id) {
  const std::vector<Object> found = TRY(find(&id));
  if (found.size() == 1) return found.front();
  if (found.empty())
    return fail(ErrorCode::not_found,
                fmt::format("the token holds no wrapping key with CKA_ID {}: it was destroyed, or "
                            "this is another token",
                            to_hex(id)),
                "C_FindObjects");
  return fail(ErrorCode::conflict,
              fmt::format("the token holds {} objects with CKA_ID {}; only one is ours. Remove the "
                          "other with the token's own tool",
                          found.size(), to_hex(id)),
              "C_FindObjects");
}

Result<std::string> WrappingKeys::label_of(Object object) {
  std::array<char, 512> text{};
  CK_ATTRIBUTE label{CKA_LABEL, text.data(), text.size()};
  const CK_RV rv = calls().C_GetAttributeValue(session(), object, &label, 1);
  if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_BUFFER_TOO_SMALL) return std::string();
  if (rv != CKR_OK) return failure("C_GetAttributeValue", rv);
  return std::string(text.data(),
                     TRY(checked_size("C_GetAttributeValue", label.ulValueLen, text.size())));
}

Result<std::vector<ListedObject>> WrappingKeys::list(std::size_t skip, std::size_t count_max) {
  TRY(token_.check_present());
  std::vector<ListedObject> listed;
  for (const Object object : TRY(find(nullptr))) {
    if (listed.size() == count_max) break;
    std::array<std::byte, 256> id{};
    CK_ATTRIBUTE wanted{CKA_ID, id.data(), id.size()};
    const CK_RV rv = calls().C_GetAttributeValue(session(), object, &wanted, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_BUFFER_TOO_SMALL) continue;
    if (rv != CKR_OK) return failure("C_GetAttributeValue", rv);
    if (wanted.ulValueLen == CK_UNAVAILABLE_INFORMATION) continue;
    if (TRY(checked_size("C_GetAttributeValue", wanted.ulValueLen, id.size())) != kObjectIdBytes)
      continue;
    if (skip > 0) {
      --skip;
      continue;
    }
    ListedObject& one = listed.emplace_back();
    std::copy_n(id.begin(), kObjectIdBytes, one.id.begin());
    const std::string label = TRY(label_of(object));
    std::memcpy(one.label.data(), label.data(), std::min(label.size(), one.label.size() - 1));
  }
  return listed;
}

Result<void> WrappingKeys::destroy(const ObjectId& id, std::string_view label) {
  TRY(token_.check_present());
  for (const Object object : TRY(find(&id))) {
    if (TRY(label_of(object)) != label) continue;
    const CK_RV rv = calls().C_DestroyObject(session(), object);
    if (rv != CKR_OK && rv != CKR_OBJECT_HANDLE_INVALID) return failure("C_DestroyObject", rv);
  }
  return {};
}

Result<void> WrappingKeys::relabel(const ObjectId& id, std::string_view label) {
  const Object object = TRY(find_one(id));
  CK_ATTRIBUTE change = attribute(CKA_LABEL, as_bytes(label));
  const CK_RV rv = calls().C_SetAttributeValue(session(), object, &change, 1);
  if (rv != CKR_OK) return failure("C_SetAttributeValue", rv);
  if (TRY(label_of(object)) == label) return {};
  return fail(ErrorCode::unsupported,
              "C_SetAttributeValue: the token answered OK and kept the old label, so a key in use "
              "could not be told from one that is not",
              "C_SetAttributeValue");
}

Result<void> WrappingKeys::random(MutableByteView out) {
  const CK_RV rv = calls().C_GenerateRandom(session(), cryptoki_bytes(out), out.size());
  if (rv != CKR_OK) return failure("C_GenerateRandom", rv);
  return {};
}

Result<std::size_t> WrappingKeys::wrap(const WrapParameters& how, ByteView plaintext,
                                       MutableByteView out) {
  const Object object = TRY(find_one(how.id));
  TRY(check_attributes(object));
  return wrap_with(object, how, plaintext, out);
}

Result<std::size_t> WrappingKeys::unwrap(const WrapParameters& how, ByteView sealed,
                                         MutableByteView out) {
  return unwrap_with(TRY(find_one(how.id)), how, sealed, out);
}

Result<std::size_t> WrappingKeys::wrap_with(Object object, const WrapParameters& how,
                                            ByteView plaintext, MutableByteView out) {
  if (how.mechanism == Mechanism::key_wrap) return key_wrap(object, plaintext, out);
  return gcm(object, how, true, plaintext, out);
}

Result<std::size_t> WrappingKeys::unwrap_with(Object object, const WrapParameters& how,
                                              ByteView sealed, MutableByteView out) {
  if (how.mechanism == Mechanism::key_wrap) return key_unwrap(object, sealed, out);
  return gcm(object, how, false, sealed, out);
}

// There is always additional data: SoftHSM 2.6.1 crashes without (its issue 664).
Result<std::size_t> WrappingKeys::gcm(Object object, const WrapParameters& how, bool encrypt,
                                      ByteView in, MutableByteView out) {
  CK_GCM_PARAMS parameters{cryptoki_bytes(how.iv),  how.iv.size(),  how.iv.size() * 8,
                           cryptoki_bytes(how.aad), how.aad.size(), kGcmTagBytes * 8};
  CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof(parameters)};
  CK_RV rv = encrypt ? calls().C_EncryptInit(session(), &mechanism, object)
                     : calls().C_DecryptInit(session(), &mechanism, object);
  if (rv != CKR_OK) return failure(encrypt ? "C_EncryptInit" : "C_DecryptInit", rv);
  CK_ULONG size = out.size();
  rv =
      encrypt
          ? calls().C_Encrypt(session(), cryptoki_bytes(in), in.size(), cryptoki_bytes(out), &size)
          : calls().C_Decrypt(session(), cryptoki_bytes(in), in.size(), cryptoki_bytes(out), &size);
  const char* function = encrypt ? "C_Encrypt" : "C_Decrypt";
  if (rv != CKR_OK) return failure(function, rv);
  return checked_size(function, size, out.size());
}

// C_WrapKey takes an object, so the plaintext becomes one, for as long as the call.
Result<std::size_t> WrappingKeys::key_wrap(Object object, ByteView plaintext, MutableByteView out) {
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_KEY_TYPE key_type = CKK_GENERIC_SECRET;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  auto attributes = std::to_array<CK_ATTRIBUTE>(
      {attribute(CKA_CLASS, object_class), attribute(CKA_KEY_TYPE, key_type),
       attribute(CKA_TOKEN, no), attribute(CKA_PRIVATE, yes), attribute(CKA_SENSITIVE, no),
       attribute(CKA_EXTRACTABLE, yes), attribute(CKA_VALUE, plaintext)});
  Object content = 0;
  CK_RV rv = calls().C_CreateObject(session(), attributes.data(), attributes.size(), &content);
  if (rv != CKR_OK) return failure("C_CreateObject", rv);
  const SessionObject owner(token_, content);
  CK_MECHANISM mechanism{CKM_AES_KEY_WRAP, nullptr, 0};
  CK_ULONG size = out.size();
  rv = calls().C_WrapKey(session(), &mechanism, object, content, cryptoki_bytes(out), &size);
  if (rv != CKR_OK) return failure("C_WrapKey", rv);
  return checked_size("C_WrapKey", size, out.size());
}

Result<std::size_t> WrappingKeys::key_unwrap(Object object, ByteView sealed, MutableByteView out) {
  CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
  CK_KEY_TYPE key_type = CKK_GENERIC_SECRET;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  auto attributes = std::to_array<CK_ATTRIBUTE>(
      {attribute(CKA_CLASS, object_class), attribute(CKA_KEY_TYPE, key_type),
       attribute(CKA_TOKEN, no), attribute(CKA_PRIVATE, yes), attribute(CKA_SENSITIVE, no),
       attribute(CKA_EXTRACTABLE, yes)});
  CK_MECHANISM mechanism{CKM_AES_KEY_WRAP, nullptr, 0};
  Object content = 0;
  CK_RV rv = calls().C_UnwrapKey(session(), &mechanism, object, cryptoki_bytes(sealed),
                                 sealed.size(), attributes.data(), attributes.size(), &content);
  if (rv != CKR_OK) return failure("C_UnwrapKey", rv);
  const SessionObject owner(token_, content);
  CK_ATTRIBUTE value{CKA_VALUE, out.data(), out.size()};
  rv = calls().C_GetAttributeValue(session(), content, &value, 1);
  if (rv != CKR_OK) return failure("C_GetAttributeValue", rv);
  return checked_size("C_GetAttributeValue", value.ulValueLen, out.size());
}

}  // namespace keyward::hsm::pkcs11
