// A PKCS#11 module for tests: SoftHSM2, with the faults of other tokens on demand.
//
// The environment variable FAULTY_P11_DIR names a directory. A file in it switches a fault on.
// At any function, "<fault>.C_Function":
//   abort, abort_once     crashes at the call; once: removes the file first
//   hang                  never returns
//   late, very_late       does it a quarter of a second later, or three seconds
//   error                 answers CKR_DEVICE_ERROR and does nothing
//   abort_after, hang_after, error_after    the same once it has done what was asked
//   long                  says that its answer is 1 MiB long (functions that give a length)
// Of what it is and shows:
//   no_gcm           C_EncryptInit refuses AES-GCM
//   no_function      C_EncryptInit and C_DecryptInit are missing from its list
//   no_mechanisms, all_mechanisms    C_GetMechanismList and -Info name none, or all
//   extractable      CKA_EXTRACTABLE and CKA_NEVER_EXTRACTABLE read as those of a weak key
//   readable         gives out CKA_VALUE of a key that it calls sensitive
//   keeps_label      C_SetAttributeValue answers OK and changes nothing
//   keeps_object     C_DestroyObject answers OK and destroys nothing that is on the token
//   hides_object     the same, and this process finds nothing any more
//   loses_objects    finds nothing that is on the token
//   two_objects      C_GenerateKey makes a token's object twice
//   final_try, locked, count_low   the flags of the user PIN
//   session_lost     C_FindObjectsInit answers CKR_SESSION_HANDLE_INVALID, and the file is removed
//   no_tamper_check  C_Decrypt answers OK whatever it is given
//   wrong_plaintext  C_Decrypt answers OK and other bytes; of a key that was unwrapped, too
// Every C_Login adds a line to the file "logins" there, every C_Finalize one to "finalized".
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

CK_FUNCTION_LIST real;
CK_FUNCTION_LIST special;  // With the faults that have a function of their own.
CK_FUNCTION_LIST faulty;   // With those of any function around them.
bool is_hiding = false;

std::string path_of(const std::string& name) {
  const char* directory = std::getenv("FAULTY_P11_DIR");
  return std::string(directory == nullptr ? "/nonexistent" : directory) + "/" + name;
}

bool is_on(const std::string& fault) { return ::access(path_of(fault).c_str(), F_OK) == 0; }

bool take_once(const std::string& fault) { return ::unlink(path_of(fault).c_str()) == 0; }

constexpr CK_ULONG kLong = 1u << 20;
constexpr useconds_t kLateMicroseconds = 250'000;
constexpr unsigned kVeryLateSeconds = 3;

void count(const char* name) {
  if (std::FILE* file = std::fopen(path_of(name).c_str(), "a")) {
    std::fputs("1\n", file);
    std::fclose(file);
  }
}

bool is_on_token(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object) {
  CK_BBOOL on_token = CK_FALSE;
  CK_ATTRIBUTE wanted{CKA_TOKEN, &on_token, sizeof(on_token)};
  return real.C_GetAttributeValue(session, object, &wanted, 1) == CKR_OK && on_token == CK_TRUE;
}

CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG size) {
  count("logins");
  return real.C_Login(session, user, pin, size);
}

CK_RV finalize(CK_VOID_PTR reserved) {
  count("finalized");
  return real.C_Finalize(reserved);
}

CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
  const CK_RV rv = real.C_GetTokenInfo(slot, info);
  if (rv != CKR_OK) return rv;
  if (is_on("final_try")) info->flags |= CKF_USER_PIN_FINAL_TRY;
  if (is_on("locked")) info->flags |= CKF_USER_PIN_LOCKED;
  if (is_on("count_low")) info->flags |= CKF_USER_PIN_COUNT_LOW;
  return rv;
}

CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
  if (mechanism->mechanism == CKM_AES_GCM && is_on("no_gcm")) return CKR_MECHANISM_INVALID;
  return real.C_EncryptInit(session, mechanism, key);
}

CK_RV encrypt(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_size, CK_BYTE* out,
              CK_ULONG* out_size) {
  const CK_RV rv = real.C_Encrypt(session, in, in_size, out, out_size);
  if (is_on("long.C_Encrypt")) *out_size = kLong;
  return rv;
}

CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_ATTRIBUTE* attributes,
                   CK_ULONG count, CK_OBJECT_HANDLE* key) {
  const CK_RV rv = real.C_GenerateKey(session, mechanism, attributes, count, key);
  if (rv != CKR_OK || !is_on_token(session, *key) || !is_on("two_objects")) return rv;
  return real.C_GenerateKey(session, mechanism, attributes, count, key);
}

CK_RV wrap_key(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE wrapping,
               CK_OBJECT_HANDLE key, CK_BYTE* out, CK_ULONG* out_size) {
  const CK_RV rv = real.C_WrapKey(session, mechanism, wrapping, key, out, out_size);
  if (is_on("long.C_WrapKey")) *out_size = kLong;
  return rv;
}

CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE* list, CK_ULONG* count) {
  if (!is_on("no_mechanisms")) return real.C_GetMechanismList(slot, list, count);
  *count = 0;
  return CKR_OK;
}

CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO* info) {
  if (is_on("no_mechanisms")) return CKR_MECHANISM_INVALID;
  if (!is_on("all_mechanisms")) return real.C_GetMechanismInfo(slot, type, info);
  *info = {16, 32, CKF_HW | CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP | CKF_GENERATE};
  return CKR_OK;
}

CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_size, CK_BYTE* out,
              CK_ULONG* out_size) {
  const CK_RV rv = real.C_Decrypt(session, in, in_size, out, out_size);
  if (is_on("long.C_Decrypt")) *out_size = kLong;
  if (rv == CKR_OK && out != nullptr && is_on("wrong_plaintext")) out[0] ^= 1;
  return is_on("no_tamper_check") ? CKR_OK : rv;
}

