#include "store/sqlite/sqlite_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <optional>

#include "base/log.h"
#include "base/text.h"
#include "store/sqlite/files.h"
#include "store/sqlite/sqlite_audit_trail.h"
#include "store/sqlite/sqlite_control_store.h"
#include "store/sqlite/sqlite_keystore.h"

namespace keyward::store {
namespace {

constexpr std::string_view kSuffix = ".db";
constexpr std::size_t kCopyPage = 500;

// As a JSON string. The text is UTF-8 already.
std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

// A keystore's record as it stands in control's trail: where it was, and its link there.
AuditRecord copied(const std::string& domain, const StoredRecord& stored) {
  AuditRecord record = stored.record;
  record.detail =
      fmt::format(R"({{"copied_from":"{}","sequence":{},"time":"{}","chain":"{}","detail":{}}})",
                  domain, stored.sequence, to_iso8601(stored.time), to_hex(stored.chain),
                  json_string(stored.record.detail));
  return record;
}

AuditRecord copy_failed(const std::string& domain, const Error& error) {
  return {.action = "audit.copy",
          .actor = "daemon",
          .origin = "daemon",
          .subject = domain,
          .outcome = std::string(error_code_name(error.code)),
          .detail = fmt::format(R"({{"error":{}}})", json_string(error.message))};
}

class SqliteBackend final : public Backend {
 public:
  SqliteBackend(StateLock lock, std::unique_ptr<Vfs> vfs,
                std::unique_ptr<SqliteControlStore> control, std::string keystores, Clock& clock)
      : lock_(std::move(lock)),
        vfs_(std::move(vfs)),
        control_(std::move(control)),
        keystores_(std::move(keystores)),
        clock_(clock) {}

  ControlStore& control() override { return *control_; }
  Result<std::vector<Domain>> domains() override;
  Result<std::unique_ptr<Keystore>> open(const Domain& domain) override;
  Result<std::unique_ptr<Keystore>> create(const KeyTable& first,
                                           std::span<const AuditRecord> records) override;
  Result<UpgradeState> upgrade_state() override;
  Result<void> commit_upgrade(std::span<const AuditRecord> records) override;
  Result<void> remove(const Domain& domain, std::span<const AuditRecord> records) override;

  Result<void> finish_removals();

 private:
  using Removal = SqliteControlStore::Removal;

  std::string path_of(const std::string& domain) const {
    return keystores_ + "/" + domain + std::string(kSuffix);
  }
  SqliteKeystoreOptions options_for(const Domain& domain) const {
    return {.path = path_of(domain.text()), .clock = clock_, .vfs_name = vfs_->name()};
  }
  Result<bool> needs_upgrade(const Domain& domain);
  Result<Removal> removal_of(const std::string& domain);
  Result<void> copy_trail(Removal& removal);
  Result<void> copy_what_can_be_read(Removal& removal);
  Result<void> finish_removal(const std::string& domain);

