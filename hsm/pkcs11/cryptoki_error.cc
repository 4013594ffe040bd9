#include "hsm/pkcs11/cryptoki_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace keyward::hsm::pkcs11 {
namespace {

struct Meaning {
  std::uint64_t rv;
  std::string_view name;
  ErrorCode code;
  std::string_view text;  // What it means and what to do; may be empty.
};

constexpr std::string_view kDeviceText =
    "the token failed. Look at its own log and at its state; Keyward tries again";
constexpr std::string_view kGoneText = "the token is gone. Plug it in, or start its service";
constexpr std::string_view kTamperedText =
    "the sealed copy is not what the token made, or its context is another one";
constexpr std::string_view kRefusedText =
    "the token's policy or its module refuses this; Keyward cannot use it so";
constexpr std::string_view kLostText = "the session with the token was lost";
constexpr std::string_view kModuleText =
    "the module breaks its own specification; report it to the token's vendor";

constexpr auto kMeanings = std::to_array<Meaning>({
    {0x02, "CKR_HOST_MEMORY", ErrorCode::exhausted, "the module is out of memory, or not allowed"},
    {0x03, "CKR_SLOT_ID_INVALID", ErrorCode::unavailable, kGoneText},
    {ckr::kGeneralError, "CKR_GENERAL_ERROR", ErrorCode::unavailable, kDeviceText},
    {ckr::kFunctionFailed, "CKR_FUNCTION_FAILED", ErrorCode::unavailable, kDeviceText},
    {0x07, "CKR_ARGUMENTS_BAD", ErrorCode::protocol, kModuleText},
    {0x08, "CKR_NO_EVENT", ErrorCode::protocol, kModuleText},
    {0x0a, "CKR_CANT_LOCK", ErrorCode::unsupported, kRefusedText},
    {0x10, "CKR_ATTRIBUTE_READ_ONLY", ErrorCode::unsupported, kRefusedText},
    {0x11, "CKR_ATTRIBUTE_SENSITIVE", ErrorCode::unsupported, kRefusedText},
    {0x12, "CKR_ATTRIBUTE_TYPE_INVALID", ErrorCode::unsupported, kRefusedText},
    {0x13, "CKR_ATTRIBUTE_VALUE_INVALID", ErrorCode::unsupported, kRefusedText},
    {0x1b, "CKR_ACTION_PROHIBITED", ErrorCode::not_permitted, kRefusedText},
    {0x20, "CKR_DATA_INVALID", ErrorCode::corrupt, kTamperedText},
    {0x21, "CKR_DATA_LEN_RANGE", ErrorCode::corrupt, kTamperedText},
    {ckr::kDeviceError, "CKR_DEVICE_ERROR", ErrorCode::unavailable, kDeviceText},
    {0x31, "CKR_DEVICE_MEMORY", ErrorCode::exhausted,
     "the token is full. Remove objects that nothing uses (`keyward doctor` lists Keyward's)"},
    {ckr::kDeviceRemoved, "CKR_DEVICE_REMOVED", ErrorCode::unavailable, kGoneText},
    {0x40, "CKR_ENCRYPTED_DATA_INVALID", ErrorCode::corrupt, kTamperedText},
    {0x41, "CKR_ENCRYPTED_DATA_LEN_RANGE", ErrorCode::corrupt, kTamperedText},
    {0x42, "CKR_AEAD_DECRYPT_FAILED", ErrorCode::corrupt, kTamperedText},
    {0x50, "CKR_FUNCTION_CANCELED", ErrorCode::unavailable, kDeviceText},
    {0x54, "CKR_FUNCTION_NOT_SUPPORTED", ErrorCode::unsupported, kRefusedText},
    {ckr::kKeyHandleInvalid, "CKR_KEY_HANDLE_INVALID", ErrorCode::unavailable, kLostText},
    {0x62, "CKR_KEY_SIZE_RANGE", ErrorCode::unsupported, kRefusedText},
    {0x63, "CKR_KEY_TYPE_INCONSISTENT", ErrorCode::unsupported, kRefusedText},
    {0x68, "CKR_KEY_FUNCTION_NOT_PERMITTED", ErrorCode::not_permitted, kRefusedText},
    {0x69, "CKR_KEY_NOT_WRAPPABLE", ErrorCode::unsupported, kRefusedText},
    {0x6a, "CKR_KEY_UNEXTRACTABLE", ErrorCode::unsupported, kRefusedText},
    {0x70, "CKR_MECHANISM_INVALID", ErrorCode::unsupported, kRefusedText},
    {0x71, "CKR_MECHANISM_PARAM_INVALID", ErrorCode::unsupported, kRefusedText},
    {ckr::kObjectHandleInvalid, "CKR_OBJECT_HANDLE_INVALID", ErrorCode::unavailable, kLostText},
    {ckr::kOperationActive, "CKR_OPERATION_ACTIVE", ErrorCode::protocol, kModuleText},
    {0x91, "CKR_OPERATION_NOT_INITIALIZED", ErrorCode::protocol, kModuleText},
    {0xa0, "CKR_PIN_INCORRECT", ErrorCode::auth_failed,
     "the token refused the PIN. One try was spent; correct the PIN where the configuration says "
     "that it is, Keyward does not try this one again"},
    {0xa1, "CKR_PIN_INVALID", ErrorCode::auth_failed,
     "the PIN has characters that the token does not take. Correct it"},
    {0xa2, "CKR_PIN_LEN_RANGE", ErrorCode::auth_failed,
     "the PIN is too short or too long for this token. Correct it"},
    {0xa3, "CKR_PIN_EXPIRED", ErrorCode::auth_failed,
     "the PIN has expired. Set a new one with the token's own tool, then put it where the "
     "configuration says"},
    {0xa4, "CKR_PIN_LOCKED", ErrorCode::locked_out,
     "the token has locked the PIN after too many wrong tries. The security officer must set it "
     "anew"},
    {ckr::kSessionClosed, "CKR_SESSION_CLOSED", ErrorCode::unavailable, kLostText},
    {0xb1, "CKR_SESSION_COUNT", ErrorCode::busy, "other programs hold all the token's sessions"},
    {ckr::kSessionHandleInvalid, "CKR_SESSION_HANDLE_INVALID", ErrorCode::unavailable, kLostText},
    {0xb5, "CKR_SESSION_READ_ONLY", ErrorCode::not_permitted, kRefusedText},
    {0xc0, "CKR_SIGNATURE_INVALID", ErrorCode::corrupt, kTamperedText},
    {0xd0, "CKR_TEMPLATE_INCOMPLETE", ErrorCode::unsupported, kRefusedText},
    {0xd1, "CKR_TEMPLATE_INCONSISTENT", ErrorCode::unsupported, kRefusedText},
    {ckr::kTokenNotPresent, "CKR_TOKEN_NOT_PRESENT", ErrorCode::unavailable, kGoneText},
    {0xe1, "CKR_TOKEN_NOT_RECOGNIZED", ErrorCode::unavailable, kGoneText},
    {0xe2, "CKR_TOKEN_WRITE_PROTECTED", ErrorCode::not_permitted,
     "the token is write-protected, so no key can be made or destroyed in it"},
    {0x100, "CKR_USER_ALREADY_LOGGED_IN", ErrorCode::unavailable, kLostText},
    {ckr::kUserNotLoggedIn, "CKR_USER_NOT_LOGGED_IN", ErrorCode::unavailable, kLostText},
    {0x102, "CKR_USER_PIN_NOT_INITIALIZED", ErrorCode::auth_failed,
     "the token has no user PIN yet. Set one with the token's own tool"},
    {0x104, "CKR_USER_ANOTHER_ALREADY_LOGGED_IN", ErrorCode::busy, "another user is logged in"},
    {0x105, "CKR_USER_TOO_MANY_TYPES", ErrorCode::busy, "other users are logged in"},
    {0x110, "CKR_WRAPPED_KEY_INVALID", ErrorCode::corrupt, kTamperedText},
    {0x112, "CKR_WRAPPED_KEY_LEN_RANGE", ErrorCode::corrupt, kTamperedText},
    {0x150, "CKR_BUFFER_TOO_SMALL", ErrorCode::protocol, kModuleText},
    {ckr::kNotInitialized, "CKR_CRYPTOKI_NOT_INITIALIZED", ErrorCode::unavailable, kLostText},
    {0x191, "CKR_CRYPTOKI_ALREADY_INITIALIZED", ErrorCode::protocol, kModuleText},
});

const Meaning* find_meaning(std::uint64_t rv) {
  const auto* found = std::ranges::find(kMeanings, rv, &Meaning::rv);
  return found == kMeanings.end() ? nullptr : found;
}

}  // namespace

