#include "daemon/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/clock.h"
#include "base/text.h"

namespace keyward::daemon {
namespace {

// Reads values out of one file and gathers what is wrong with them.
class Reader final {
 public:
  explicit Reader(std::string_view name) : name_(name) {}

  void defect(const toml::source_region& where, std::string_view what) {
    defects_ +=
        fmt::format("{}{}:{}: {}", defects_.empty() ? "" : "\n", name_, where.begin.line, what);
  }

  // Every key that was asked for is known; finish() refuses the others.
  const toml::node* find(const toml::table& table, std::string_view key) {
    known_.insert({&table, std::string(key)});
    return table.get(key);
  }

  void text(const toml::table& table, std::string_view key, std::string& out) {
    const toml::node* node = find(table, key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<std::string>())
      out = *value;
    else
      wrong_type(*node, key, "text in quotes");
  }

  void path(const toml::table& table, std::string_view key, std::string& out) {
    text(table, key, out);
    const toml::node* node = table.get(key);
    if (node != nullptr && node->is_string() && !out.starts_with('/'))
      defect(node->source(),
             fmt::format("{} must be an absolute path, not \"{}\"", key, printable(out)));
  }

  void flag(const toml::table& table, std::string_view key, bool& out) {
    const toml::node* node = find(table, key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<bool>())
      out = *value;
    else
      wrong_type(*node, key, "true or false");
  }

  std::optional<std::uint64_t> number(const toml::table& table, std::string_view key,
                                      std::uint64_t min, std::uint64_t max) {
    const toml::node* node = find(table, key);
    if (node == nullptr) return std::nullopt;
    return number(*node, key, min, max);
  }

  std::optional<std::uint64_t> number(const toml::node& node, std::string_view key,
                                      std::uint64_t min, std::uint64_t max) {
    const auto value = node.value_exact<std::int64_t>();
    if (value && *value >= 0 && static_cast<std::uint64_t>(*value) >= min &&
        static_cast<std::uint64_t>(*value) <= max)
      return static_cast<std::uint64_t>(*value);
    wrong_type(node, key, fmt::format("a whole number from {} to {}", min, max));
    return std::nullopt;
  }

  template <typename E, std::size_t N>
  void choice(const toml::table& table, std::string_view key,
              const std::pair<std::string_view, E> (&choices)[N], E& out) {
    const toml::node* node = find(table, key);
    if (node != nullptr) choice(*node, key, choices, out);
  }

  template <typename E, std::size_t N>
  void choice(const toml::node& node, std::string_view key,
              const std::pair<std::string_view, E> (&choices)[N], E& out) {
    const auto value = node.value_exact<std::string>();
    std::string allowed;
    for (const auto& [text, result] : choices) {
      if (value && *value == text) {
        out = result;
        return;
      }
      allowed += fmt::format("{}\"{}\"", allowed.empty() ? "" : ", ", text);
    }
    wrong_type(node, key, "one of " + allowed);
  }

  // An empty table when it is absent or no table.
  const toml::table& section(const toml::table& table, std::string_view key) {
    static const toml::table kNone;
    const toml::node* node = find(table, key);
    if (node == nullptr) return kNone;
    if (const toml::table* found = node->as_table()) return *found;
    wrong_type(*node, key, fmt::format("a section, [{}]", key));
    return kNone;
  }

  void wrong_type(const toml::node& node, std::string_view key, std::string_view wanted) {
    defect(node.source(), fmt::format("{} must be {}", printable(key), wanted));
  }

  void refuse_unknown(const toml::table& table, std::string_view where) {
    for (const auto& [key, node] : table)
      if (!known_.contains({&table, std::string(key.str())}))
        defect(key.source(),
               fmt::format("the key \"{}\" is not known {}", printable(key.str()), where));
  }

  Result<void> finish() const {
    if (defects_.empty()) return {};
    return fail(ErrorCode::invalid_argument, defects_);
  }

