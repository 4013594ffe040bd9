#include "hsm/pkcs11/pin_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace keyward::hsm::pkcs11 {

constexpr std::size_t kPinBytesMax = 255;

Result<PinSource> PinSource::parse(std::string_view text) {
  Result<SecretFile> file = SecretFile::parse(text);
  if (!file) return std::unexpected(with_context(std::move(file.error()), "pin"));
  return PinSource(std::move(*file));
}

Result<Pin> PinSource::read() const {
  Pin pin = TRY(file_.read("the PIN", kPinBytesMax));
  // A Cryptoki PIN is a text; many modules would take what stands before the NUL for all of it.
  if (std::ranges::find(pin.text.reveal(), std::byte{0}) != pin.text.reveal().end())
    return fail(ErrorCode::invalid_argument,
                fmt::format("the PIN in {} holds a NUL byte; write it as text", printable(path())));
  return pin;
}

}  // namespace keyward::hsm::pkcs11
