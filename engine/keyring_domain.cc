#include "engine/keyring_domain.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "crypto/key_schedule.h"
#include "engine/table_change.h"
#include "store/self_check.h"

namespace keyward::engine {
namespace {

constexpr std::uint64_t kStride = std::uint64_t{1} << 20;
constexpr std::uint64_t kEncryptionsMax = std::uint64_t{1} << 32;
// So many requests may be between the check of the count and their encryption.
constexpr std::uint64_t kInFlight = 4096;
// Each round that is lost is one that another writer of the same entry, or the switch to another
// key, has won.
constexpr int kRoundsMax = 256;

constexpr std::string_view kTamperedText =
    "the list of custodians was edited outside Keyward: entries are read and written, but no key "
    "is sealed. Find out who changed the files; then say who the custodians are: keyward "
    "custodians add, or remove";

bool is_live(const store::KeyRow& row) {
  return row.state == store::KeyState::pending || row.state == store::KeyState::current;
}

// One edit is recorded by the entry's name, several by how many they are.
store::AuditRecord edit_record(const Domain& domain, std::span<const EntryEdit> edits,
                               const Caller& caller) {
  if (edits.size() == 1) {
    const EntryEdit& edit = edits.front();
    return audit_record(caller, edit.secret != nullptr ? "entry.put" : "entry.delete",
                        domain.text(), {{"entry", api::Json(edit.name.text())}});
  }
  const auto puts = static_cast<std::uint64_t>(
      std::ranges::count_if(edits, [](const EntryEdit& edit) { return edit.secret != nullptr; }));
  return audit_record(caller, "entries.import", domain.text(),
                      {{"put", api::Json(puts)}, {"deleted", api::Json(edits.size() - puts)}});
}

Result<void> check_edits(std::span<const EntryEdit> edits) {
  std::set<std::string_view> names;
  for (const EntryEdit& edit : edits) {
    if (names.insert(edit.name.text()).second) continue;
    return fail(ErrorCode::invalid_argument,
                fmt::format("entry \"{}\" is named twice; nothing was written",
                            printable(edit.name.text())));
  }
  return {};
}

Result<std::uint64_t> version_now(store::Keystore& keystore, const EntryName& name) {
  const Result<store::SealedEntry> entry = keystore.get(name);
  if (entry) return entry->version;
  if (entry.error().code == ErrorCode::not_found) return 0;
  return std::unexpected(entry.error());
}

// What must be there for the edit, or why it cannot be.
Result<std::uint64_t> version_to_replace(store::Keystore& keystore, const EntryEdit& edit) {
  const std::uint64_t version = TRY(version_now(keystore, edit.name));
  const std::string name = printable(edit.name.text());
  if (edit.if_version && *edit.if_version != version) {
    return fail(ErrorCode::conflict,
                version == 0 ? fmt::format("there is no entry \"{}\" to replace", name)
                             : fmt::format("entry \"{}\" is at version {}, not {}; read it again",
                                           name, version, *edit.if_version));
  }
  if (edit.secret == nullptr && version == 0)
    return fail(ErrorCode::not_found, fmt::format("there is no entry \"{}\"", name));
  return version;
}

class EntryOpener final : public store::EntryVisitor {
 public:
  using CipherOf = std::function<Result<std::shared_ptr<store::EntryCipher>>(const KeyId&)>;
  explicit EntryOpener(CipherOf cipher_of) : cipher_of_(std::move(cipher_of)) {}

  Result<void> visit(const store::EntryInfo& info, ByteView blob) override {
    const std::shared_ptr<store::EntryCipher> cipher = TRY(cipher_of_(info.key));
    TRY(cipher->decrypt(info.name, {info.key, info.version, Bytes(blob.begin(), blob.end())}));
    return {};
  }

