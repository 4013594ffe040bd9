#include "hsm/pkcs11/helper/token.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <openssl/err.h>

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "hsm/pkcs11/cryptoki_error.h"

namespace keyward::hsm::pkcs11 {
namespace {

// libp11 reports through OpenSSL's error queue; the reason is the CK_RV of the call that failed.
std::unexpected<Error> libp11_failure(std::string_view function) {
  const auto rv = static_cast<std::uint64_t>(ERR_GET_REASON(ERR_peek_last_error()));
  ERR_clear_error();
  return std::unexpected(cryptoki_error(function, rv));
}

std::string_view text_of(const char* text) { return text == nullptr ? "" : text; }

bool matches(std::string_view wanted, const char* actual) {
  return wanted.empty() || wanted == text_of(actual);
}

bool matches_but_serial(const HelloRequest& request, const PKCS11_TOKEN& token) {
  return matches(request.label.data(), token.label) &&
         matches(request.manufacturer.data(), token.manufacturer) &&
         matches(request.model.data(), token.model);
}

std::string wanted_text(const HelloRequest& request) {
  std::string text;
  if (request.label[0] != '\0')
    text += fmt::format(" labelled \"{}\"", printable(request.label.data()));
  if (request.serial[0] != '\0')
    text += fmt::format(" with serial number {}", printable(request.serial.data()));
  return text;
}

std::string seen_text(std::span<const PKCS11_SLOT> slots) {
  std::string text;
  for (const PKCS11_SLOT& slot : slots) {
    if (slot.token == nullptr || slot.token->initialized == 0) continue;
    text += fmt::format("{}\"{}\" (serial {})", text.empty() ? "" : ", ",
                        printable(text_of(slot.token->label)),
                        printable(text_of(slot.token->serialnr)));
  }
  return text.empty() ? "no initialised token at all" : text;
}

template <std::size_t Size>
void copy_text(std::array<char, Size>& target, const char* source) {
  const std::string_view text = text_of(source).substr(0, Size - 1);
  std::memcpy(target.data(), text.data(), text.size());
}

// A module may leave out what it cannot do.
template <typename... Arguments>
void fill_gap(CK_RV (*&function)(Arguments...)) {
  if (function == nullptr)
    function = [](Arguments...) -> CK_RV { return CKR_FUNCTION_NOT_SUPPORTED; };
}

CK_FUNCTION_LIST without_gaps(CK_FUNCTION_LIST list) {
  fill_gap(list.C_GetTokenInfo);
  fill_gap(list.C_OpenSession);
  fill_gap(list.C_CloseSession);
  fill_gap(list.C_GetSessionInfo);
  fill_gap(list.C_GenerateKey);
  fill_gap(list.C_CreateObject);
  fill_gap(list.C_DestroyObject);
  fill_gap(list.C_GetAttributeValue);
  fill_gap(list.C_SetAttributeValue);
  fill_gap(list.C_FindObjectsInit);
  fill_gap(list.C_FindObjects);
  fill_gap(list.C_FindObjectsFinal);
  fill_gap(list.C_EncryptInit);
  fill_gap(list.C_Encrypt);
  fill_gap(list.C_DecryptInit);
  fill_gap(list.C_Decrypt);
  fill_gap(list.C_WrapKey);
  fill_gap(list.C_UnwrapKey);
  fill_gap(list.C_GenerateRandom);
  return list;
}

}  // namespace

Result<std::unique_ptr<Token>> Token::open(const HelloRequest& request) {
  std::unique_ptr<Token> token(new Token);
  if (Result<void> loaded = token->load(request.module.data()); !loaded) {
    if (loaded.error().origin == "C_Initialize" && !request.allow_network)
      loaded.error().message +=
          ". A module that talks to a service of its own over a socket needs `network = true`";
    return std::unexpected(std::move(loaded.error()));
  }
  TRY(token->find(request));
  TRY(token->check_tries(request.is_pin_doubtful));
  TRY(token->login(request.pin.data()));
  return token;
}

Token::~Token() {
  if (session_ != 0) static_cast<void>(calls_.C_CloseSession(session_));
  if (slot_ != nullptr) static_cast<void>(PKCS11_logout(slot_));
  if (slots_ != nullptr) PKCS11_release_all_slots(context_.get(), slots_, slot_count_);
  if (is_loaded_) PKCS11_CTX_unload(context_.get());
}

Result<void> Token::load(const char* path) {
  // libp11 keeps the function list to itself; the loader gives the object that it loads later. The
  // handle is never closed: modules crash when they are unloaded.
  void* module = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    return fail(ErrorCode::unavailable,
                fmt::format("dlopen: the PKCS#11 module cannot be loaded: {}. Install it, or "
                            "correct `module` in the configuration",
                            // The helper has one thread. NOLINTNEXTLINE(concurrency-mt-unsafe)
                            printable(text_of(::dlerror()), 512)),
                "dlopen");
  }
  const auto get_list =
      reinterpret_cast<CK_C_GetFunctionList>(::dlsym(module, "C_GetFunctionList"));
  CK_FUNCTION_LIST* list = nullptr;
  if (get_list == nullptr || get_list(&list) != CKR_OK || list == nullptr) {
    return fail(ErrorCode::unavailable,
                fmt::format("C_GetFunctionList: {} is not a PKCS#11 module; correct `module` in "
                            "the configuration",
                            printable(path, 512)),
                "C_GetFunctionList");
  }
  calls_ = without_gaps(*list);
  context_.reset(PKCS11_CTX_new());
  if (context_ == nullptr) return fail(ErrorCode::exhausted, "PKCS11_CTX_new: no memory");
  ERR_clear_error();
  if (PKCS11_CTX_load(context_.get(), path) != 0) return libp11_failure("C_Initialize");
  is_loaded_ = true;
  return {};
}

