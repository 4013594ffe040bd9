// The fast engine on x86: intel-ipsec-mb's direct GCM calls.
#pragma once

#include "crypto/aead.h"

namespace keyward::crypto {

// nullptr when this CPU has no AES instructions (the library's table-driven code for such CPUs
// leaks the key through the cache), or when the product was built without the library.
const AeadEngine* ipsec_mb_engine();

}  // namespace keyward::crypto