 private:
  CipherOf cipher_of_;
};

}  // namespace

// ---- Opening ----

Result<void> KeyringDomain::unseal() {
  const std::scoped_lock unsealing(unsealing_);
  std::shared_ptr<store::Keystore> keystore;
  {
    const std::shared_lock lock(mutex_);
    keystore = keystore_;
  }
  if (!keystore) {
    Result<std::unique_ptr<store::Keystore>> opened = parts_.backend.open(domain_);
    if (!opened) {
      note_unsealed(opened.error());
      return std::unexpected(std::move(opened.error()));
    }
    keystore = std::move(*opened);
    const std::unique_lock lock(mutex_);
    keystore_ = keystore;
  }
  const store::KeyTable table = TRY(keystore->keys());
  std::optional<Error> error;
  for (const store::KeyRow& row : table.keys) {
    if (!is_live(row) || find_held(row.id)) continue;
    Result<void> opened = unseal_row(table, row);
    if (!opened) error = std::move(opened.error());
  }
  note_unsealed(error);
  if (error) return std::unexpected(std::move(*error));
  verify_if_suspect(*keystore);
  return {};
}

// Reads go on whatever comes out. Writes do not, until all that is there has been seen to open.
void KeyringDomain::verify_if_suspect(store::Keystore& keystore) {
  auto* self = dynamic_cast<store::SelfCheck*>(&keystore);
  if (self == nullptr || !self->is_suspect()) return;
  EntryOpener opener([this](const KeyId& key) { return cipher(key); });
  Result<void> verified = keystore.reencryption().scan(opener, {});
  if (verified) verified = self->trust();
  if (verified) {
    log(LogLevel::notice, "{}: every entry was verified after the failed sync", domain_.text());
    parts_.events.clear(kKeystoreUnverified, domain_.text());
    return;
  }
  log(LogLevel::error, "{}: {}", domain_.text(), verified.error().message);
  parts_.events.raise(
      kKeystoreUnverified, domain_.text(),
      fmt::format("a sync had failed, and what is on the disk is not whole: {}. Entries can be "
                  "read, nothing is written",
                  verified.error().message));
}

Result<void> KeyringDomain::unseal_row(const store::KeyTable& table, const store::KeyRow& row) {
  Result<SecretBytes> key = parts_.custodians.unseal(row, table.context(row.id));
  if (!key) {
    const std::unique_lock lock(mutex_);
    closed_[row.id] = key.error().message;
    return std::unexpected(std::move(key.error()));
  }
  std::shared_ptr<HeldKey> held = TRY(make_held(row.id, *key));
  {
    const std::unique_lock lock(mutex_);
    // A job may have taken the same key in meanwhile; then its count is the one that goes on.
    held_.try_emplace(row.id, std::move(held));
    closed_.erase(row.id);
  }
  Result<void> checked = check_mac(row.id, *key);
  if (!checked) {  // The store did not say; until it does, the key is not trusted.
    const std::unique_lock lock(mutex_);
    held_.erase(row.id);
    closed_[row.id] = checked.error().message;
  }
  return checked;
}

// Looks at the table as it is now: while the hardware was asked, a rekey may have forgotten the
// key, or somebody have signed another list.
Result<void> KeyringDomain::check_mac(const KeyId& key, const SecretBytes& secret) {
  const store::KeyTable table = TRY(TRY(keystore())->keys());
  const store::KeyRow* row = table.find(key);
  if (row == nullptr || !is_live(*row)) {
    forget(key);
    return {};
  }
  const WantedMac mac = TRY(crypto::authenticate_wanted(secret, table.context(key), table.wanted));
  if (constant_time_equal(mac, row->wanted_mac)) return {};
  {
    const std::unique_lock lock(mutex_);
    tampered_ = true;
  }
  log(LogLevel::error, "{}: {}", domain_.text(), kTamperedText);
  parts_.events.raise(kKeystoreTampered, domain_.text(), kTamperedText);
  return {};
}

void KeyringDomain::note_unsealed(const std::optional<Error>& error) {
  bool locked = false;
  {
    const std::unique_lock lock(mutex_);
    locked = held_.empty();
    locked_because_ = error ? error->message : std::string();
  }
  if (error)
    parts_.events.raise(locked ? kKeystoreLocked : kKeystoreDegraded, domain_.text(),
                        error->message);
  if (!error || !locked) parts_.events.clear(kKeystoreLocked, domain_.text());
  if (!error) parts_.events.clear(kKeystoreDegraded, domain_.text());
}

void KeyringDomain::adopt(std::shared_ptr<store::Keystore> keystore) {
  const std::unique_lock lock(mutex_);
  keystore_ = std::move(keystore);
  locked_because_.clear();
}

bool KeyringDomain::is_open() const {
  const std::shared_lock lock(mutex_);
  return keystore_ && !held_.empty() && closed_.empty();
}

bool KeyringDomain::check_copies(CheckedCopies& checked) {
  const Result<std::shared_ptr<store::Keystore>> opened = keystore();
  if (!opened) return false;
  const Result<store::KeyTable> table = (*opened)->keys();
  if (!table) return false;
  bool answered = true;
  for (const store::KeyRow& row : table->keys) {
    if (!is_live(row)) continue;
    for (const SealedKey& copy : row.copies) {
      if (!parts_.custodians.destroys(copy.custodian)) continue;
      if (checked.contains({row.id, copy.custodian.text})) continue;
      if (check_copy(*table, row, copy))
        checked.emplace(row.id, copy.custodian.text);
      else
        answered = false;
    }
  }
  return answered;
}

bool KeyringDomain::check_copy(const store::KeyTable& table, const store::KeyRow& row,
                               const SealedKey& copy) {
  const std::string subject = fmt::format("{} {}", domain_.text(), copy.custodian.text);
  const Result<SecretBytes> key = parts_.custodians.unseal_copy(copy, row, table.context(row.id));
  if (key) {
    parts_.events.clear(kPolicyChanged, subject);
    parts_.events.clear(kKeyOrphaned, subject);
    const Result<void> confirmed = parts_.custodians.confirm(copy.custodian, table.context(row.id));
    if (!confirmed) log(LogLevel::warning, "{}: {}", domain_.text(), confirmed.error().message);
    return confirmed || confirmed.error().code == ErrorCode::not_found;
  }
  const ErrorCode code = key.error().code;
  if (code == ErrorCode::conflict)
    parts_.events.raise(kPolicyChanged, subject, key.error().message);
  const bool is_gone = code == ErrorCode::not_found || code == ErrorCode::corrupt;
  if (is_gone) parts_.events.raise(kKeyOrphaned, subject, key.error().message);
  return is_gone || code == ErrorCode::conflict;
}

// ---- Entries ----

Result<std::shared_ptr<store::Keystore>> KeyringDomain::serving() const {
  const std::shared_lock lock(mutex_);
  if (fenced_)
    return fail(ErrorCode::not_found, fmt::format("there is no domain {}", domain_.text()));
  if (keystore_ && !held_.empty()) return keystore_;
  return fail(ErrorCode::unavailable, fmt::format("{} is locked: {}. It is tried again by itself",
                                                  domain_.text(), locked_because_));
}

Result<SecretBytes> KeyringDomain::get(const EntryName& name, std::uint64_t* version) {
  const std::shared_ptr<store::Keystore> keystore = TRY(serving());
  store::SealedEntry entry = TRY(keystore->get(name));
  std::shared_ptr<HeldKey> held = find_held(entry.key);
  if (!held) {
    // A rekey may have moved it, and forgotten its old key, since we read it.
    entry = TRY(keystore->get(name));
    held = TRY(need_held(entry.key));
  }
  if (version != nullptr) *version = entry.version;
  return held->cipher->decrypt(name, entry);
}

Result<std::uint64_t> KeyringDomain::put(const EntryName& name, const SecretBytes& secret,
                                         std::optional<std::uint64_t> if_version,
                                         const Caller& caller) {
  const EntryEdit edit{name, &secret, if_version};
  const auto changes = TRY(write({&edit, 1}, edit_record(domain_, {&edit, 1}, caller)));
  return changes.front().entry->version;
}

Result<void> KeyringDomain::edit(std::span<const EntryEdit> edits, const Caller& caller) {
  if (edits.empty()) return {};
  TRY(check_edits(edits));
  TRY(write(edits, edit_record(domain_, edits, caller)));
  return {};
}

Result<std::vector<store::EntryChange>> KeyringDomain::write(std::span<const EntryEdit> edits,
                                                             const store::AuditRecord& record) {
  for (int round = 0; round < kRoundsMax; ++round) {
    // Asked anew in each round: the domain may be on its way out.
    const std::shared_ptr<store::Keystore> keystore = TRY(serving());
    const WriteKey key = TRY(write_key(*keystore, edits.size()));
    std::vector<store::EntryChange> changes = TRY(make_changes(*keystore, key, edits));
    const Result<void> written = keystore->write(changes, key.table.generation, {&record, 1});
    if (written) return changes;
    if (written.error().code != ErrorCode::conflict) return std::unexpected(written.error());
  }
  return fail(ErrorCode::busy,
              "the entry is written all the time by others; nothing was changed, try again later");
}

Result<std::vector<store::EntryChange>> KeyringDomain::make_changes(
    store::Keystore& keystore, const WriteKey& key, std::span<const EntryEdit> edits) {
  std::vector<store::EntryChange> changes;
  changes.reserve(edits.size());
  for (const EntryEdit& edit : edits) {
    const std::uint64_t version = TRY(version_to_replace(keystore, edit));
    changes.push_back({edit.name, version, std::nullopt});
    if (edit.secret == nullptr) continue;
    changes.back().entry = TRY(key.held->cipher->encrypt(edit.name, version + 1, *edit.secret));
  }
  return changes;
}

Result<KeyringDomain::WriteKey> KeyringDomain::write_key(store::Keystore& keystore,
                                                         std::uint64_t encryptions) {
  for (int round = 0; round < kRoundsMax; ++round) {
    WriteKey key{TRY(keystore.keys()), nullptr};
    const KeyId id = key.table.write_key().id;
    key.held = TRY(need_held(id));
    if (key.held->cipher->encryptions() + encryptions + kInFlight <= key.held->allowed) return key;
    Result<void> reserved = reserve(id, *key.held, encryptions);
    // `conflict`: the key went out of use meanwhile, and there is another one.
    if (!reserved && reserved.error().code != ErrorCode::conflict)
      return std::unexpected(std::move(reserved.error()));
  }
  return fail(ErrorCode::busy, "the write key changes all the time; try again later");
}

Result<std::vector<store::EntryInfo>> KeyringDomain::list(const std::optional<EntryName>& after,
                                                          std::size_t count_max) {
  return TRY(serving())->list(after, count_max);
}

// ---- Keys ----

Result<std::shared_ptr<store::Keystore>> KeyringDomain::keystore() const {
  const std::shared_lock lock(mutex_);
  if (keystore_) return keystore_;
  return fail(ErrorCode::unavailable,
              fmt::format("the keystore of {} is not open: {}", domain_.text(), locked_because_));
}

std::shared_ptr<KeyringDomain::HeldKey> KeyringDomain::find_held(const KeyId& key) const {
  const std::shared_lock lock(mutex_);
  const auto found = held_.find(key);
  return found == held_.end() ? nullptr : found->second;
}

Result<std::shared_ptr<KeyringDomain::HeldKey>> KeyringDomain::need_held(const KeyId& key) const {
  const std::shared_lock lock(mutex_);
  if (fenced_)
    return fail(ErrorCode::not_found, fmt::format("there is no domain {}", domain_.text()));
  const auto found = held_.find(key);
  if (found != held_.end()) return found->second;
  const auto closed = closed_.find(key);
  return fail(ErrorCode::unavailable,
              fmt::format("key {} of {} is not open{}{}", key.to_text(), domain_.text(),
                          closed == closed_.end() ? "" : ": ",
                          closed == closed_.end() ? "" : closed->second));
}

Result<std::shared_ptr<store::EntryCipher>> KeyringDomain::cipher(const KeyId& key) const {
  return TRY(need_held(key))->cipher;
}

Result<std::shared_ptr<KeyringDomain::HeldKey>> KeyringDomain::make_held(
    const KeyId& key, const SecretBytes& secret) const {
  const SecretBytes entry_key = TRY(crypto::derive_entry_key(secret, domain_, key));
  auto held = std::make_shared<HeldKey>();
  held->cipher =
      std::make_shared<store::EntryCipher>(domain_, key, TRY(parts_.engine.open(entry_key)));
  const store::KeyTable table = TRY(TRY(keystore())->keys());
  if (const store::KeyRow* row = table.find(key)) held->counted_before = row->encryptions_reserved;
  return held;
}

Result<void> KeyringDomain::hold(const KeyId& key, const SecretBytes& secret) {
  std::shared_ptr<HeldKey> held = TRY(make_held(key, secret));
  const std::unique_lock lock(mutex_);
  held_.insert_or_assign(key, std::move(held));
  closed_.erase(key);
  return {};
}

void KeyringDomain::forget(const KeyId& key) {
  const std::unique_lock lock(mutex_);
  held_.erase(key);
  closed_.erase(key);
}

Result<void> KeyringDomain::reserve_encryptions(const KeyId& key, std::uint64_t count) {
  const std::shared_ptr<HeldKey> held = TRY(need_held(key));
  return reserve(key, *held, count);
}

Result<void> KeyringDomain::reserve(const KeyId& key, HeldKey& held, std::uint64_t count) {
  const std::scoped_lock lock(held.reserving);
  const std::uint64_t needed = held.cipher->encryptions() + count + kInFlight;
  if (needed <= held.allowed) return {};
  const std::uint64_t total = held.counted_before + needed;
  if (total > kEncryptionsMax) {
    return fail(ErrorCode::exhausted,
                fmt::format("key {} of {} has made 2^32 encryptions, and no more are safe under "
                            "it. Start a rekey: keyward cluster rekey start --domain {}",
                            key.to_text(), domain_.text(), domain_.text()));
  }
  const std::uint64_t reserved =
      std::min(kEncryptionsMax, (total + kStride - 1) / kStride * kStride);
  TRY(change_table(*TRY(keystore()),
                   [&](store::KeyTable table) {
                     return store::reserve_encryptions(std::move(table), key, reserved);
                   },
                   {}));
  held.allowed = reserved - held.counted_before;
  return {};
}

Result<void> KeyringDomain::check_wanted() const {
  const std::shared_lock lock(mutex_);
  if (!tampered_) return {};
  return fail(ErrorCode::corrupt, fmt::format("{}: {}", domain_.text(), kTamperedText));
}

void KeyringDomain::trust_wanted() {
  {
    const std::unique_lock lock(mutex_);
    if (!std::exchange(tampered_, false)) return;
  }
  parts_.events.clear(kKeystoreTampered, domain_.text());
}

// ---- Deleting ----

Result<void> KeyringDomain::fence() {
  {
    const std::unique_lock lock(mutex_);
    fenced_ = true;
  }
  // Changes that are under way carry the generation that they read: so it is moved on.
  const std::shared_ptr<store::Keystore> open = TRY(keystore());
  for (int round = 0; round < kRoundsMax; ++round) {
    const store::KeyTable table = TRY(open->keys());
    Result<void> moved = open->change_keys(table.generation, table, {});
    if (moved || moved.error().code != ErrorCode::conflict) return moved;
  }
  return fail(ErrorCode::busy, "the key table is changed all the time by others; try again later");
}

void KeyringDomain::reopen() {
  const std::unique_lock lock(mutex_);
  fenced_ = false;
}

std::shared_ptr<store::Keystore> KeyringDomain::release() {
  const std::unique_lock lock(mutex_);
  return std::exchange(keystore_, nullptr);
}

bool KeyringDomain::is_released() const {
  const std::shared_lock lock(mutex_);
  return fenced_ && !keystore_;
}

// ---- Status ----

std::string KeyringDomain::rekey_error(const store::RekeyRow& rekey) const {
  if (rekey.error.empty() || !rekey.next_try) return rekey.error;
  return fmt::format("{} (next try {})", rekey.error, to_iso8601(*rekey.next_try));
}

api::DomainStatus KeyringDomain::status() const {
  api::DomainStatus status{
      .domain = domain_.text(), .state = api::DomainState::locked, .key_created = {}, .error = {}};
  const std::shared_lock lock(mutex_);
  status.error = locked_because_;
  if (!keystore_) return status;
  const Result<store::KeyTable> table = keystore_->keys();
  if (!table) {
    status.error = table.error().message;
    return status;
  }
  status.key_created = table->current().created;
  if (held_.empty()) return status;
  if (!closed_.empty()) {
    status.state = api::DomainState::degraded;
    status.error = closed_.begin()->second;
    return status;
  }
  status.state = api::DomainState::active;
  status.error.clear();
  if (const auto& rekey = table->rekey) {
    const bool switched = rekey->phase == store::RekeyPhase::destroy;
    status.error = rekey_error(*rekey);
    status.state = rekey->paused          ? api::DomainState::paused
                   : rekey->error.empty() ? api::DomainState::in_progress
                   : switched             ? api::DomainState::active
                                          : api::DomainState::failed;
  }
  if (tampered_) {
    status.state = api::DomainState::failed;
    status.error = kTamperedText;
  }
  return status;
}

}  // namespace keyward::engine