void spoil(CK_ATTRIBUTE& attribute) {
  auto* bytes = static_cast<CK_BYTE*>(attribute.pValue);
  if (attribute.type == CKA_EXTRACTABLE && is_on("extractable")) *bytes = CK_TRUE;
  if (attribute.type == CKA_NEVER_EXTRACTABLE && is_on("extractable")) *bytes = CK_FALSE;
  if (attribute.type == CKA_VALUE && is_on("wrong_plaintext")) bytes[0] ^= 1;
  const bool has_length = attribute.type == CKA_LABEL || attribute.type == CKA_ID;
  if (has_length && is_on("long.C_GetAttributeValue")) attribute.ulValueLen = kLong;
}

CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* attributes,
                     CK_ULONG size) {
  const CK_RV rv = real.C_GetAttributeValue(session, object, attributes, size);
  if (rv == CKR_ATTRIBUTE_SENSITIVE && is_on("readable")) {
    attributes->ulValueLen = 32;
    return CKR_OK;
  }
  if (rv != CKR_OK) return rv;
  for (CK_ULONG i = 0; i < size; ++i) spoil(attributes[i]);
  return rv;
}

CK_RV set_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* attributes,
                     CK_ULONG size) {
  if (is_on("keeps_label")) return CKR_OK;
  return real.C_SetAttributeValue(session, object, attributes, size);
}

CK_RV destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object) {
  if ((is_on("keeps_object") || is_on("hides_object")) && is_on_token(session, object)) {
    is_hiding = is_on("hides_object");
    return CKR_OK;
  }
  return real.C_DestroyObject(session, object);
}

CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE* attributes, CK_ULONG size) {
  if (take_once("session_lost")) return CKR_SESSION_HANDLE_INVALID;
  return real.C_FindObjectsInit(session, attributes, size);
}

CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE* objects, CK_ULONG count_max,
                   CK_ULONG* count) {
  const CK_RV rv = real.C_FindObjects(session, objects, count_max, count);
  if (is_hiding || is_on("loses_objects")) *count = 0;
  if (is_on("long.C_FindObjects")) *count = kLong;
  return rv;
}

[[noreturn]] void hang() {
  while (true) ::pause();
}

template <typename... Arguments>
CK_RV call(const std::string& name, CK_RV (*function)(Arguments...), Arguments... arguments) {
  if (take_once("abort_once." + name) || is_on("abort." + name)) std::abort();
  if (is_on("hang." + name)) hang();
  if (is_on("late." + name)) ::usleep(kLateMicroseconds);
  if (is_on("very_late." + name)) ::sleep(kVeryLateSeconds);
  if (is_on("error." + name)) return CKR_DEVICE_ERROR;
  const CK_RV rv = function(arguments...);
  if (is_on("abort_after." + name)) std::abort();
  if (is_on("hang_after." + name)) hang();
  return rv == CKR_OK && is_on("error_after." + name) ? CKR_DEVICE_ERROR : rv;
}

#define WITH_FAULTS(name) \
  faulty.name = [](auto... arguments) { return call(#name, special.name, arguments...); }

void make_special() {
  special = real;
  special.C_Login = login;
  special.C_Finalize = finalize;
  special.C_GetTokenInfo = get_token_info;
  special.C_GetMechanismList = get_mechanism_list;
  special.C_GetMechanismInfo = get_mechanism_info;
  special.C_GenerateKey = generate_key;
  special.C_EncryptInit = encrypt_init;
  special.C_Encrypt = encrypt;
  special.C_Decrypt = decrypt;
  special.C_WrapKey = wrap_key;
  special.C_GetAttributeValue = get_attributes;
  special.C_SetAttributeValue = set_attributes;
  special.C_DestroyObject = destroy;
  special.C_FindObjectsInit = find_init;
  special.C_FindObjects = find_objects;
}

void make_faulty() {
  faulty = special;
  WITH_FAULTS(C_GetTokenInfo);
  WITH_FAULTS(C_OpenSession);
  WITH_FAULTS(C_GetSessionInfo);
  WITH_FAULTS(C_Login);
  WITH_FAULTS(C_GenerateRandom);
  WITH_FAULTS(C_GenerateKey);
  WITH_FAULTS(C_CreateObject);
  WITH_FAULTS(C_GetAttributeValue);
  WITH_FAULTS(C_SetAttributeValue);
  WITH_FAULTS(C_FindObjectsInit);
  WITH_FAULTS(C_FindObjects);
  WITH_FAULTS(C_FindObjectsFinal);
  WITH_FAULTS(C_DestroyObject);
  WITH_FAULTS(C_EncryptInit);
  WITH_FAULTS(C_Encrypt);
  WITH_FAULTS(C_DecryptInit);
  WITH_FAULTS(C_Decrypt);
  WITH_FAULTS(C_WrapKey);
  WITH_FAULTS(C_UnwrapKey);
  if (is_on("no_function")) faulty.C_EncryptInit = nullptr;
  if (is_on("no_function")) faulty.C_DecryptInit = nullptr;
}

}  // namespace

extern "C" CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  void* softhsm = ::dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
  if (softhsm == nullptr) return CKR_GENERAL_ERROR;
  const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(softhsm, "C_GetFunctionList"));
  CK_FUNCTION_LIST* found = nullptr;
  if (get == nullptr || get(&found) != CKR_OK) return CKR_GENERAL_ERROR;
  real = *found;
  make_special();
  make_faulty();
  faulty.C_GetFunctionList = C_GetFunctionList;
  *list = &faulty;
  return CKR_OK;
}
