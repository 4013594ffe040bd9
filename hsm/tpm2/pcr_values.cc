#include "hsm/tpm2/pcr_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace keyward::hsm::tpm2 {
namespace {

// TCG PC Client Platform Firmware Profile, 3.3.4, and what Linux and systemd measure.
std::string_view pcr_purpose(std::uint8_t pcr) {
  constexpr auto kPurposes = std::to_array<std::string_view>(
      {"firmware", "firmware settings", "option ROMs", "option ROM settings", "boot loader",
       "partition table and boot settings", "platform", "Secure Boot state and keys",
       "boot commands", "kernel and initrd", "IMA", "unified kernel image", "kernel command line",
       "system extensions", "shim's keys", "system identity"});
  return pcr < kPurposes.size() ? kPurposes[pcr] : "application";
}

}  // namespace

std::uint32_t pcr_mask(const PcrValues& values) {
  std::uint32_t mask = 0;
  for (const PcrValue& value : values) mask |= 1u << value.pcr;
  return mask;
}

crypto::Sha256Digest pcr_digest(const PcrValues& values) {
  std::vector<ByteView> parts;
  for (const PcrValue& value : values) parts.emplace_back(value.value);
  return crypto::sha256(parts);
}

std::string describe_change(const PcrValues& before, const PcrValues& now) {
  std::string text;
  for (const PcrValue& value : before) {
    if (std::ranges::find(now, value) != now.end()) continue;
    text +=
        fmt::format("{}PCR {} ({})", text.empty() ? "" : ", ", value.pcr, pcr_purpose(value.pcr));
  }
  return text;
}

}  // namespace keyward::hsm::tpm2
