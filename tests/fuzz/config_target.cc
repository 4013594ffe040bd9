#include <fmt/format.h>
#include <toml++/toml.h>

#include <sstream>

#include "base/check.h"
#include "base/text.h"
#include "daemon/config.h"
#include "hsm/passphrase/passphrase_custodian.h"
#include "hsm/pkcs11/pkcs11_settings.h"
#include "hsm/tpm2/tpm2_settings.h"
#include "tests/fuzz/targets.h"

namespace keyward::fuzz {
namespace {

constexpr std::string_view kName = "keyward.toml";

// One defect a line, each with its place.
void check_defects(const Error& error) {
  CHECK(error.code == ErrorCode::invalid_argument, "a bad configuration is invalid_argument");
  std::istringstream lines(error.message);
  for (std::string line; std::getline(lines, line);) {
    CHECK(line.starts_with(fmt::format("{}:", kName)), "a defect without its place");
    CHECK(is_printable_utf8(line), "a defect that a terminal should not be shown");
  }
}

template <typename Settings>
void check_settings(const Result<Settings>& settings) {
  if (settings) return;
  CHECK(settings.error().code == ErrorCode::invalid_argument, "bad settings are invalid_argument");
  CHECK(is_printable_utf8(settings.error().message),
        "a defect that a terminal should not be shown");
}

// They are written anew as TOML for the custodian: that must keep what they say.
void check_custodian(const hsm::CustodianConfig& custodian) {
  toml::table table;
  try {
    table = toml::parse(custodian.settings);
  } catch (const toml::parse_error&) {
    CHECK(false, "a custodian's settings, written anew, are no TOML");
  }
  CHECK(!table.contains("kind") && !table.contains("name"), "what names the custodian goes on");
  if (custodian.kind == "pkcs11")
    check_settings(hsm::pkcs11::parse_pkcs11_settings(custodian.settings));
  if (custodian.kind == "tpm2") check_settings(hsm::tpm2::parse_tpm2_settings(custodian.settings));
  if (custodian.kind == "passphrase")
    check_settings(hsm::parse_passphrase_settings(custodian.settings));
}

}  // namespace

void fuzz_config(ByteView input) {
  const auto config = daemon::parse_config(text_of(input), kName);
  if (!config) return check_defects(config.error());
  for (const hsm::CustodianConfig& custodian : config->custodians) check_custodian(custodian);
}

}  // namespace keyward::fuzz
