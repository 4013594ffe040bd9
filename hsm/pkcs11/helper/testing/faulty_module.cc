// A PKCS#11 module for tests: SoftHSM2, with the faults of other tokens on demand.
//
// The environment variable FAULTY_P11_DIR names a directory. A file in it switches a fault on:
//   no_gcm           C_EncryptInit refuses AES-GCM
//   extractable      CKA_EXTRACTABLE and CKA_NEVER_EXTRACTABLE read as those of a weak key
//   keeps_label      C_SetAttributeValue answers OK and changes nothing
//   keeps_object     C_DestroyObject answers OK and destroys nothing that is on the token
//   hides_object     the same, and this process finds nothing any more
//   final_try, locked, count_low   the flags of the user PIN
//   session_lost     C_FindObjectsInit answers CKR_SESSION_HANDLE_INVALID, and the file is removed
//   device_error     C_FindObjectsInit answers CKR_DEVICE_ERROR
//   crash            C_EncryptInit crashes; crash_once removes the file first
//   hang             C_EncryptInit never returns
//   no_tamper_check  C_Decrypt answers OK whatever it is given
// Every C_Login adds a line to the file "logins" there, every C_Finalize one to "finalized".
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

CK_FUNCTION_LIST real;
CK_FUNCTION_LIST faulty;
bool is_hiding = false;

std::string path_of(const char* name) {
  const char* directory = std::getenv("FAULTY_P11_DIR");
  return std::string(directory == nullptr ? "/nonexistent" : directory) + "/" + name;
}

bool is_on(const char* fault) { return ::access(path_of(fault).c_str(), F_OK) == 0; }

bool take_once(const char* fault) { return ::unlink(path_of(fault).c_str()) == 0; }

void count(const char* name) {
  if (std::FILE* file = std::fopen(path_of(name).c_str(), "a")) {
    std::fputs("1\n", file);
    std::fclose(file);
  }
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
  if (take_once("crash_once") || is_on("crash")) std::abort();
  while (is_on("hang")) ::pause();
  if (mechanism->mechanism == CKM_AES_GCM && is_on("no_gcm")) return CKR_MECHANISM_INVALID;
  return real.C_EncryptInit(session, mechanism, key);
}

CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG in_size, CK_BYTE* out,
              CK_ULONG* out_size) {
  const CK_RV rv = real.C_Decrypt(session, in, in_size, out, out_size);
  return is_on("no_tamper_check") ? CKR_OK : rv;
}

CK_RV get_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* attributes,
                     CK_ULONG size) {
  const CK_RV rv = real.C_GetAttributeValue(session, object, attributes, size);
  if (rv != CKR_OK || !is_on("extractable")) return rv;
  for (CK_ULONG i = 0; i < size; ++i) {
    auto* flag = static_cast<CK_BBOOL*>(attributes[i].pValue);
    if (attributes[i].type == CKA_EXTRACTABLE) *flag = CK_TRUE;
    if (attributes[i].type == CKA_NEVER_EXTRACTABLE) *flag = CK_FALSE;
  }
  return rv;
}

CK_RV set_attributes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE* attributes,
                     CK_ULONG size) {
  if (is_on("keeps_label")) return CKR_OK;
  return real.C_SetAttributeValue(session, object, attributes, size);
}

CK_RV destroy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object) {
  CK_BBOOL on_token = CK_FALSE;
  CK_ATTRIBUTE wanted{CKA_TOKEN, &on_token, sizeof(on_token)};
  if ((is_on("keeps_object") || is_on("hides_object")) &&
      real.C_GetAttributeValue(session, object, &wanted, 1) == CKR_OK && on_token == CK_TRUE) {
    is_hiding = is_on("hides_object");
    return CKR_OK;
  }
  return real.C_DestroyObject(session, object);
}

CK_RV find_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE* attributes, CK_ULONG size) {
  if (take_once("session_lost")) return CKR_SESSION_HANDLE_INVALID;
  if (is_on("device_error")) return CKR_DEVICE_ERROR;
  return real.C_FindObjectsInit(session, attributes, size);
}

CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE* objects, CK_ULONG count_max,
                   CK_ULONG* count) {
  const CK_RV rv = real.C_FindObjects(session, objects, count_max, count);
  if (is_hiding) *count = 0;
  return rv;
}

}  // namespace

extern "C" CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  void* softhsm = ::dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
  if (softhsm == nullptr) return CKR_GENERAL_ERROR;
  const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(softhsm, "C_GetFunctionList"));
  CK_FUNCTION_LIST* found = nullptr;
  if (get == nullptr || get(&found) != CKR_OK) return CKR_GENERAL_ERROR;
  real = *found;
  faulty = real;
  faulty.C_GetFunctionList = C_GetFunctionList;
  faulty.C_Login = login;
  faulty.C_Finalize = finalize;
  faulty.C_GetTokenInfo = get_token_info;
  faulty.C_EncryptInit = encrypt_init;
  faulty.C_Decrypt = decrypt;
  faulty.C_GetAttributeValue = get_attributes;
  faulty.C_SetAttributeValue = set_attributes;
  faulty.C_DestroyObject = destroy;
  faulty.C_FindObjectsInit = find_init;
  faulty.C_FindObjects = find_objects;
  *list = &faulty;
  return CKR_OK;
}
