#include "hsm/passphrase/passphrase_blob.h"
#include "tests/fuzz/blob_check.h"

namespace keyward::fuzz {

void fuzz_passphrase_blob(ByteView input) { check_blob_and_digest<hsm::PassphraseBlob>(input, 16); }

}  // namespace keyward::fuzz
