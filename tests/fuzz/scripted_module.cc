// A PKCS#11 module that answers as the fuzzer says. Each call reads bytes of its script: zeros, and
// the end of the script, make a token that works; others make it fail, give lengths of its own, or
// spoil what it answers. What libp11 alone reads is left sound: it is not ours.
#include <p11-kit/pkcs11.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

namespace {

using Bytes = std::vector<CK_BYTE>;

const unsigned char* script = nullptr;
std::size_t script_left = 0;

struct Object {
  CK_BBOOL on_token = CK_FALSE;
  Bytes id;
  Bytes label;
  Bytes value;
};
std::vector<Object> objects;
std::size_t found_at = 0;
Bytes wanted_id;
Bytes operation_aad;
// libp11 asks for the second one, and waits for ever when it is refused.
constexpr unsigned kLibp11Session = 2;
unsigned sessions_opened = 0;

unsigned next() {
  if (script_left == 0) return 0;
  --script_left;
  return *script++;
}

CK_RV verdict() {
  constexpr auto kErrors = std::to_array<CK_RV>(
      {CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_SESSION_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID,
       CKR_MECHANISM_INVALID, CKR_BUFFER_TOO_SMALL, CKR_ATTRIBUTE_TYPE_INVALID,
       CKR_USER_NOT_LOGGED_IN, CKR_TOKEN_NOT_PRESENT, 0x80001234, CKR_CRYPTOKI_NOT_INITIALIZED});
  const unsigned choice = next();
  return choice < 0xd0 ? CKR_OK : kErrors[choice % kErrors.size()];
}

CK_ULONG garbled(CK_ULONG length) {
  switch (next()) {
    case 0xf0:
      return 0;
    case 0xf1:
      return length + 1;
    case 0xf2:
      return 4000;
    case 0xf3:
      return 1 << 20;
    case 0xf4:
      return std::numeric_limits<CK_ULONG>::max();
    case 0xf5:
      return std::numeric_limits<CK_ULONG>::max() / 2;
    case 0xf6:
      return length - 1;
    default:
      return length;
  }
}

Bytes bytes_of(const CK_ATTRIBUTE& attribute) {
  const auto* bytes = static_cast<const CK_BYTE*>(attribute.pValue);
  return {bytes, bytes + attribute.ulValueLen};
}

// As real tokens: into the caller's room or CKR_BUFFER_TOO_SMALL. Only the length may be a lie.
CK_RV give(const Bytes& bytes, CK_BYTE* out, CK_ULONG* size) {
  if (*size < bytes.size()) return CKR_BUFFER_TOO_SMALL;
  std::ranges::copy(bytes, out);
  if (!bytes.empty() && next() >= 0xf8) out[next() % bytes.size()] ^= 1;
  *size = garbled(bytes.size());
  return verdict();
}

CK_RV make_object(const CK_ATTRIBUTE* attributes, CK_ULONG count, CK_OBJECT_HANDLE* handle) {
  if (objects.size() >= 64) return CKR_DEVICE_MEMORY;
  Object object;
  for (CK_ULONG i = 0; i < count; ++i) {
    const CK_ATTRIBUTE& attribute = attributes[i];
    if (attribute.type == CKA_ID) object.id = bytes_of(attribute);
    if (attribute.type == CKA_LABEL) object.label = bytes_of(attribute);
    if (attribute.type == CKA_VALUE) object.value = bytes_of(attribute);
    if (attribute.type == CKA_TOKEN) object.on_token = bytes_of(attribute).front();
  }
  for (unsigned copies = next() >= 0xf0 ? 2 : 1; copies > 0; --copies) objects.push_back(object);
  *handle = objects.size();
  return verdict();
}

Object* object_of(CK_OBJECT_HANDLE handle) {
  return handle == 0 || handle > objects.size() ? nullptr : &objects[handle - 1];
}

template <typename Value>
Bytes value_bytes(Value value) {
  Bytes bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

Bytes attribute_of(const Object& object, CK_ATTRIBUTE_TYPE type) {
  switch (type) {
    case CKA_ID:
      return object.id;
    case CKA_LABEL:
      return object.label;
    case CKA_VALUE:
      return object.value;
    case CKA_CLASS:
      return value_bytes(CK_OBJECT_CLASS{CKO_SECRET_KEY});
    case CKA_KEY_TYPE:
      return value_bytes(CK_KEY_TYPE{CKK_AES});
    case CKA_VALUE_LEN:
      return value_bytes(CK_ULONG{32});
    case CKA_EXTRACTABLE:
      return {CK_FALSE};
    default:
      return {CK_TRUE};
  }
}

CK_RV get_attributes(CK_SESSION_HANDLE, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE* attributes,
                     CK_ULONG count) {
  const Object* object = object_of(handle);
  if (object == nullptr) return CKR_OBJECT_HANDLE_INVALID;
  for (CK_ULONG i = 0; i < count; ++i) {
    const Bytes value = attribute_of(*object, attributes[i].type);
    const CK_RV rv =
        give(value, static_cast<CK_BYTE*>(attributes[i].pValue), &attributes[i].ulValueLen);
    if (rv != CKR_OK) return rv;
  }
  return CKR_OK;
}

CK_RV set_attributes(CK_SESSION_HANDLE, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE* attributes,
                     CK_ULONG) {
  Object* object = object_of(handle);
  if (object == nullptr) return CKR_OBJECT_HANDLE_INVALID;
  if (next() < 0xf0) object->label = bytes_of(*attributes);
  return verdict();
}

CK_RV find_init(CK_SESSION_HANDLE, CK_ATTRIBUTE* attributes, CK_ULONG count) {
  found_at = 0;
  wanted_id.clear();
  for (CK_ULONG i = 0; i < count; ++i)
    if (attributes[i].type == CKA_ID) wanted_id = bytes_of(attributes[i]);
  return verdict();
}

CK_RV find(CK_SESSION_HANDLE, CK_OBJECT_HANDLE* handles, CK_ULONG count_max, CK_ULONG* count) {
  *count = 0;
  for (; found_at < objects.size() && *count < count_max; ++found_at) {
    const Object& object = objects[found_at];
    if (object.on_token == CK_FALSE || (!wanted_id.empty() && object.id != wanted_id)) continue;
    handles[(*count)++] = found_at + 1;
  }
  if (next() >= 0xf0) found_at = 0;  // The same objects again.
  *count = garbled(*count);
  return verdict();
}

CK_RV destroy(CK_SESSION_HANDLE, CK_OBJECT_HANDLE handle) {
  Object* object = object_of(handle);
  if (object == nullptr) return CKR_OBJECT_HANDLE_INVALID;
  if (next() < 0xf0) *object = {};
  return verdict();
}

CK_RV cipher_init(CK_SESSION_HANDLE, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE) {
  const auto& gcm = *static_cast<const CK_GCM_PARAMS*>(mechanism->pParameter);
  operation_aad.assign(gcm.aad_ptr, gcm.aad_ptr + gcm.aad_len);
  return verdict();
}

// Sealed: the bytes, each changed, then `tag_size` bytes that depend on all of them.
Bytes sealed(const CK_BYTE* in, CK_ULONG size, const Bytes& aad, std::size_t tag_size) {
  Bytes out(in, in + size);
  CK_BYTE sum = 1;
  for (const CK_BYTE byte : aad) sum = static_cast<CK_BYTE>(sum * 31 + byte);
  for (CK_BYTE& byte : out) {
    sum = static_cast<CK_BYTE>(sum * 31 + byte);
    byte ^= 0x5a;
  }
  out.insert(out.end(), tag_size, sum);
  return out;
}

// False when the tag does not fit.
bool open_sealed(const CK_BYTE* in, CK_ULONG size, const Bytes& aad, std::size_t tag_size,
                 Bytes& out) {
  if (size < tag_size) return false;
  out.assign(in, in + size - tag_size);
  for (CK_BYTE& byte : out) byte ^= 0x5a;
  return std::ranges::equal(sealed(out.data(), out.size(), aad, tag_size), Bytes(in, in + size));
}

CK_RV encrypt(CK_SESSION_HANDLE, CK_BYTE* in, CK_ULONG in_size, CK_BYTE* out, CK_ULONG* out_size) {
  return give(sealed(in, in_size, operation_aad, 16), out, out_size);
}

CK_RV decrypt(CK_SESSION_HANDLE, CK_BYTE* in, CK_ULONG in_size, CK_BYTE* out, CK_ULONG* out_size) {
  Bytes plain;
  const bool fits = open_sealed(in, in_size, operation_aad, 16, plain);
  if (!fits && next() < 0xf0) return CKR_ENCRYPTED_DATA_INVALID;
  return give(plain, out, out_size);
}

CK_RV wrap(CK_SESSION_HANDLE, CK_MECHANISM*, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE key, CK_BYTE* out,
           CK_ULONG* out_size) {
  const Object* object = object_of(key);
  if (object == nullptr) return CKR_KEY_HANDLE_INVALID;
  return give(sealed(object->value.data(), object->value.size(), {}, 8), out, out_size);
}

CK_RV unwrap(CK_SESSION_HANDLE, CK_MECHANISM*, CK_OBJECT_HANDLE, CK_BYTE* in, CK_ULONG in_size,
             CK_ATTRIBUTE*, CK_ULONG, CK_OBJECT_HANDLE* key) {
  Object object;
  const bool fits = open_sealed(in, in_size, {}, 8, object.value);
  if (!fits && next() < 0xf0) return CKR_WRAPPED_KEY_INVALID;
  objects.push_back(object);
  *key = objects.size();
  return verdict();
}

void put_text(CK_UTF8CHAR* field, std::size_t size, std::string_view text) {
  std::memset(field, ' ', size);
  std::memcpy(field, text.data(), text.size());
}

CK_RV get_token_info(CK_SLOT_ID, CK_TOKEN_INFO* info) {
  *info = {};
  put_text(info->label, sizeof(info->label), "fuzz");
  put_text(info->manufacturerID, sizeof(info->manufacturerID), "keyward");
  put_text(info->model, sizeof(info->model), "script");
  put_text(info->serialNumber, sizeof(info->serialNumber), "1");
  info->flags = CKF_TOKEN_INITIALIZED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_RNG;
  return verdict();
}

CK_FUNCTION_LIST make_list() {
  CK_FUNCTION_LIST list{};
  list.version = {2, 40};
  list.C_Initialize = [](void*) { return CK_RV{CKR_OK}; };
  list.C_Finalize = [](void*) { return CK_RV{CKR_OK}; };
  list.C_GetInfo = [](CK_INFO* info) {
    *info = {};
    info->cryptokiVersion = {2, 40};
    return CK_RV{CKR_OK};
  };
  list.C_GetSlotList = [](CK_BBOOL, CK_SLOT_ID* slots, CK_ULONG* count) {
    if (slots != nullptr) *slots = 7;
    *count = 1;
    return CK_RV{CKR_OK};
  };
  list.C_GetSlotInfo = [](CK_SLOT_ID, CK_SLOT_INFO* info) {
    *info = {};
    info->flags = CKF_TOKEN_PRESENT;
    return CK_RV{CKR_OK};
  };
  list.C_GetTokenInfo = get_token_info;
  list.C_OpenSession = [](CK_SLOT_ID, CK_FLAGS, void*, CK_NOTIFY, CK_SESSION_HANDLE* session) {
    *session = 1;
    return ++sessions_opened == kLibp11Session ? CKR_OK : verdict();
  };
  list.C_CloseSession = [](CK_SESSION_HANDLE) { return verdict(); };
  list.C_CloseAllSessions = [](CK_SLOT_ID) { return verdict(); };
  list.C_GetSessionInfo = [](CK_SESSION_HANDLE, CK_SESSION_INFO* info) {
    *info = {7, CKS_RW_USER_FUNCTIONS, CKF_SERIAL_SESSION | CKF_RW_SESSION, 0};
    return verdict();
  };
  list.C_Login = [](CK_SESSION_HANDLE, CK_USER_TYPE, CK_UTF8CHAR*, CK_ULONG) { return verdict(); };
  list.C_Logout = [](CK_SESSION_HANDLE) { return verdict(); };
  list.C_GenerateRandom = [](CK_SESSION_HANDLE, CK_BYTE* out, CK_ULONG size) {
    std::memset(out, static_cast<int>(next()), size);
    return verdict();
  };
  list.C_GenerateKey = [](CK_SESSION_HANDLE, CK_MECHANISM*, CK_ATTRIBUTE* attributes,
                          CK_ULONG count,
                          CK_OBJECT_HANDLE* key) { return make_object(attributes, count, key); };
  list.C_CreateObject = [](CK_SESSION_HANDLE, CK_ATTRIBUTE* attributes, CK_ULONG count,
                           CK_OBJECT_HANDLE* object) {
    return make_object(attributes, count, object);
  };
  list.C_GetAttributeValue = get_attributes;
  list.C_SetAttributeValue = set_attributes;
  list.C_FindObjectsInit = find_init;
  list.C_FindObjects = find;
  list.C_FindObjectsFinal = [](CK_SESSION_HANDLE) { return verdict(); };
  list.C_DestroyObject = destroy;
  list.C_EncryptInit = cipher_init;
  list.C_Encrypt = encrypt;
  list.C_DecryptInit = cipher_init;
  list.C_Decrypt = decrypt;
  list.C_WrapKey = wrap;
  list.C_UnwrapKey = unwrap;
  return list;
}

}  // namespace

// A new token, and what it is to do.
extern "C" void scripted_module_begin(const unsigned char* bytes, std::size_t size) {
  script = bytes;
  script_left = size;
  objects.clear();
  wanted_id.clear();
  operation_aad.clear();
  sessions_opened = 0;
}

extern "C" CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  static CK_FUNCTION_LIST functions = make_list();
  *list = &functions;
  return CKR_OK;
}
