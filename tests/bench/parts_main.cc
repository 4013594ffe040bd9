// keyward-bench-parts measures the parts by themselves (Google Benchmark).
//
//   keyward-bench-parts --benchmark_filter=Reencrypt
//
// AEAD engines by size, re-encryption of one entry, key derivation, lookup with decryption, status.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/key_schedule.h"
#include "crypto/nonces.h"
#include "store/entry_cipher.h"
#include "store/sqlite/sqlite_keystore.h"

namespace keyward::bench {
namespace {

using crypto::AeadEngine;

template <typename T>
T need(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "keyward-bench-parts: {}\n", result.error().message);
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

Domain domain() { return need(Domain::parse("S3")); }
EntryName entry(std::int64_t id) { return need(EntryName::parse(fmt::format("entry-{:08}", id))); }

store::EntryCipher make_cipher(const AeadEngine& engine, const KeyId& key) {
  const SecretBytes master = need(SecretBytes::random(32));
  const SecretBytes entry_key = need(crypto::derive_entry_key(master, domain(), key));
  return {domain(), key, need(engine.open(entry_key))};
}

// ---- Cryptography ----

void BM_Encrypt(benchmark::State& state, const AeadEngine& engine) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto aead = need(engine.open(need(SecretBytes::random(32))));
  Bytes plaintext(size);
  Bytes ciphertext(size);
  Bytes aad(60);
  const crypto::AeadNonce nonce = crypto::random_nonce();
  crypto::AeadTag tag;
  for (auto round : state) aead->encrypt(nonce, aad, plaintext, ciphertext, tag);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_Decrypt(benchmark::State& state, const AeadEngine& engine) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const auto aead = need(engine.open(need(SecretBytes::random(32))));
  Bytes plaintext(size);
  Bytes ciphertext(size);
  Bytes aad(60);
  const crypto::AeadNonce nonce = crypto::random_nonce();
  crypto::AeadTag tag;
  aead->encrypt(nonce, aad, plaintext, ciphertext, tag);
  for (auto round : state) need(aead->decrypt(nonce, aad, ciphertext, tag, plaintext));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

// What a rekey does to each entry besides SQLite's work: decrypt, encrypt, decrypt and compare.
void BM_Reencrypt(benchmark::State& state, const AeadEngine& engine) {
  store::EntryCipher from = make_cipher(engine, KeyId::random());
  store::EntryCipher to = make_cipher(engine, KeyId::random());
  const SecretBytes secret = need(SecretBytes::random(static_cast<std::size_t>(state.range(0))));
  const store::SealedEntry sealed = need(from.encrypt(entry(1), 1, secret));
  Bytes made(sealed.blob.size());
  const auto reencryptor = store::make_reencryptor(from, to);
  reencryptor->begin_batch();
  for (auto round : state) need(reencryptor->reencrypt(sealed.blob, made));
}

void BM_OpenEntry(benchmark::State& state, const AeadEngine& engine) {
  store::EntryCipher cipher = make_cipher(engine, KeyId::random());
  const EntryName name = entry(1);
  const store::SealedEntry sealed = need(
      cipher.encrypt(name, 1, need(SecretBytes::random(static_cast<std::size_t>(state.range(0))))));
  for (auto round : state) benchmark::DoNotOptimize(need(cipher.decrypt(name, sealed)));
}

void BM_DeriveEntryKey(benchmark::State& state) {
  const SecretBytes master = need(SecretBytes::random(32));
  const KeyId key = KeyId::random();
  for (auto round : state)
    benchmark::DoNotOptimize(need(crypto::derive_entry_key(master, domain(), key)));
}

void BM_Sha256OfAName(benchmark::State& state) {
  const std::string name = entry(1).text();
  for (auto round : state) benchmark::DoNotOptimize(crypto::sha256(as_bytes(name)));
}

// The cost that a passphrase custodian takes by default.
void BM_Scrypt(benchmark::State& state) {
  const std::string passphrase = "known to every benchmark";
  const Bytes salt(16);
  for (auto round : state)
    benchmark::DoNotOptimize(
        need(crypto::scrypt(as_bytes(passphrase), salt, {.n = 1u << 17, .r = 8, .p = 1}, 32)));
}

// ---- Keystore ----

// A keystore of `entries` entries in a directory of its own.
class Store final {
 public:
  explicit Store(std::int64_t entries) {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "keyward-parts-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    directory_ = pattern;
    store::KeyTable table{.store = StoreId::random(),
                          .domain = domain(),
                          .generation = 1,
                          .keys = {},
                          .wanted = {{{"passphrase:bench"}, "bench"}},
                          .rekey = {}};
    store::KeyRow row;
    row.id = cipher.key();
    row.state = store::KeyState::current;
    row.commitment.fill(std::byte{1});
    row.copies = {{{"passphrase:bench"}, Bytes(64, std::byte{1})}};
    row.holders = {{"passphrase:bench"}};
    table.keys.push_back(std::move(row));
    keystore = need(store::create_sqlite_keystore(
        {.path = (directory_ / "S3.db").string(), .clock = *clock_}, table, {}));
    fill(entries);
  }
  ~Store() {
    keystore.reset();
    std::filesystem::remove_all(directory_);
  }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  store::EntryCipher cipher =
      make_cipher(need(crypto::choose_aead_engine("auto")).get(), KeyId::random());
  std::unique_ptr<store::Keystore> keystore;

