#include "tests/support/memory_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace keyward::testing {
namespace {

using store::AuditRecord;
using store::Document;
using store::KeyTable;
using store::RekeyPhase;
using store::SealedEntry;

class NoTrail final : public store::AuditTrail {
 public:
  Result<void> append(std::span<const AuditRecord>) override { return {}; }
  Result<std::vector<store::StoredRecord>> read(std::uint64_t, std::size_t) override {
    return std::vector<store::StoredRecord>{};
  }
  Result<store::StoredRecord> verify() override { return store::StoredRecord{}; }
  Result<void> prune(std::uint64_t) override { return {}; }
};

class MemoryControl final : public store::ControlStore {
 public:
  MemoryControl(Disk& disk, CallGate& gate) : disk_(disk), gate_(gate) {}

  Result<Document> load(std::string_view name) override {
    return through(gate_, "control.load", [&]() -> Result<Document> {
      const auto found = disk_.documents.find(std::string(name));
      if (found == disk_.documents.end())
        return fail(ErrorCode::not_found, fmt::format("there is no document {}", name));
      return found->second;
    });
  }

  Result<std::vector<Document>> list(std::string_view prefix, std::string_view after,
                                     std::size_t count_max) override {
    return through(gate_, "control.list", [&]() -> Result<std::vector<Document>> {
      std::vector<Document> page;
      for (auto next = disk_.documents.lower_bound(std::string(std::max(prefix, after)));
           next != disk_.documents.end() && page.size() < count_max; ++next) {
        if (!next->first.starts_with(prefix)) break;
        if (next->first > after) page.push_back(next->second);
      }
      return page;
    });
  }

  Result<std::uint64_t> save(const Document& document, std::span<const AuditRecord>) override {
    return through(gate_, "control.save", [&]() -> Result<std::uint64_t> {
      const auto found = disk_.documents.find(document.name);
      const std::uint64_t version = found == disk_.documents.end() ? 0 : found->second.version;
      if (version != document.version) return fail(ErrorCode::conflict, "saved in between");
      Document next = document;
      next.version = version + 1;
      disk_.documents.insert_or_assign(document.name, std::move(next));
      return version + 1;
    });
  }

  Result<void> remove(const Document& document, std::span<const AuditRecord>) override {
    return through(gate_, "control.remove", [&]() -> Result<void> {
      const auto found = disk_.documents.find(document.name);
      if (found == disk_.documents.end()) return fail(ErrorCode::not_found, "no such document");
      if (found->second.version != document.version)
        return fail(ErrorCode::conflict, "saved in between");
      disk_.documents.erase(found);
      return {};
    });
  }

  store::AuditTrail& audit_trail() override { return trail_; }

 private:
  Disk& disk_;
  CallGate& gate_;
  NoTrail trail_;
};

bool cursor_starts_anew(const KeyTable& before, const KeyTable& next) {
  if (!next.rekey || next.rekey->phase != RekeyPhase::reencrypt) return false;
  if (!before.rekey || before.rekey->phase != RekeyPhase::reencrypt) return true;
  return before.rekey->from != next.rekey->from;
}

std::uint64_t count_under(const StoreImage& image, const KeyId& key) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      image.entries, [&](const auto& entry) { return entry.second.key == key; }));
}

class MemoryKeystore final : public store::Keystore, public store::Reencryption {
 public:
  MemoryKeystore(Disk& disk, Domain domain, CallGate& gate, const StoreFlaws& flaws)
      : disk_(disk), domain_(std::move(domain)), gate_(gate), flaws_(flaws) {}

  // ---- Keystore ----

  Result<SealedEntry> get(const EntryName& name) override {
    return through(gate_, "keystore.get", [&]() -> Result<SealedEntry> {
      const auto found = now().entries.find(name);
      if (found == now().entries.end()) return fail(ErrorCode::not_found, "no such entry");
      return found->second;
    });
  }

  Result<std::vector<store::EntryInfo>> list(const std::optional<EntryName>& after,
                                             std::size_t count_max) override {
    return through(gate_, "keystore.list", [&]() -> Result<std::vector<store::EntryInfo>> {
      std::vector<store::EntryInfo> page;
      for (const auto& [name, entry] : now().entries)
        if ((!after || name > *after) && page.size() < count_max)
          page.push_back({name, entry.key, entry.version, entry.blob.size()});
      return page;
    });
  }

  Result<std::uint64_t> entries_total() override {
    return through(gate_, "keystore.entries_total",
                   [&]() -> Result<std::uint64_t> { return now().entries.size(); });
  }

