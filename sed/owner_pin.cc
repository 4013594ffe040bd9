#include "sed/owner_pin.h"

#include <algorithm>
#include <string>

#include "base/text.h"
#include "crypto/kdf.h"

namespace keyward::sed {
namespace {

Result<SecretBytes> derive(const SecretBytes& owner_pin, std::string_view info, std::size_t size) {
  if (owner_pin.size() != kOwnerPinBytes)
    return fail(ErrorCode::invalid_argument, "owner PIN: it has 32 bytes");
  return crypto::hkdf_sha256(owner_pin.reveal(), {}, as_bytes(info), size);
}

}  // namespace

Result<SecretBytes> authority_pin(const SecretBytes& owner_pin, std::string_view authority) {
  return derive(owner_pin, std::string("sed pin v1 ").append(authority), kOwnerPinBytes);
}

Result<PinTag> pin_tag(const SecretBytes& owner_pin) {
  PinTag tag{};
  const SecretBytes derived = TRY(derive(owner_pin, "sed tag v1", tag.size()));
  std::ranges::copy(derived.reveal(), tag.begin());
  return tag;
}

Result<SecretBytes> normalized_psid(const SecretBytes& typed) {
  SecretBytes psid = TRY(typed.duplicate());
  std::size_t size = 0;
  for (const std::byte byte : typed.reveal()) {
    auto letter = std::to_integer<unsigned char>(byte);
    if (letter == '-' || letter == ' ') continue;
    if (letter >= 'a' && letter <= 'z') letter = static_cast<unsigned char>(letter - 'a' + 'A');
    psid.reveal_mutable()[size++] = std::byte{letter};
  }
  if (size == 0)
    return fail(ErrorCode::invalid_argument, "PSID: nothing was given; it is on the drive's label");
  psid.truncate(size);
  return psid;
}

}  // namespace keyward::sed