Result<void> Token::find(const HelloRequest& request) {
  ERR_clear_error();
  if (PKCS11_enumerate_slots(context_.get(), &slots_, &slot_count_) != 0)
    return libp11_failure("C_GetSlotList");
  const std::span<PKCS11_SLOT> slots(slots_, slot_count_);
  bool has_other_serial = false;
  PKCS11_SLOT* found = nullptr;
  for (PKCS11_SLOT& slot : slots) {
    if (slot.token == nullptr || slot.token->initialized == 0) continue;
    if (!matches_but_serial(request, *slot.token)) continue;
    if (!matches(request.serial.data(), slot.token->serialnr)) {
      has_other_serial = true;
      continue;
    }
    if (found != nullptr)
      return fail(ErrorCode::conflict,
                  fmt::format("more than one token{} is there: {}. Add serial= to `token` in the "
                              "configuration",
                              wanted_text(request), seen_text(slots)));
    found = &slot;
  }
  slot_ = found;
  if (found != nullptr) return {};
  if (has_other_serial && request.label[0] != '\0')
    return fail(ErrorCode::conflict,
                fmt::format("another token is in place of the one{}: {}. Put the right token back, "
                            "or add the new one as a custodian of its own",
                            wanted_text(request), seen_text(slots)));
  return fail(ErrorCode::unavailable,
              fmt::format("there is no token{}; the module shows {}. Plug the token in, start its "
                          "service, or correct `token` in the configuration",
                          wanted_text(request), seen_text(slots)),
              "C_GetSlotList", ckr::kTokenNotPresent);
}

// CKF_USER_PIN_COUNT_LOW only tells that the last try was wrong: then a corrected PIN is welcome,
// but not one that may be the very one that was refused, by a module that broke before it said so.
Result<void> Token::check_tries(bool is_pin_doubtful) const {
  const PKCS11_TOKEN& token = *slot_->token;
  if (token.userPinLocked != 0)
    return fail(ErrorCode::locked_out,
                fmt::format("the token \"{}\" has locked its PIN. The security officer must set it "
                            "anew with the token's own tool; Keyward tried nothing",
                            printable(text_of(token.label))),
                "C_GetTokenInfo");
  if (token.userPinFinalTry != 0)
    return fail(ErrorCode::locked_out,
                fmt::format("the token \"{}\" has one PIN try left, and Keyward never spends the "
                            "last one. Check the PIN, log in once with the token's own tool (that "
                            "resets the count), then try again",
                            printable(text_of(token.label))),
                "C_GetTokenInfo");
  if (is_pin_doubtful && token.userPinCountLow != 0)
    return fail(ErrorCode::auth_failed,
                fmt::format("the token \"{}\" counts a wrong PIN try, and the last login was not "
                            "answered, so that it may have been this PIN's. Check the PIN, then "
                            "write it to its file again to have it tried",
                            printable(text_of(token.label))),
                "C_GetTokenInfo");
  return {};
}

Result<void> Token::login(const char* pin) {
  // libp11 (0.4.12) waits for ever for a session that the token refuses, so we ask first.
  const CK_SESSION_HANDLE session = TRY(open_session());
  static_cast<void>(calls_.C_CloseSession(session));
  ERR_clear_error();
  if (PKCS11_open_session(slot_, 1) != 0) return libp11_failure("C_OpenSession");
  if (slot_->token->loginRequired != 0 && PKCS11_login(slot_, 0, pin) != 0)
    return libp11_failure("C_Login");
  return reopen_session();
}

Result<CK_SESSION_HANDLE> Token::open_session() const {
  CK_SESSION_HANDLE session = 0;
  const CK_RV rv =
      calls_.C_OpenSession(PKCS11_get_slotid_from_slot(slot_), CKF_SERIAL_SESSION | CKF_RW_SESSION,
                           nullptr, nullptr, &session);
  if (rv != CKR_OK) return std::unexpected(cryptoki_error("C_OpenSession", rv));
  return session;
}

Result<void> Token::reopen_session() {
  if (session_ != 0) static_cast<void>(calls_.C_CloseSession(session_));
  session_ = 0;
  session_ = TRY(open_session());
  if (slot_->token->loginRequired == 0) return {};
  CK_SESSION_INFO info{};
  const CK_RV rv = calls_.C_GetSessionInfo(session_, &info);
  if (rv != CKR_OK) return std::unexpected(cryptoki_error("C_GetSessionInfo", rv));
  if (info.state != CKS_RW_USER_FUNCTIONS)
    return std::unexpected(cryptoki_error("C_GetSessionInfo", CKR_USER_NOT_LOGGED_IN));
  return {};
}

Result<void> Token::check_present() const {
  CK_TOKEN_INFO info{};
  const CK_RV rv = calls_.C_GetTokenInfo(PKCS11_get_slotid_from_slot(slot_), &info);
  if (rv != CKR_OK) return std::unexpected(cryptoki_error("C_GetTokenInfo", rv));
  std::string_view serial(reinterpret_cast<const char*>(info.serialNumber),
                          sizeof(info.serialNumber));
  serial = serial.substr(0, serial.find_last_not_of(' ') + 1);
  if (serial == text_of(slot_->token->serialnr)) return {};
  return std::unexpected(cryptoki_error("C_GetTokenInfo", CKR_TOKEN_NOT_PRESENT));
}

HelloReply Token::describe() const {
  HelloReply reply{};
  copy_text(reply.label, slot_->token->label);
  copy_text(reply.serial, slot_->token->serialnr);
  copy_text(reply.manufacturer, slot_->token->manufacturer);
  copy_text(reply.model, slot_->token->model);
  return reply;
}

}  // namespace keyward::hsm::pkcs11
