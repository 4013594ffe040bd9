#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "hsm/custodian.h"
#include "hsm/passphrase/passphrase_custodian.h"
#include "hsm/pkcs11/pkcs11_custodian.h"
#include "hsm/tpm2/tpm2_custodian.h"

namespace keyward::hsm {
namespace {

constexpr std::size_t kNameBytesMax = 32;

bool is_lower(char letter) { return letter >= 'a' && letter <= 'z'; }

bool is_name_letter(char letter) {
  return is_lower(letter) || (letter >= '0' && letter <= '9') || letter == '-';
}

Result<void> check_name(std::string_view name) {
  if (!name.empty() && name.size() <= kNameBytesMax && is_lower(name[0]) &&
      std::ranges::all_of(name, is_name_letter))
    return {};
  return fail(ErrorCode::invalid_argument,
              fmt::format("\"{}\" is not a custodian's name: it has 1 to {} of a-z, 0-9 and -, and "
                          "starts with a letter",
                          printable(name, 48), kNameBytesMax));
}

}  // namespace

Result<std::unique_ptr<Custodian>> open_custodian(const CustodianConfig& config, Clock& clock) {
  TRY(check_name(config.name));
  if (config.kind == "pkcs11") return open_pkcs11_custodian(config, clock);
  if (config.kind == "tpm2") return open_tpm2_custodian(config, clock);
  if (config.kind == "passphrase") return open_passphrase_custodian(config, clock);
  return fail(ErrorCode::invalid_argument,
              fmt::format("custodian {}: the kind \"{}\" is not known; there are pkcs11, tpm2 and "
                          "passphrase",
                          config.name, printable(config.kind, 48)));
}

}  // namespace keyward::hsm
