// What a PKCS#11 return value means, for our callers and for people. Used by the custodian and by
// its helper process.
//
//   if (rv != CKR_OK) return std::unexpected(cryptoki_error("C_Login", rv));
//
// The numbers are those of PKCS #11 v2.40 and v3.0, written down here so that only the helper needs
// the Cryptoki header. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace keyward::hsm::pkcs11 {

// Return values on which our own code branches.
namespace ckr {
inline constexpr std::uint64_t kGeneralError = 0x05;
inline constexpr std::uint64_t kFunctionFailed = 0x06;
inline constexpr std::uint64_t kDeviceError = 0x30;
inline constexpr std::uint64_t kDeviceRemoved = 0x32;
inline constexpr std::uint64_t kKeyHandleInvalid = 0x60;
inline constexpr std::uint64_t kObjectHandleInvalid = 0x82;
inline constexpr std::uint64_t kOperationActive = 0x90;
inline constexpr std::uint64_t kSessionClosed = 0xb0;
inline constexpr std::uint64_t kSessionHandleInvalid = 0xb3;
inline constexpr std::uint64_t kTokenNotPresent = 0xe0;
inline constexpr std::uint64_t kUserNotLoggedIn = 0x101;
inline constexpr std::uint64_t kNotInitialized = 0x190;
}  // namespace ckr

// "CKR_PIN_INCORRECT"; "CKR_0x80000001" for one that the standard does not name.
std::string cryptoki_name(std::uint64_t rv);

// "C_Login: CKR_PIN_INCORRECT: the token refused the PIN. …". `function` is a literal.
Error cryptoki_error(std::string_view function, std::uint64_t rv);

// The literal of a function's name that came from the helper as text; empty for an unknown one.
std::string_view cryptoki_function(std::string_view name);

// The session, the login or the handles are gone, the session is stuck in a call that failed, or
// the device is in doubt: open again, find the object again, and repeat once.
bool is_session_error(std::uint64_t rv);
// As above, and certain that the call had no effect.
bool had_no_effect(std::uint64_t rv);
// May be the answer to tampered ciphertext or to a broken device: modules do not agree.
bool is_ambiguous(std::uint64_t rv);

}  // namespace keyward::hsm::pkcs11
