#include "sed/tcg/quirks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace keyward::sed::tcg {
namespace {

struct Rule {
  std::string_view model;     // Part of the model's name, in capitals.
  std::string_view firmware;  // How its firmware's name begins. Empty: any.
  bool Quirks::*quirk;
  std::string_view what;  // For people.
  std::string_view reported;
};

// Part numbers stand beside the names of families, since it is those that drives call themselves.
constexpr Rule kRules[] = {
    {"PM9D3A", "", &Quirks::no_stack_reset, "it stops answering after a STACK_RESET",
     "go-tcg-storage PR 158"},
    {"MZWL6", "", &Quirks::no_stack_reset, "it stops answering after a STACK_RESET",
     "go-tcg-storage PR 158, PM9D3a"},
    {"MZTL6", "", &Quirks::no_stack_reset, "it stops answering after a STACK_RESET",
     "go-tcg-storage PR 158, PM9D3a"},
    {"4TE3", "", &Quirks::no_authenticate, "it takes PINs in StartSession alone",
     "go-tcg-storage PR 183"},
    {"HUH7212", "", &Quirks::short_properties, "it answers in the smallest packets alone",
     "go-tcg-storage issue 116"},
    {"MX200", "", &Quirks::shadow_mbr_stays, "its shadow MBR cannot be disabled",
     "DTA sedutil issue 125"},
};

std::string in_capitals(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

}  // namespace

Quirks quirks_of(const DriveIdentity& identity) {
  const std::string model = in_capitals(identity.model);
  const std::string firmware = in_capitals(identity.firmware);
  Quirks quirks;
  for (const Rule& rule : kRules) {
    if (!model.contains(rule.model) || !firmware.starts_with(rule.firmware)) continue;
    quirks.*rule.quirk = true;
    quirks.notes.push_back(fmt::format("{} ({})", rule.what, rule.reported));
  }
  return quirks;
}

}  // namespace keyward::sed::tcg
