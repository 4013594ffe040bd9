// Known-answer tests for AES-256-GCM engines: run before an engine's first use.
#pragma once

#include "crypto/aead.h"

namespace keyward::crypto {

// `unsupported` names the first vector that the engine gets wrong.
Result<void> check_known_answers(const AeadEngine& engine);

}  // namespace keyward::crypto
