#include "hsm/pkcs11/wrapped_blob.h"
#include "tests/fuzz/blob_check.h"

namespace keyward::fuzz {

void fuzz_pkcs11_blob(ByteView input) {
  check_blob_and_digest<hsm::pkcs11::WrappedBlob>(input, 32);
}

}  // namespace keyward::fuzz