  Result<void> write(std::span<const store::EntryChange> changes, std::uint64_t generation,
                     std::span<const AuditRecord>) override {
    return through(gate_, "keystore.write", [&]() -> Result<void> {
      TRY(check_generation(generation));
      for (const store::EntryChange& change : changes) {
        const auto found = now().entries.find(change.name);
        const std::uint64_t version = found == now().entries.end() ? 0 : found->second.version;
        if (version != change.replaces) return fail(ErrorCode::conflict, "another version");
      }
      for (const store::EntryChange& change : changes) replace(change.name, change.entry);
      sync();
      return {};
    });
  }

  Result<KeyTable> keys() override {
    return through(gate_, "keystore.keys", [&]() -> Result<KeyTable> { return now().table; });
  }

  Result<void> change_keys(std::uint64_t generation, const KeyTable& next,
                           std::span<const AuditRecord>) override {
    return through(gate_, "keystore.change_keys", [&]() -> Result<void> {
      if (generation != now().table.generation && !flaws_.swaps_blindly)
        return fail(ErrorCode::conflict, "another generation");
      TRY(next.check());
      if (flaws_.forgets_intents) store().durable = without_intents(next);
      replace_table(next);
      if (!flaws_.forgets_intents) sync();
      return {};
    });
  }

  bool supports_rekey() const override { return true; }
  store::Reencryption& reencryption() override { return *this; }
  store::AuditTrail& audit_trail() override { return trail_; }

  // ---- Reencryption ----

  Result<store::RekeyProgress> progress() override {
    return through(gate_, "keystore.progress", [&]() -> Result<store::RekeyProgress> {
      const auto& rekey = now().table.rekey;
      if (!rekey) return store::RekeyProgress{};
      const std::uint64_t left = count_under(now(), rekey->from);
      if (rekey->phase == RekeyPhase::prepare)
        return store::RekeyProgress{.entries_done = 0, .entries_total = left, .has_batch = false};
      const std::uint64_t total = std::max(now().rekey_entries, left);
      const bool has_batch =
          flaws_.takes_puts_for_batches ? left < total : now().cursor.has_value();
      return store::RekeyProgress{
          .entries_done = total - left, .entries_total = total, .has_batch = has_batch};
    });
  }

  Result<store::BatchReport> run_batch(std::uint64_t generation, std::size_t entries_max,
                                       store::Reencryptor& reencryptor) override {
    return through(gate_, "keystore.run_batch", [&]() -> Result<store::BatchReport> {
      TRY(check_generation(generation));
      const auto& rekey = now().table.rekey;
      if (!rekey || rekey->phase != RekeyPhase::reencrypt)
        return fail(ErrorCode::conflict, "no rekey is in the phase that re-encrypts");
      StoreImage next = now();
      const auto report = TRY(rewrite(next, *rekey, entries_max, reencryptor));
      if (!store().durable) store().durable = now();
      if (flaws_.cursor_apart) store().durable->cursor = next.cursor;
      now() = std::move(next);
      return report;
    });
  }

  Result<void> scan(store::EntryVisitor& visitor, std::stop_token stop) override {
    if (flaws_.scans_nothing) return {};
    std::optional<EntryName> after;
    for (;;) {
      const auto next =
          TRY(through(gate_, "keystore.scan",
                      [&]() -> Result<std::optional<std::pair<EntryName, SealedEntry>>> {
                        const auto found = next_entry(now(), after);
                        if (found == now().entries.end()) return std::nullopt;
                        return *found;
                      }));
      if (!next) return {};
      if (stop.stop_requested()) return fail(ErrorCode::cancelled, "the scan was stopped");
      const auto& [name, entry] = *next;
      TRY(visitor.visit({name, entry.key, entry.version, entry.blob.size()}, entry.blob));
      after = name;
    }
  }

  Result<void> purge() override {
    return through(gate_, "keystore.purge", [&]() -> Result<void> {
      if (flaws_.purges_nothing) return {};
      now().stale.clear();
      store().durable.reset();
      return {};
    });
  }

 private:
  StoredStore& store() { return disk_.stores.at(domain_); }
  StoreImage& now() { return store().now; }

  void sync() {
    if (flaws_.syncs_nothing) return;
    store().durable.reset();
  }

  Result<void> check_generation(std::uint64_t generation) {
    if (generation == now().table.generation || flaws_.ignores_generation) return {};
    return fail(ErrorCode::conflict, "another generation of the key table");
  }

  static std::map<EntryName, SealedEntry>::const_iterator next_entry(
      const StoreImage& image, const std::optional<EntryName>& after) {
    return after ? image.entries.upper_bound(*after) : image.entries.begin();
  }

