#include "hsm/tpm2/tpm_warnings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/text.h"
#include "hsm/tpm2/tpm_sessions.h"

namespace keyward::hsm::tpm2 {
namespace {

// Four characters, the first in the highest byte; padded with spaces or zeros.
std::string text_of(std::uint32_t property) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const char letter = static_cast<char>(property >> shift & 0xff);
    if (letter != '\0') text += letter;
  }
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

// IBM's is the reference code, as swtpm has it; it says "SW" as its vendor.
bool is_virtual(std::string_view manufacturer, std::string_view vendor) {
  constexpr auto kMakers = std::to_array<std::string_view>({"MSFT", "VMW"});
  return (manufacturer == "IBM" && vendor.starts_with("SW")) ||
         std::ranges::find(kMakers, manufacturer) != kMakers.end();
}

Result<std::string> read_text(TpmConnection& tpm, TPM2_PT property) {
  return text_of(TRY(read_property(tpm, property)).value_or(0));
}

}  // namespace

Result<std::vector<HardwareWarning>> read_warnings(TpmConnection& tpm) {
  std::vector<HardwareWarning> warnings;
  const std::string manufacturer = TRY(read_text(tpm, TPM2_PT_MANUFACTURER));
  const std::string vendor = TRY(read_text(tpm, TPM2_PT_VENDOR_STRING_1));
  if (is_virtual(manufacturer, vendor))
    warnings.push_back(
        {true,
         fmt::format("it is a virtual TPM (manufacturer {}, {}): whoever keeps its state has its "
                     "keys, and putting back a snapshot undoes their destruction",
                     printable(manufacturer), printable(vendor)),
         "Fine for tests, and where that host is trusted. For real secrets, add hardware."});
  const std::uint32_t set = TRY(read_property(tpm, TPM2_PT_PERMANENT)).value_or(0);
  if ((set & TPMA_PERMANENT_OWNERAUTHSET) == 0)
    warnings.push_back(
        {false,
         "its owner hierarchy has no password: whoever reaches the TPM can remove the NV index "
         "that "
         "its copies open with",
         "Set one: tpm2_changeauth -c owner; then name it as owner_auth in the configuration."});
  if ((set & TPMA_PERMANENT_LOCKOUTAUTHSET) == 0)
    warnings.push_back(
        {false,
         "its lockout hierarchy has no password: whoever reaches the TPM can clear all of it, and "
         "reset the count of wrong PINs",
         "Set one, and keep it apart: tpm2_changeauth -c lockout."});
  return warnings;
}

}  // namespace keyward::hsm::tpm2
