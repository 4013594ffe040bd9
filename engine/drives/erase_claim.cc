#include "engine/drives/erase_claim.h"

#include <fmt/format.h>

namespace keyward::engine {
namespace {

using sed::EraseMethod;

enum class Kind { opal, enterprise, pyrite_1, pyrite_2, ata, other };

Kind kind_of(std::string_view feature) {
  if (feature.starts_with("Opal") || feature.starts_with("Ruby"))
    return Kind::opal;  // Opalite too.
  if (feature.starts_with("Enterprise")) return Kind::enterprise;
  if (feature.starts_with("Pyrite 1")) return Kind::pyrite_1;
  if (feature.starts_with("Pyrite")) return Kind::pyrite_2;
  if (feature == "ATA Security") return Kind::ata;
  return Kind::other;
}

std::string_view act(Kind kind, EraseMethod method) {
  switch (method) {
    case EraseMethod::crypto_erase:
      return kind == Kind::enterprise ? "Erase of all bands: new media keys"
                                      : "GenKey of the media keys of all ranges";
    case EraseMethod::revert:
      return "Revert to the factory state, by the owner's PIN";
    case EraseMethod::revert_locking:
      return "RevertSP of the Locking SP, its data included";
    case EraseMethod::psid_revert:
      return "Revert to the factory state, by the PSID";
    case EraseMethod::ata_enhanced:
      return "SECURITY ERASE UNIT, in enhanced mode where the drive has it";
  }
  return "unknown";
}

EraseClaim nothing(std::string method, std::string_view why) {
  return {std::move(method), fmt::format("none claimed: {}", why),
          fmt::format("none claimed: {}", why)};
}

EraseClaim claim_of(Kind kind, std::string method) {
  switch (kind) {
    case Kind::opal:
    case Kind::enterprise:
      return {std::move(method), "Purge (Cryptographic Erase)", "Purge, cryptographic erase"};
    case Kind::pyrite_1:
      return nothing(std::move(method),
                     "a Pyrite 1 drive resets its locks; its specification has it neither encrypt "
                     "nor remove data");
    case Kind::pyrite_2:
      return nothing(std::move(method),
                     "a Pyrite 2 drive need not encrypt, and removes data by a mechanism of its "
                     "own choice, which was not verified");
    case Kind::ata:
      return {std::move(method),
              "Clear (of a magnetic disk in enhanced mode: Purge; Keyward does not tell which it "
              "is)",
              "Clear"};
    case Kind::other:
      break;
  }
  return nothing(std::move(method), "Keyward does not know this drive's security feature");
}

}  // namespace

EraseClaim erase_claim(std::string_view feature, EraseMethod method) {
  const Kind kind = kind_of(feature);
  const bool is_tcg = kind != Kind::ata && kind != Kind::other;
  std::string text = fmt::format("{} ({}{})", act(kind, method), is_tcg ? "TCG " : "",
                                 feature.empty() ? "no feature" : feature);
  const bool is_ata_erase = method == EraseMethod::ata_enhanced;
  // An Opal drive that was erased by the ATA command, or the other way round, is judged by neither.
  if (is_ata_erase && kind != Kind::ata && kind != Kind::other)
    return claim_of(Kind::ata, std::move(text));
  if (!is_ata_erase && kind == Kind::ata)
    return nothing(std::move(text), "ATA Security has no such method");
  return claim_of(kind, std::move(text));
}

EraseClaim disproved(EraseClaim claim) {
  return nothing(std::move(claim.method), "the read probe found data that were there before");
}

}  // namespace keyward::engine
