#include "hsm/tpm2/sealed_blob.h"
#include "tests/fuzz/blob_check.h"

namespace keyward::fuzz {

void fuzz_tpm2_blob(ByteView input) { check_blob_and_digest<hsm::tpm2::SealedBlob>(input, 32); }

}  // namespace keyward::fuzz
