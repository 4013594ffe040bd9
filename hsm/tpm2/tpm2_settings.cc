#include "hsm/tpm2/tpm2_settings.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/text.h"

namespace keyward::hsm::tpm2 {
namespace {

constexpr std::uint32_t kPcrMax = 23;

std::unexpected<Error> wrong(std::string_view key, std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("tpm2 setting \"{}\": {}", key, what));
}

struct NumberRange {
  std::int64_t min;
  std::int64_t max;
};

Result<std::uint32_t> read_number(std::string_view key, const toml::node& node, NumberRange range) {
  const auto value = node.value_exact<std::int64_t>();
  if (!value || *value < range.min || *value > range.max) {
    return wrong(key, fmt::format("must be a whole number from {} to {} ({:#x} to {:#x})",
                                  range.min, range.max, range.min, range.max));
  }
  return static_cast<std::uint32_t>(*value);
}

Result<std::string> read_text(std::string_view key, const toml::node& node) {
  const auto value = node.value_exact<std::string>();
  if (!value || value->empty()) return wrong(key, "must be a text that is not empty");
  return *value;
}

Result<std::string> read_tcti(std::string_view key, const toml::node& node) {
  std::string text = TRY(read_text(key, node));
  const std::string_view kind = std::string_view(text).substr(0, text.find(':'));
  if (kind != "device" && kind != "swtpm" && kind != "tabrmd") {
    return wrong(key, fmt::format("\"{}\" is not known; use \"device:/dev/tpmrm0\", "
                                  "\"swtpm:path=…\", \"swtpm:host=…,port=…\" or \"tabrmd\"",
                                  printable(text)));
  }
  return text;
}

Result<SecretFile> read_secret_file(std::string_view key, const toml::node& node) {
  Result<SecretFile> file = SecretFile::parse(TRY(read_text(key, node)));
  if (!file) return wrong(key, file.error().message);
  return file;
}

Result<std::vector<std::uint8_t>> read_pcrs(std::string_view key, const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return wrong(key, "must be a list such as [7], or []");
  std::vector<std::uint8_t> pcrs;
  for (const toml::node& element : *array) {
    pcrs.push_back(static_cast<std::uint8_t>(TRY(read_number(key, element, {0, kPcrMax}))));
  }
  std::ranges::sort(pcrs);
  if (std::ranges::adjacent_find(pcrs) != pcrs.end()) return wrong(key, "names a PCR twice");
  return pcrs;
}

Result<std::vector<std::string>> read_directories(std::string_view key, const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return wrong(key, "must be a list of absolute paths");
  std::vector<std::string> paths;
  for (const toml::node& element : *array) {
    paths.push_back(TRY(read_text(key, element)));
    if (!paths.back().starts_with('/')) return wrong(key, "must hold absolute paths");
  }
  return paths;
}

Result<void> read_setting(std::string_view key, const toml::node& node, Tpm2Settings& settings) {
  if (key == "tcti") {
    settings.tcti = TRY(read_tcti(key, node));
  } else if (key == "pcrs") {
    settings.pcrs = TRY(read_pcrs(key, node));
  } else if (key == "pin") {
    settings.pin = TRY(read_secret_file(key, node));
  } else if (key == "owner_auth") {
    settings.owner_auth = TRY(read_secret_file(key, node));
  } else if (key == "srk_handle") {
    settings.srk_handle = TRY(read_number(key, node, {0x81000000, 0x817fffff}));
  } else if (key == "nv_index") {
    settings.nv_index = TRY(read_number(key, node, {0x01800000, 0x01bfff00}));
  } else if (key == "nv_indices_max") {
    settings.nv_indices_max = TRY(read_number(key, node, {1, 64}));
  } else if (key == "time_limit_s") {
    settings.time_limit_s = TRY(read_number(key, node, {1, 600}));
  } else if (key == "sync_dirs") {
    settings.sync_dirs = TRY(read_directories(key, node));
  } else if (key != "kind" && key != "name") {  // Those two are the table's own.
    return wrong(key,
                 "is not known; known are tcti, pcrs, pin, owner_auth, srk_handle, nv_index, "
                 "nv_indices_max, time_limit_s and sync_dirs");
  }
  return {};
}

}  // namespace

bool Tpm2Settings::is_bare() const {
  if (tcti.starts_with("swtpm")) return true;
  return tcti.starts_with("device:/dev/tpm") && !tcti.starts_with("device:/dev/tpmrm");
}

Result<Tpm2Settings> parse_tpm2_settings(std::string_view toml_text) {
  toml::table table;
  try {
    table = toml::parse(toml_text);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("tpm2 settings are not TOML: {} (line {})", error.description(),
                            error.source().begin.line));
  }
  Tpm2Settings settings;
  for (const auto& [key, node] : table) TRY(read_setting(key.str(), node, settings));
  return settings;
}

}  // namespace keyward::hsm::tpm2