  void replace(const EntryName& name, const std::optional<SealedEntry>& entry) {
    const auto found = now().entries.find(name);
    if (found != now().entries.end() && (!entry || entry->key != found->second.key))
      now().stale.insert(found->second.key);
    if (entry)
      now().entries.insert_or_assign(name, *entry);
    else
      now().entries.erase(name);
  }

  void replace_table(const KeyTable& next) {
    StoreImage& image = now();
    if (flaws_.syncs_nothing && !store().durable) store().durable = image;
    const KeyTable before = std::exchange(image.table, next);
    image.table.generation = before.generation + 1;
    if (!cursor_starts_anew(before, next)) return;
    if (!flaws_.keeps_cursor || !before.rekey || before.rekey->phase == RekeyPhase::prepare)
      image.cursor.reset();
    const bool counts_anew = !before.rekey || before.rekey->phase == RekeyPhase::prepare ||
                             before.rekey->from != next.rekey->from;
    if (counts_anew) image.rekey_entries = count_under(image, next.rekey->from);
  }

  // What a power cut leaves of a table whose announced keys name nobody.
  StoreImage without_intents(const KeyTable& next) {
    StoreImage image = now();
    image.table = next;
    image.table.generation = now().table.generation + 1;
    for (store::KeyRow& row : image.table.keys)
      if (row.state == store::KeyState::announced) row.holders.clear();
    return image;
  }

  static Result<store::BatchReport> rewrite(StoreImage& image, const store::RekeyRow& rekey,
                                            std::size_t entries_max,
                                            store::Reencryptor& reencryptor) {
    store::BatchReport report;
    reencryptor.begin_batch();
    auto next = image.cursor ? image.entries.upper_bound(*image.cursor) : image.entries.begin();
    for (; next != image.entries.end() && report.entries < entries_max; ++next) {
      auto& [name, entry] = *next;
      image.cursor = name;
      if (entry.key != rekey.from) continue;
      Bytes blob(entry.blob.size());
      TRY(reencryptor.reencrypt(entry.blob, blob));
      entry = {rekey.to, entry.version, std::move(blob)};
      ++report.entries;
    }
    if (report.entries > 0) image.stale.insert(rekey.from);
    report.done = next == image.entries.end();
    return report;
  }

  Disk& disk_;
  const Domain domain_;
  CallGate& gate_;
  const StoreFlaws flaws_;
  NoTrail trail_;
};

}  // namespace

void Disk::cut_power() {
  for (auto& [domain, store] : stores)
    if (store.durable) store.now = *std::exchange(store.durable, std::nullopt);
}

MemoryBackend::MemoryBackend(Disk& disk, CallGate& gate, StoreFlaws flaws)
    : disk_(disk),
      gate_(gate),
      flaws_(flaws),
      control_(std::make_unique<MemoryControl>(disk, gate)) {}

MemoryBackend::~MemoryBackend() = default;

store::ControlStore& MemoryBackend::control() { return *control_; }

Result<std::vector<Domain>> MemoryBackend::domains() {
  return through(gate_, "backend.domains", [&]() -> Result<std::vector<Domain>> {
    std::vector<Domain> names;
    for (const auto& [domain, store] : disk_.stores) names.push_back(domain);
    return names;
  });
}

Result<std::unique_ptr<store::Keystore>> MemoryBackend::open(const Domain& domain) {
  return through(gate_, "backend.open", [&]() -> Result<std::unique_ptr<store::Keystore>> {
    if (!disk_.stores.contains(domain)) return fail(ErrorCode::not_found, "no such keystore");
    return std::make_unique<MemoryKeystore>(disk_, domain, gate_, flaws_);
  });
}

Result<std::unique_ptr<store::Keystore>> MemoryBackend::create(const KeyTable& first,
                                                               std::span<const AuditRecord>) {
  return through(gate_, "backend.create", [&]() -> Result<std::unique_ptr<store::Keystore>> {
    TRY(first.check());
    StoreImage made{.table = first, .entries = {}, .cursor = {}, .stale = {}};
    if (!disk_.stores.try_emplace(first.domain, std::move(made)).second)
      return fail(ErrorCode::already_exists, "there is such a keystore");
    return std::make_unique<MemoryKeystore>(disk_, first.domain, gate_, flaws_);
  });
}

Result<void> MemoryBackend::remove(const Domain& domain, std::span<const AuditRecord>) {
  return through(gate_, "backend.remove", [&]() -> Result<void> {
    disk_.stores.erase(domain);
    return {};
  });
}

}  // namespace keyward::testing