 private:
  std::string name_;
  std::string defects_;
  std::set<std::pair<const toml::table*, std::string>> known_;
};

void read_top(Reader& read, const toml::table& root, Config& config) {
  static constexpr std::pair<std::string_view, MemoryLock> kLocks[] = {
      {"required", MemoryLock::required}, {"best_effort", MemoryLock::best_effort}};
  static constexpr std::pair<std::string_view, LogLevel> kLevels[] = {
      {"error", LogLevel::error},
      {"warning", LogLevel::warning},
      {"notice", LogLevel::notice},
      {"info", LogLevel::info},
      {"debug", LogLevel::debug}};
  static constexpr std::pair<std::string_view, std::string_view> kEngines[] = {
      {"auto", "auto"}, {"ipsec-mb", "ipsec-mb"}, {"openssl", "openssl"}};
  read.path(root, "state_dir", config.state_dir);
  read.path(root, "socket", config.socket);
  // sockaddr_un holds 108 bytes with the final zero.
  if (config.socket.size() > 107)
    read.defect(root.get("socket")->source(), "socket must have at most 107 bytes");
  read.choice(root, "memory_lock", kLocks, config.memory_lock);
  read.choice(root, "log_level", kLevels, config.log_level);
  std::string_view engine = config.aead_engine;
  read.choice(root, "aead_engine", kEngines, engine);
  config.aead_engine = engine;
}

void read_uids(Reader& read, const toml::table& root, Config& config) {
  const toml::node* node = read.find(root, "allow_uids");
  if (node == nullptr) return;
  const toml::array* uids = node->as_array();
  if (uids == nullptr) return read.wrong_type(*node, "allow_uids", "a list of numbers, [33, 1000]");
  for (const toml::node& uid : *uids)
    if (const auto value = read.number(uid, "a uid", 0, std::numeric_limits<std::uint32_t>::max()))
      config.allow_uids.push_back(static_cast<std::uint32_t>(*value));
}

void read_rekey(Reader& read, const toml::table& root, Config& config) {
  const toml::table& rekey = read.section(root, "rekey");
  if (const auto workers = read.number(rekey, "workers", 1, 64))
    config.rekey_workers = static_cast<unsigned>(*workers);
  if (const auto rate = read.number(rekey, "entries_per_second", 1, 1'000'000'000))
    config.entries_per_second = rate;
  read.refuse_unknown(rekey, "in [rekey]");

  const toml::table& test_mode = read.section(root, "test_mode");
  read.flag(test_mode, "short_schedules", config.allow_short_rotation);
  config.store_format = read.number(test_mode, "store_format", 0, 9);
  read.refuse_unknown(test_mode, "in [test_mode]");
}

void read_audit(Reader& read, const toml::table& root, Config& config) {
  static constexpr std::pair<std::string_view, engine::ReadAudit> kReads[] = {
      {"each", engine::ReadAudit::each},
      {"first", engine::ReadAudit::first},
      {"off", engine::ReadAudit::off}};
  const toml::table& audit = read.section(root, "audit");
  read.choice(audit, "reads", kReads, config.read_audit);
  const toml::table& domains = read.section(audit, "reads_of");
  read.refuse_unknown(audit, "in [audit]");
  for (const auto& [key, node] : domains) {
    const Result<Domain> domain = Domain::parse(key.str());
    if (!domain) {
      read.defect(key.source(), domain.error().message);
      continue;
    }
    engine::ReadAudit choice = config.read_audit;
    read.choice(node, key.str(), kReads, choice);
    config.read_audit_of.emplace(*domain, choice);
  }
}

void read_limits(Reader& read, const toml::table& root, ServerLimits& limits) {
  const toml::table& table = read.section(root, "limits");
  const auto size = [&](std::string_view key, std::size_t& out, std::size_t min, std::size_t max) {
    if (const auto value = read.number(table, key, min, max)) out = *value;
  };
  const auto seconds = [&](std::string_view key, std::chrono::milliseconds& out) {
    if (const auto value = read.number(table, key, 1, 86'400)) out = std::chrono::seconds(*value);
  };
  size("connections", limits.connections_max, 1, 65'536);
  size("header_bytes", limits.header_bytes_max, 2'048, 65'536);
  size("json_bytes", limits.json_bytes_max, 1'024, 1'048'576);
  size("bytes_in_flight", limits.bytes_in_flight_max, 6 * 1024 * 1024, 1024 * 1024 * 1024);
  seconds("header_timeout", limits.header_timeout);
  seconds("body_timeout", limits.body_timeout);
  seconds("idle_timeout", limits.idle_timeout);
  seconds("write_timeout", limits.write_timeout);
  read.refuse_unknown(table, "in [limits]");
}

void read_keep(Reader& read, const toml::table& table, DriveConfig& drives) {
  const toml::node* node = read.find(table, "keep");
  if (node == nullptr) return;
  const toml::array* paths = node->as_array();
  if (paths == nullptr) return read.wrong_type(*node, "keep", "a list of paths");
  for (const toml::node& entry : *paths) {
    const auto path = entry.value_exact<std::string>();
    if (path && path->starts_with('/'))
      drives.keep.push_back(*path);
    else
      read.defect(entry.source(), "keep lists absolute paths, in quotes");
  }
}

void read_drives(Reader& read, const toml::table& root, Config& config) {
  if (root.get("drives") == nullptr) return;
  const toml::table& table = read.section(root, "drives");
  DriveConfig& drives = config.drives.emplace();
  const auto seconds = [&](std::string_view key, std::chrono::seconds& out, std::uint64_t min) {
    if (const auto value = read.number(table, key, min, 3'600)) out = std::chrono::seconds(*value);
  };
  read.path(table, "emulated", drives.emulated);
  read_keep(read, table, drives);
  read.flag(table, "provision_new", drives.provision_new);
  if (const auto value = read.number(table, "per_controller", 1, 1'024))
    drives.per_controller = static_cast<unsigned>(*value);
  seconds("per_drive", drives.per_drive, 1);
  seconds("start_patience", drives.start_patience, 0);
  read.refuse_unknown(table, "in [drives]");
}

bool is_custodian_name(std::string_view text) {
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  return !text.empty() && text.size() <= 32 && lower(text[0]) &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '-'; });
}

// The rest of the table goes on to that kind, which alone knows what it means. Without literal
// strings: the library (3.3.0) writes a key with a line break as one, which is no TOML.
std::string settings_text(const toml::table& table) {
  constexpr auto kFlags =
      toml::toml_formatter::default_flags & ~toml::format_flags::allow_literal_strings;
  toml::table rest = table;
  rest.erase("kind");
  rest.erase("name");
  std::ostringstream text;
  text << toml::toml_formatter(rest, kFlags);
  return text.str();
}

void read_custodian(Reader& read, const toml::table& table, Config& config) {
  static constexpr std::pair<std::string_view, std::string_view> kKinds[] = {
      {"pkcs11", "pkcs11"}, {"tpm2", "tpm2"}, {"passphrase", "passphrase"}};
  std::string_view kind;
  if (table.get("kind") == nullptr) read.defect(table.source(), "a custodian needs a kind");
  read.choice(table, "kind", kKinds, kind);
  hsm::CustodianConfig custodian{
      .kind = std::string(kind), .name = {}, .settings = {}, .state_dir = {}};
  read.text(table, "name", custodian.name);
  if (!is_custodian_name(custodian.name))
    read.defect(table.source(),
                "a custodian needs a name: a small letter, then at most 31 of a-z, 0-9 and -");
  custodian.settings = settings_text(table);
  const bool twice =
      std::any_of(config.custodians.begin(), config.custodians.end(),
                  [&](const hsm::CustodianConfig& other) { return other.id() == custodian.id(); });
  if (twice)
    read.defect(table.source(), fmt::format("the custodian {} is configured twice",
                                            printable(custodian.id().text)));
  config.custodians.push_back(std::move(custodian));
}

void read_custodians(Reader& read, const toml::table& root, Config& config) {
  const toml::node* node = read.find(root, "custodian");
  if (node == nullptr) return;
  const toml::array* tables = node->as_array();
  if (tables == nullptr || !tables->is_homogeneous<toml::table>())
    return read.wrong_type(*node, "custodian", "a list of sections, [[custodian]]");
  for (const toml::node& table : *tables) read_custodian(read, *table.as_table(), config);
}

// The library throws: it goes no further than here.
Result<toml::table> parse_toml(std::string_view text, std::string_view name) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("{}:{}: {}", name, error.source().begin.line,
                            escape_controls(error.description())));
  }
}

}  // namespace

unsigned default_rekey_workers() {
  constexpr unsigned kMax = 8;
  return std::clamp(std::thread::hardware_concurrency(), 1u, kMax);
}

Result<Config> parse_config(std::string_view text, std::string_view name) {
  const toml::table root = TRY(parse_toml(text, name));
  Reader read(name);
  Config config;
  read_top(read, root, config);
  read_uids(read, root, config);
  read_rekey(read, root, config);
  read_audit(read, root, config);
  read_drives(read, root, config);
  read_limits(read, root, config.limits);
  read_custodians(read, root, config);
  read.refuse_unknown(root, "here");
  TRY(read.finish());
  for (hsm::CustodianConfig& custodian : config.custodians)
    custodian.state_dir =
        fmt::format("{}/custodians/{}-{}", config.state_dir, custodian.kind, custodian.name);
  return config;
}

Result<Config> read_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file)
    return fail(ErrorCode::not_found,
                fmt::format("The configuration {} cannot be read: {}. See keyward.toml(5) for what "
                            "stands in it.",
                            path, std::generic_category().message(errno)));
  return parse_config(text.str(), path);
}

Result<void> check_custodians(const Config& config, std::string_view name) {
  const std::unique_ptr<Clock> clock = real_clock();
  std::string defects;
  for (const hsm::CustodianConfig& custodian : config.custodians)
    if (const auto opened = hsm::open_custodian(custodian, *clock); !opened)
      defects += fmt::format("{}{}: custodian {}: {}", defects.empty() ? "" : "\n", name,
                             custodian.id().text, opened.error().message);
  if (!defects.empty()) return fail(ErrorCode::invalid_argument, defects);
  return {};
}

}  // namespace keyward::daemon