  StateLock lock_;
  std::unique_ptr<Vfs> vfs_;
  std::unique_ptr<SqliteControlStore> control_;
  const std::string keystores_;
  Clock& clock_;
  std::mutex files_;  // One keystore is made or removed at a time.
};

Result<std::vector<Domain>> SqliteBackend::domains() {
  std::vector<Domain> domains;
  std::error_code error;
  std::filesystem::directory_iterator item(keystores_, error);
  for (; !error && item != std::filesystem::directory_iterator(); item.increment(error)) {
    const std::string file = item->path().filename().string();
    if (!file.ends_with(kSuffix)) continue;
    const Result<Domain> domain =
        Domain::parse(std::string_view(file).substr(0, file.size() - kSuffix.size()));
    if (domain) domains.push_back(*domain);
  }
  if (error) return std::unexpected(os_error("readdir", keystores_, error.value()));
  std::ranges::sort(domains);
  return domains;
}

Result<std::unique_ptr<Keystore>> SqliteBackend::open(const Domain& domain) {
  if (!TRY(file_exists(path_of(domain.text())))) {
    return fail(ErrorCode::not_found,
                fmt::format("there is no domain {0}; `keyward domains create {0}` makes it",
                            domain.text()));
  }
  std::unique_ptr<Keystore> keystore = TRY(open_sqlite_keystore(options_for(domain)));
  const KeyTable table = TRY(keystore->keys());
  if (table.domain != domain) {
    return fail(ErrorCode::corrupt,
                fmt::format("{} holds the keystore of {}: somebody renamed the file; give it its "
                            "name again",
                            path_of(domain.text()), table.domain.text()));
  }
  return keystore;
}

Result<std::unique_ptr<Keystore>> SqliteBackend::create(const KeyTable& first,
                                                        std::span<const AuditRecord> records) {
  const std::lock_guard lock(files_);
  const std::string& domain = first.domain.text();
  if (TRY(file_exists(path_of(domain)))) {
    return fail(ErrorCode::already_exists, fmt::format("the domain {} exists already", domain));
  }
  // Otherwise an earlier removal that was not finished would remove the new file.
  TRY(control_->forget_removal(domain));
  const std::uint32_t format = std::min(TRY(control_->format()).format, kFormatCurrent.format);
  return create_sqlite_keystore(options_for(first.domain), first, records, format);
}

Result<bool> SqliteBackend::needs_upgrade(const Domain& domain) {
  Database database = TRY(Database::open(
      path_of(domain.text()), {.vfs_name = vfs_->name(), .read_only = true, .cache_kib = 256}));
  return TRY(read_format(database)).format < kFormatCurrent.format;
}

Result<Backend::UpgradeState> SqliteBackend::upgrade_state() {
  UpgradeState state{.format_current = kFormatCurrent.format, .stores_to_upgrade = {}};
  if (TRY(control_->format()).format < kFormatCurrent.format)
    state.stores_to_upgrade.emplace_back("control");
  for (const Domain& domain : TRY(domains())) {
    const Result<bool> needs = needs_upgrade(domain);
    // One that is newer than this program needs no upgrade by it.
    if (!needs && needs.error().code == ErrorCode::unsupported) continue;
    if (!needs) return std::unexpected(needs.error());
    if (*needs) state.stores_to_upgrade.push_back(domain.text());
  }
  return state;
}

Result<void> SqliteBackend::commit_upgrade(std::span<const AuditRecord> records) {
  const std::lock_guard lock(files_);
  // control.db last: its format then says that all are done. One bad keystore stops no other.
  Result<void> answer;
  for (const Domain& domain : TRY(domains())) {
    const Result<bool> done = upgrade_sqlite_keystore(options_for(domain), records);
    if (!done && answer) answer = std::unexpected(with_context(done.error(), domain.text()));
  }
  TRY(std::move(answer));
  return control_->upgrade(kFormatCurrent, records);
}

Result<SqliteBackend::Removal> SqliteBackend::removal_of(const std::string& domain) {
  for (Removal& removal : TRY(control_->removals()))
    if (removal.domain == domain) return removal;
  return Removal{.domain = domain};
}

Result<void> SqliteBackend::copy_trail(Removal& removal) {
  Database database =
      TRY(Database::open(path_of(removal.domain), {.vfs_name = vfs_->name(), .read_only = true}));
  for (;;) {
    const std::vector<StoredRecord> page = TRY(read_audit(database, removal.copied, kCopyPage));
    if (page.empty()) return {};
    std::vector<AuditRecord> records;
    for (const StoredRecord& stored : page) records.push_back(copied(removal.domain, stored));
    removal.copied = page.back().sequence;
    TRY(control_->save_removal(removal, records));
  }
}

// A damaged keystore must not stay for ever because its trail cannot be read; the loss is recorded.
Result<void> SqliteBackend::copy_what_can_be_read(Removal& removal) {
  Result<void> copying = copy_trail(removal);
  if (copying || copying.error().code != ErrorCode::corrupt) return copying;
  const AuditRecord loss = copy_failed(removal.domain, copying.error());
  return control_->save_removal(removal, {&loss, 1});
}

Result<void> SqliteBackend::remove(const Domain& domain, std::span<const AuditRecord> records) {
  const std::lock_guard lock(files_);
  Removal removal = TRY(removal_of(domain.text()));
  if (!removal.files_may_go) {
    if (!TRY(file_exists(path_of(domain.text())))) return {};
    TRY(copy_what_can_be_read(removal));
    removal.files_may_go = true;
    TRY(control_->save_removal(removal, records));
  }
  return finish_removal(domain.text());
}

Result<void> SqliteBackend::finish_removal(const std::string& domain) {
  TRY(remove_database(path_of(domain)));
  return control_->forget_removal(domain);
}

Result<void> SqliteBackend::finish_removals() {
  for (const Removal& removal : TRY(control_->removals())) {
    if (!removal.files_may_go) continue;
    log(LogLevel::notice, "the removal of {} is finished", removal.domain);
    TRY(finish_removal(removal.domain));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Backend>> open_sqlite_backend(const std::string& directory, Clock& clock,
                                                     const SqliteBackendOptions& options) {
  const StoreFormat format = TRY(format_numbered(options.first_format));
  const std::string keystores = directory + "/keystores";
  const std::string control_path = directory + "/control.db";
  TRY(make_directory(directory));
  StateLock lock = TRY(StateLock::acquire(directory + "/lock"));
  TRY(make_directory(keystores));
  std::unique_ptr<Vfs> vfs = TRY(Vfs::create({.hook = options.hook}));
  if (!TRY(file_exists(control_path))) TRY(SqliteControlStore::create(control_path, *vfs, format));
  auto control = TRY(SqliteControlStore::open(control_path, *vfs, clock));
  auto backend = std::make_unique<SqliteBackend>(std::move(lock), std::move(vfs),
                                                 std::move(control), keystores, clock);
  TRY(backend->finish_removals());
  return backend;
}

}  // namespace keyward::store
