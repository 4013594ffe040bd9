// Token is the one token that this process serves: the vendor's module loaded, the token found by
// its label and serial number, the user logged in, one session open. libp11 does these; the session
// is then used with Cryptoki calls on the same loaded module (wrapping_keys.h).
//
//   std::unique_ptr<Token> token = TRY(Token::open(request));
//   CK_RV rv = token->calls().C_GenerateRandom(token->session(), out, size);
//
// One thread, no fork: modules and libp11 break over it. libp11's order matters: a session is asked
// for before the login, else direct sessions are not logged in (seen with 0.4.12).
#pragma once

#include <libp11.h>
#include <p11-kit/pkcs11.h>

#include <memory>

#include "base/c_ptr.h"
#include "base/result.h"
#include "hsm/pkcs11/helper_protocol.h"

namespace keyward::hsm::pkcs11 {

class Token final {
 public:
  // `unavailable` when the module or the token is not there (the message says what was seen),
  // `conflict` when a token of that label has another serial number, or several match;
  // `locked_out`, before anything is tried, when the next wrong PIN would lock it; `auth_failed`,
  // likewise, when the PIN is doubtful and the token counts a wrong try.
  static Result<std::unique_ptr<Token>> open(const HelloRequest& request);
  // Closes the session, logs out and finalizes the module.
  ~Token();
  Token(const Token&) = delete;
  Token& operator=(const Token&) = delete;

  const CK_FUNCTION_LIST& calls() const { return calls_; }
  CK_SESSION_HANDLE session() const { return session_; }
  HelloReply describe() const;

  // A new session in place of a lost one. Fails when the login went with it: then only a fresh
  // process helps, which is given the PIN again.
  Result<void> reopen_session();
  // Asks the module, not libp11's memory, whether this very token is still there.
  Result<void> check_present() const;

 private:
  Token() = default;
  Result<void> load(const char* path);
  Result<void> find(const HelloRequest& request);
  Result<void> check_tries(bool is_pin_doubtful) const;
  Result<void> login(const char* pin);
  Result<CK_SESSION_HANDLE> open_session() const;

  CK_FUNCTION_LIST calls_{};  // The module's; what it lacks answers so.
  CPtr<PKCS11_CTX, PKCS11_CTX_free> context_;
  bool is_loaded_ = false;
  PKCS11_SLOT* slots_ = nullptr;
  unsigned int slot_count_ = 0;
  PKCS11_SLOT* slot_ = nullptr;  // One of slots_.
  CK_SESSION_HANDLE session_ = 0;
};

}  // namespace keyward::hsm::pkcs11
