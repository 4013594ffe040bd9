#include "hsm/pkcs11/pkcs11_settings.h"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "base/text.h"

namespace keyward::hsm::pkcs11 {
namespace {

constexpr std::string_view kHelperName = "keyward-p11";
constexpr std::string_view kHelperDirectory = "/usr/libexec/keyward";
constexpr std::int64_t kLimitMsMax = 600'000;

std::unexpected<Error> wrong(std::string_view key, std::string_view what) {
  return fail(ErrorCode::invalid_argument, fmt::format("pkcs11 setting \"{}\": {}", key, what));
}

// Takes the settings out of the table one by one, so that what is left is not known.
class Reader final {
 public:
  explicit Reader(toml::table& table) : table_(table) {}

  Result<std::optional<std::string>> text(std::string_view key) {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return std::optional<std::string>();
    auto value = node->value_exact<std::string>();
    if (!value || value->empty() || value->find('\0') != std::string::npos)
      return wrong(key, "must be a text that is not empty");
    table_.erase(key);
    return value;
  }

  Result<std::string> required_text(std::string_view key, std::string_view what) {
    auto value = TRY(text(key));
    if (!value) return wrong(key, fmt::format("is missing: {}", what));
    return *value;
  }

  Result<void> milliseconds(std::string_view key, std::int64_t min,
                            std::chrono::milliseconds& value) {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return {};
    const auto number = node->value_exact<std::int64_t>();
    if (!number || *number < min || *number > kLimitMsMax)
      return wrong(key,
                   fmt::format("must be a number of milliseconds from {} to {}", min, kLimitMsMax));
    value = std::chrono::milliseconds(*number);
    table_.erase(key);
    return {};
  }

  Result<bool> flag(std::string_view key) {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return false;
    const auto value = node->value_exact<bool>();
    if (!value) return wrong(key, "must be true or false");
    table_.erase(key);
    return *value;
  }

  Result<std::vector<std::string>> directories(std::string_view key) {
    std::vector<std::string> paths;
    const toml::node* node = table_.get(key);
    if (node == nullptr) return paths;
    const toml::array* array = node->as_array();
    if (array == nullptr) return wrong(key, "must be a list of absolute paths");
    for (const toml::node& element : *array) {
      const auto path = element.value_exact<std::string>();
      if (!path || !path->starts_with('/')) return wrong(key, "must hold absolute paths");
      paths.push_back(*path);
    }
    table_.erase(key);
    return paths;
  }

  Result<std::vector<std::string>> environment(std::string_view key) {
    std::vector<std::string> variables;
    const toml::node* node = table_.get(key);
    if (node == nullptr) return variables;
    const toml::table* entries = node->as_table();
    if (entries == nullptr) return wrong(key, "must be a table such as { NAME = \"value\" }");
    for (const auto& [name, element] : *entries) {
      const auto value = element.value_exact<std::string>();
      if (!value || value->find('\0') != std::string::npos || name.str().empty() ||
          name.str().find_first_of(std::string_view("=\0", 2)) != std::string_view::npos)
        return wrong(key, "must hold names without \"=\" and texts as values");
      variables.push_back(fmt::format("{}={}", name.str(), *value));
    }
    table_.erase(key);
    return variables;
  }

  Result<void> expect_nothing_left() {
    table_.erase("kind");  // These two are the [[custodian]] table's own.
    table_.erase("name");
    if (table_.empty()) return {};
    return wrong(printable(table_.begin()->first.str()),
                 "is not known; known are module, token, pin, mechanism, environment, network, "
                 "sync_dirs, helper, call_limit_ms, slow_limit_ms, reconnect_min_ms and "
                 "reconnect_max_ms");
  }

 private:
  toml::table& table_;
};

Result<toml::table> parse_table(std::string_view text) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("pkcs11 settings are not TOML: {} (line {})", error.description(),
                            error.source().begin.line));
  }
}

Result<Mechanism> read_mechanism(Reader& reader) {
  const std::string text = TRY(reader.text("mechanism")).value_or("auto");
  if (text == "auto") return Mechanism::automatic;
  if (text == "gcm") return Mechanism::aes_gcm;
  if (text == "keywrap") return Mechanism::key_wrap;
  return wrong("mechanism", "must be \"auto\", \"gcm\" or \"keywrap\"");
}

Result<std::string> read_module(Reader& reader) {
  std::string module = TRY(reader.required_text("module",
                                                "the path of the vendor's PKCS#11 "
                                                "library"));
  if (!module.starts_with('/')) return wrong("module", "must be an absolute path");
  if (module.size() >= sizeof(HelloRequest::module)) return wrong("module", "is too long");
  return module;
}

Result<std::string> read_helper(Reader& reader) {
  if (auto helper = TRY(reader.text("helper"))) {
    if (!helper->starts_with('/')) return wrong("helper", "must be an absolute path");
    return *helper;
  }
  std::error_code ignored;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", ignored);
  for (const std::filesystem::path& directory :
       {self.parent_path(), std::filesystem::path(kHelperDirectory)}) {
    std::string path = directory / kHelperName;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return wrong("helper", fmt::format("{} lies neither beside this program nor in {}; install it, "
                                     "or name its path",
                                     kHelperName, kHelperDirectory));
}

}  // namespace

Result<Pkcs11Settings> parse_pkcs11_settings(std::string_view toml_text) {
  toml::table table = TRY(parse_table(toml_text));
  Reader reader(table);
  std::string module = TRY(read_module(reader));
  TokenUri token = TRY(TokenUri::parse(TRY(reader.required_text("token", "which token"))));
  PinSource pin = TRY(PinSource::parse(TRY(reader.required_text("pin", "where the PIN is"))));
  Pkcs11Settings settings{std::move(module), std::move(token), std::move(pin)};
  settings.mechanism = TRY(read_mechanism(reader));
  settings.environment = TRY(reader.environment("environment"));
  settings.network = TRY(reader.flag("network"));
  settings.sync_dirs = TRY(reader.directories("sync_dirs"));
  TRY(reader.milliseconds("call_limit_ms", 1, settings.call_limit));
  TRY(reader.milliseconds("slow_limit_ms", 1, settings.slow_limit));
  TRY(reader.milliseconds("reconnect_min_ms", 0, settings.reconnect_min));
  TRY(reader.milliseconds("reconnect_max_ms", 0, settings.reconnect_max));
  settings.helper = TRY(read_helper(reader));
  TRY(reader.expect_nothing_left());
  return settings;
}

}  // namespace keyward::hsm::pkcs11