std::string cryptoki_name(std::uint64_t rv) {
  const Meaning* meaning = find_meaning(rv);
  return meaning != nullptr ? std::string(meaning->name) : fmt::format("CKR_{:#x}", rv);
}

Error cryptoki_error(std::string_view function, std::uint64_t rv) {
  const Meaning* meaning = find_meaning(rv);
  if (meaning == nullptr) {
    return {ErrorCode::unavailable,
            fmt::format("{}: {}: the module failed for a reason of its own; its manual may name it",
                        function, cryptoki_name(rv)),
            function, rv};
  }
  return {meaning->code, fmt::format("{}: {}: {}", function, meaning->name, meaning->text),
          function, rv};
}

std::string_view cryptoki_function(std::string_view name) {
  constexpr auto kNames = std::to_array<std::string_view>({"dlopen",
                                                           "C_GetFunctionList",
                                                           "C_Initialize",
                                                           "C_GetSlotList",
                                                           "C_GetTokenInfo",
                                                           "C_OpenSession",
                                                           "C_GetSessionInfo",
                                                           "C_Login",
                                                           "C_GenerateKey",
                                                           "C_CreateObject",
                                                           "C_DestroyObject",
                                                           "C_GetAttributeValue",
                                                           "C_SetAttributeValue",
                                                           "C_FindObjectsInit",
                                                           "C_FindObjects",
                                                           "C_FindObjectsFinal",
                                                           "C_GenerateRandom",
                                                           "C_EncryptInit",
                                                           "C_Encrypt",
                                                           "C_DecryptInit",
                                                           "C_Decrypt",
                                                           "C_WrapKey",
                                                           "C_UnwrapKey"});
  const auto* found = std::ranges::find(kNames, name);
  return found == kNames.end() ? std::string_view() : *found;
}

bool is_session_error(std::uint64_t rv) {
  return had_no_effect(rv) || rv == ckr::kDeviceError || rv == ckr::kDeviceRemoved ||
         rv == ckr::kTokenNotPresent || rv == ckr::kObjectHandleInvalid ||
         rv == ckr::kKeyHandleInvalid;
}

bool had_no_effect(std::uint64_t rv) {
  return rv == ckr::kSessionHandleInvalid || rv == ckr::kSessionClosed ||
         rv == ckr::kUserNotLoggedIn || rv == ckr::kNotInitialized || rv == ckr::kOperationActive;
}

bool is_ambiguous(std::uint64_t rv) {
  return rv == ckr::kGeneralError || rv == ckr::kFunctionFailed;
}

}  // namespace keyward::hsm::pkcs11
