// A keystore with its keys, as the engine would use it, without hardware. For tests only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crypto/aead.h"
#include "crypto/key_schedule.h"
#include "store/entry_cipher.h"
#include "store/key_table_test_support.h"
#include "store/keystore.h"
#include "store/self_check.h"
#include "store/sqlite/sqlite_keystore.h"
#include "store/sqlite/test_support.h"
#include "store/sqlite/vfs.h"

namespace keyward::store::sqlite_testing {

using key_table_testing::key_number;
using key_table_testing::must;

inline EntryName name_of(std::string_view text) { return must(EntryName::parse(text)); }
inline EntryName numbered(int i) { return name_of("entry/" + std::to_string(i)); }

inline SecretBytes secret_of(std::string text) {
  return must(SecretBytes::take_from(std::as_writable_bytes(std::span(text))));
}
inline std::string text_of(const SecretBytes& secret) {
  const ByteView bytes = secret.reveal();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Entry ciphers by key. The master key of key n is 32 bytes of n.
class Ciphers final {
 public:
  EntryCipher& of(const KeyId& key) {
    std::unique_ptr<EntryCipher>& cipher = ciphers_[key];
    if (!cipher) {
      const Domain domain = key_table_testing::domain_named("S3");
      const SecretBytes master = secret_of(std::string(32, static_cast<char>(key.bytes[15])));
      const SecretBytes entry_key = must(crypto::derive_entry_key(master, domain, key));
      cipher = std::make_unique<EntryCipher>(domain, key, must(engine().open(entry_key)));
    }
    return *cipher;
  }

 private:
  static const crypto::AeadEngine& engine() {
    static const crypto::AeadEngine& chosen = must(crypto::choose_aead_engine("auto")).get();
    return chosen;
  }
  std::map<KeyId, std::unique_ptr<EntryCipher>> ciphers_;
};

class DecryptingVisitor final : public EntryVisitor {
 public:
  explicit DecryptingVisitor(Ciphers& ciphers) : ciphers_(ciphers) {}
  Result<void> visit(const EntryInfo& info, ByteView blob) override {
    const SealedEntry entry{info.key, info.version, Bytes(blob.begin(), blob.end())};
    const SecretBytes secret = TRY(ciphers_.of(info.key).decrypt(info.name, entry));
    values[info.name.text()] = text_of(secret);
    ++under[info.key];
    return {};
  }
  std::map<std::string, std::string> values;
  std::map<KeyId, int> under;

 private:
  Ciphers& ciphers_;
};

// One keystore file and what works on it. Every act is checked to succeed unless it says "try".
class StoreUnderTest final {
 public:
  explicit StoreUnderTest(const std::string& path, Clock& clock, VfsHook* hook = nullptr)
      : clock_(clock), vfs_(must(Vfs::create({.hook = hook}))), path_(path) {}

  SqliteKeystoreOptions options() {
    return {.path = path_, .clock = clock_, .vfs_name = vfs_->name()};
  }
  Result<void> try_create(std::uint32_t format = 0) {
    const AuditRecord record = record_of("domain.create");
    store_ = TRY(
        create_sqlite_keystore(options(), key_table_testing::idle_table(), {&record, 1}, format));
    return {};
  }
  Result<void> try_open() {
    store_ = TRY(open_sqlite_keystore(options()));
    auto& self = dynamic_cast<SelfCheck&>(*store_);
    if (!self.is_suspect()) return {};
    DecryptingVisitor visitor(ciphers_);
    TRY(store_->reencryption().scan(visitor, {}));
    return self.trust();
  }
  void create(std::uint32_t format = 0) { must(try_create(format)); }
  void open() { must(try_open()); }
  void close() { store_.reset(); }
  Keystore& store() { return *store_; }
  const Vfs& vfs() const { return *vfs_; }
  Keystore* operator->() { return store_.get(); }
  Ciphers& ciphers() { return ciphers_; }
  KeyTable table() { return must(store_->keys()); }

  // Whatever version is there.
  Result<void> try_put(const EntryName& name, const std::string& text) {
    const Result<SealedEntry> found = store_->get(name);
    if (!found && found.error().code != ErrorCode::not_found) return std::unexpected(found.error());
    return try_replace(name, found ? found->version : 0, text);
  }
  Result<void> try_replace(const EntryName& name, std::uint64_t replaces, const std::string& text) {
    const KeyTable table = TRY(store_->keys());
    EntryCipher& cipher = ciphers_.of(table.write_key().id);
    EntryChange change{name, replaces, TRY(cipher.encrypt(name, replaces + 1, secret_of(text)))};
    const AuditRecord record = record_of("entry.put");
    return store_->write({&change, 1}, table.generation, {&record, 1});
  }
  Result<void> try_erase(const EntryName& name) {
    const SealedEntry found = TRY(store_->get(name));
    const EntryChange change{name, found.version, std::nullopt};
    return store_->write({&change, 1}, TRY(store_->keys()).generation, {});
  }
  Result<std::string> try_read(const EntryName& name) {
    const SealedEntry entry = TRY(store_->get(name));
    return text_of(TRY(ciphers_.of(entry.key).decrypt(name, entry)));
  }
  void put(const EntryName& name, const std::string& text) { must(try_put(name, text)); }
  void erase(const EntryName& name) { must(try_erase(name)); }
  std::string read(const EntryName& name) { return must(try_read(name)); }

  // `count` entries of `size` bytes, many in a transaction.
  void fill(int count, std::size_t size, int first = 0) {
    const KeyTable table = this->table();
    EntryCipher& cipher = ciphers_.of(table.write_key().id);
    std::vector<EntryChange> changes;
    for (int i = first; i < first + count; ++i) {
      std::string text = std::to_string(i) + ":";
      text.resize(std::max(size, text.size()), 'x');
      changes.push_back({numbered(i), 0, must(cipher.encrypt(numbered(i), 1, secret_of(text)))});
      if (changes.size() < 2000 && i + 1 < first + count) continue;
      must(store_->write(changes, table.generation, {}));
      changes.clear();
    }
  }

  Result<void> try_change(const Result<KeyTable>& next) {
    if (!next) return std::unexpected(next.error());
    return store_->change_keys(next->generation, *next, {});
  }
  void change(const Result<KeyTable>& next) { must(try_change(next)); }

  // The rekey as the engine does it, from whatever state the key table is in, each line durable.
  Result<void> try_rekey_step(const KeyId& next_key, std::size_t entries_max = 10'000) {
    const KeyTable table = TRY(store_->keys());
    if (!table.rekey)
      return try_change(announce(table, key_table_testing::announcement_of(next_key)));
    switch (table.rekey->phase) {
      case RekeyPhase::prepare:
        return try_change(begin_reencrypt(table, key_table_testing::new_copies(),
                                          key_table_testing::commitment_of(2), {}));
      case RekeyPhase::reencrypt: {
        auto reencryptor =
            make_reencryptor(ciphers_.of(table.rekey->from), ciphers_.of(table.rekey->to));
        const BatchReport report =
            TRY(store_->reencryption().run_batch(table.generation, entries_max, *reencryptor));
        if (!report.done) return {};
        return try_change(begin_verify(table));
      }
      case RekeyPhase::verify: {
        DecryptingVisitor visitor(ciphers_);
        TRY(store_->reencryption().scan(visitor, {}));
        if (visitor.under[table.rekey->from] != 0) return try_change(back_to_reencrypt(table));
        return try_change(switch_over(table));
      }
      case RekeyPhase::destroy:
        return try_destroy_step(table);
    }
    return {};
  }
  Result<void> try_rekey(const KeyId& next_key, std::size_t entries_max = 10'000) {
    TRY(try_rekey_step(next_key, entries_max));
    while (TRY(store_->keys()).rekey) TRY(try_rekey_step(next_key, entries_max));
    return {};
  }
  void rekey(const KeyId& next_key, std::size_t entries_max = 10'000) {
    must(try_rekey(next_key, entries_max));
  }

 private:
  Result<void> try_destroy_step(const KeyTable& table) {
    TRY(store_->reencryption().purge());
    const KeyRow& row = *table.find(table.rekey->from);
    if (!row.holders.empty()) {
      return try_change(
          record_destroyed(table, row.id, row.holders.front(), Destruction::confirmed));
    }
    return try_change(forget(table, row.id));
  }

  Clock& clock_;
  std::unique_ptr<Vfs> vfs_;
  std::string path_;
  Ciphers ciphers_;
  std::unique_ptr<Keystore> store_;
};

}  // namespace keyward::store::sqlite_testing
