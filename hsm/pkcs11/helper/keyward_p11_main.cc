// keyward-p11: runs one PKCS#11 module for one custodian of keywardd, which starts and ends it.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>

#include "base/log.h"
#include "hsm/pkcs11/helper/sandbox.h"
#include "hsm/pkcs11/helper/server.h"

namespace {

bool has_our_socket() {
  int type = 0;
  socklen_t size = sizeof(type);
  return ::getsockopt(keyward::hsm::pkcs11::kHelperSocket, SOL_SOCKET, SO_TYPE, &type, &size) ==
             0 &&
         type == SOCK_SEQPACKET;
}

}  // namespace

int main() {
  using namespace keyward;
  if (!has_our_socket()) {
    std::fputs("keyward-p11 is started by keywardd, with a socket; it does nothing by hand.\n",
               stderr);
    return 2;
  }
  Result<void> done = hsm::pkcs11::enter_sandbox();
  if (done) done = hsm::pkcs11::serve(hsm::pkcs11::kHelperSocket);
  if (!done) log(LogLevel::error, "keyward-p11: {}", done.error().message);
  // The module is finalized by now. Its static destructors, and OpenSSL's with them, are known to
  // crash (SoftHSM issues 635, 553, 722; libp11 issue 239).
  ::_exit(done ? 0 : 1);
}
