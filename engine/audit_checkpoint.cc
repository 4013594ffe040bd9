#include "engine/audit_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/fields.h"
#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::engine {
namespace {

// A signature of ours over anything else is none over a checkpoint.
constexpr std::string_view kLabel = "keyward audit checkpoint v1\n";

std::string signed_text(AuditCheckpoint checkpoint) {
  checkpoint.signature.clear();
  return std::string(kLabel) + api::to_json(checkpoint);
}

template <typename Array>
bool fill_from_hex(std::string_view text, Array& array) {
  const auto bytes = from_hex(text);
  if (!bytes || bytes->size() != array.size()) return false;
  std::ranges::copy(*bytes, array.begin());
  return true;
}

}  // namespace

std::string checkpoint_name(std::uint64_t number) {
  return fmt::format("checkpoint/{:020}", number);
}

std::string checkpoint_to_json(const AuditCheckpoint& checkpoint) {
  return api::to_json(checkpoint);
}

Result<AuditCheckpoint> checkpoint_from_json(std::string_view json) {
  return api::from_json<AuditCheckpoint>(json);
}

Result<void> sign(AuditCheckpoint& checkpoint, const SecretBytes& seed) {
  checkpoint.public_key = to_hex(TRY(crypto::ed25519_public_key(seed)));
  checkpoint.signature = to_hex(TRY(crypto::ed25519_sign(seed, as_bytes(signed_text(checkpoint)))));
  return {};
}

bool has_valid_signature(const AuditCheckpoint& checkpoint) {
  crypto::Ed25519PublicKey key{};
  crypto::Ed25519Signature signature{};
  return fill_from_hex(checkpoint.public_key, key) &&
         fill_from_hex(checkpoint.signature, signature) &&
         crypto::ed25519_verify(key, as_bytes(signed_text(checkpoint)), signature);
}

}  // namespace keyward::engine
