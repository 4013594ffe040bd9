// Server answers the messages of one custodian, one after the other, until its socket ends.
//
//   return serve(kHelperSocket);
//
// A call that finds its session lost is repeated once in a new one; what that does not mend is
// reported, and the custodian starts a fresh process. The request and the reply lie in locked
// memory and are wiped after every message.
#pragma once

#include <memory>

#include "base/result.h"
#include "hsm/pkcs11/helper/wrapping_keys.h"
#include "hsm/pkcs11/helper_protocol.h"

namespace keyward::hsm::pkcs11 {

class Server final {
 public:
  // Fills `reply`, whose fields are all zero before.
  void answer(HelperMessage& request, HelperMessage& reply);

 private:
  Result<void> run(HelperMessage& request, HelperMessage& reply);
  Result<void> run_in_session(HelperMessage& request, HelperMessage& reply);
  Result<void> hello(HelperMessage& request, HelperMessage& reply);
  Result<void> wrap_or_unwrap(HelperMessage& request, HelperMessage& reply);
  Result<void> list(const HelperMessage& request, HelperMessage& reply);
  Result<void> random(const HelperMessage& request, HelperMessage& reply);

  std::unique_ptr<Token> token_;
  std::unique_ptr<WrappingKeys> keys_;
};

// Returns at the end of the socket; an error is one that ends the process.
Result<void> serve(int socket);

}  // namespace keyward::hsm::pkcs11