 private:
  void fill(std::int64_t entries) {
    const SecretBytes secret = need(SecretBytes::random(256));
    std::vector<store::EntryChange> changes;
    for (std::int64_t id = 0; id < entries; ++id) {
      changes.push_back({entry(id), 0, need(cipher.encrypt(entry(id), 1, secret))});
      if (changes.size() < 5'000 && id + 1 < entries) continue;
      need(keystore->write(changes, 1, {}));
      changes.clear();
    }
  }

  std::unique_ptr<Clock> clock_ = real_clock();
  std::filesystem::path directory_;
};

void BM_LookupAndDecrypt(benchmark::State& state) {
  Store store(state.range(0));
  std::int64_t id = 0;
  for (auto round : state) {
    const EntryName name = entry(id);
    benchmark::DoNotOptimize(need(store.cipher.decrypt(name, need(store.keystore->get(name)))));
    id = (id + 7919) % state.range(0);
  }
}

void BM_Status(benchmark::State& state) {
  Store store(state.range(0));
  for (auto round : state) {
    benchmark::DoNotOptimize(need(store.keystore->reencryption().progress()));
    benchmark::DoNotOptimize(need(store.keystore->entries_total()));
  }
}

void register_all() {
  using benchmark::RegisterBenchmark;
  for (const AeadEngine* engine : crypto::aead_engines()) {
    const std::string name(engine->name());
    using Body = void (*)(benchmark::State&, const AeadEngine&);
    for (const auto& [what, body] : {std::pair<const char*, Body>{"Encrypt", BM_Encrypt},
                                     {"Decrypt", BM_Decrypt},
                                     {"Reencrypt", BM_Reencrypt},
                                     {"OpenEntry", BM_OpenEntry}}) {
      RegisterBenchmark(fmt::format("{}/{}", what, name).c_str(),
                        [body = body, engine](benchmark::State& state) { body(state, *engine); })
          ->Arg(32)
          ->Arg(256)
          ->Arg(4096)
          ->Arg(65536)
          ->Arg(1 << 20);
    }
  }
  RegisterBenchmark("DeriveEntryKey", BM_DeriveEntryKey);
  RegisterBenchmark("Sha256OfAName", BM_Sha256OfAName);
  RegisterBenchmark("Scrypt", BM_Scrypt)->Unit(benchmark::kMillisecond);
  RegisterBenchmark("LookupAndDecrypt", BM_LookupAndDecrypt)->Arg(10'000)->Arg(100'000);
  RegisterBenchmark("Status", BM_Status)->Arg(10'000)->Arg(100'000);
}

}  // namespace
}  // namespace keyward::bench

int main(int count, char** arguments) {
  keyward::bench::register_all();
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
