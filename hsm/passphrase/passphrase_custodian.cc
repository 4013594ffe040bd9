#include "hsm/passphrase/passphrase_custodian.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/nonces.h"
#include "crypto/openssl_engine.h"
#include "hsm/context_bytes.h"

namespace keyward::hsm {
namespace {

constexpr std::string_view kIdentity = "scrypt passphrase";
constexpr std::string_view kCommitLabel = "passphrase commit v1";
constexpr std::string_view kSealLabel = "passphrase seal v1";
constexpr std::size_t kKeksMax = 32;

std::unexpected<Error> wrong(std::string_view key, std::string_view what) {
  return fail(ErrorCode::invalid_argument,
              fmt::format("passphrase setting \"{}\": {}", printable(key), what));
}

bool same_cost(const crypto::ScryptCost& a, const crypto::ScryptCost& b) {
  return a.n == b.n && a.r == b.r && a.p == b.p;
}

Result<toml::table> parse_table(std::string_view text) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("passphrase settings are not TOML: {} (line {})", error.description(),
                            error.source().begin.line));
  }
}

Result<std::uint32_t> read_number(std::string_view key, const toml::node& node) {
  const auto value = node.value_exact<std::int64_t>();
  if (!value || *value < 1 || *value > static_cast<std::int64_t>(kScryptCeiling.n))
    return wrong(key, fmt::format("is outside the limits: {}", scrypt_limits_text()));
  return static_cast<std::uint32_t>(*value);
}

std::string way_to_give(bool is_readable_again, const CustodianId& id) {
  if (is_readable_again) return "put the right one where the setting \"source\" says";
  return fmt::format("give the right one with \"keyward custodians unlock {}\"", id.text);
}

Result<std::string> prepare_check_path(const CustodianConfig& config) {
  std::error_code error;
  std::filesystem::create_directories(config.state_dir, error);
  if (error)
    return fail(ErrorCode::io,
                fmt::format("mkdir: {}: {}", printable(config.state_dir, 256), error.message()));
  return fmt::format("{}/passphrase-{}.check", config.state_dir, config.name);
}

// None when there is no file, or none that can be used.
Result<std::optional<PassphraseBlob>> read_check(const std::string& path) {
  constexpr std::size_t kCheckBytesMax = 4096;
  const Result<Bytes> content = read_file(path, kCheckBytesMax);
  if (!content && content.error().code == ErrorCode::not_found) return std::nullopt;
  if (!content && content.error().code == ErrorCode::io) return std::unexpected(content.error());
  const Result<PassphraseBlob> check =
      content ? PassphraseBlob::parse(*content) : std::unexpected(content.error());
  if (check) return *check;
  log(LogLevel::warning, "{}: {}; a new one is written", printable(path, 256),
      check.error().message);
  return std::nullopt;
}

Bytes aad_of(const PassphraseBlob& blob, const KeyContext& context) {
  Bytes aad = blob.render_head();
  const Bytes bound = context_bytes(context);
  aad.insert(aad.end(), bound.begin(), bound.end());
  return aad;
}

}  // namespace

Result<PassphraseSettings> parse_passphrase_settings(std::string_view toml) {
  const toml::table table = TRY(parse_table(toml));
  std::optional<PassphraseSource> source;
  crypto::ScryptCost cost;
  for (const auto& [key, node] : table) {
    const std::string_view name = key.str();
    if (name == "source") {
      const auto text = node.value_exact<std::string>();
      if (!text) return wrong(name, "must be a text");
      source = TRY(PassphraseSource::parse(*text));
    } else if (name == "scrypt_n") {
      cost.n = TRY(read_number(name, node));
    } else if (name == "scrypt_r") {
      cost.r = TRY(read_number(name, node));
    } else if (name == "scrypt_p") {
      cost.p = TRY(read_number(name, node));
    } else {
      return wrong(name, "is not known; there are source, scrypt_n, scrypt_r and scrypt_p");
    }
  }
  if (!source)
    return wrong("source",
                 "is missing: \"file:/path\", \"credential:NAME\", \"fd:N\" or "
                 "\"prompt\"");
  if (!is_within_limits(cost))
    return wrong("scrypt_n", fmt::format("scrypt n={} r={} p={} is outside the limits: {}", cost.n,
                                         cost.r, cost.p, scrypt_limits_text()));
  return PassphraseSettings{*std::move(source), cost};
}

PassphraseCustodian::PassphraseCustodian(CustodianId id, PassphraseSettings settings,
                                         std::string check_path,
                                         std::optional<PassphraseBlob> check)
    : id_(std::move(id)),
      settings_(std::move(settings)),
      check_path_(std::move(check_path)),
      check_(check) {
  crypto::random_fill(salt_);
  if (check_) salt_ = check_->salt;
}

Result<std::string> PassphraseCustodian::identity() { return std::string(kIdentity); }

Result<GeneratedKey> PassphraseCustodian::generate(const KeyContext& context) {
  SecretBytes key = TRY(SecretBytes::random(kSealedKeyBytes));
  SealedKey copy = TRY(seal(key, context));
  return GeneratedKey{std::move(key), std::move(copy)};
}

Result<SealedKey> PassphraseCustodian::seal(const SecretBytes& key, const KeyContext& context) {
  const std::lock_guard lock(mutex_);
  const Kek* kek = TRY(kek_for(settings_.cost, salt_));
  SealedKey copy = TRY(seal_under(*kek, key, context));
  TRY(remember(*kek));
  return copy;
}

Result<SecretBytes> PassphraseCustodian::unseal(const SealedKey& copy, const KeyContext& context) {
  const PassphraseBlob blob = TRY(PassphraseBlob::parse(copy.blob));
  const std::lock_guard lock(mutex_);
  const Kek* kek = TRY(kek_for(blob.cost, blob.salt));
  if (!constant_time_equal(kek->commitment, blob.commitment)) return wrong_passphrase();
  SecretBytes key = TRY(open_under(*kek, blob, context));
  const Result<void> remembered = remember(*kek);
  // The key counts more than the file.
  if (!remembered) log(LogLevel::warning, "{}: {}", id_.text, remembered.error().message);
  return key;
}

Result<void> PassphraseCustodian::confirm(const KeyContext&) { return {}; }

Result<void> PassphraseCustodian::destroy(const KeyContext&, DestroyScope) { return {}; }

Result<std::vector<HeldObject>> PassphraseCustodian::list() { return std::vector<HeldObject>{}; }

// Remembers nothing: a passphrase that has neither sealed nor opened a key may be a mistyped one.
Result<void> PassphraseCustodian::probe() {
  const std::lock_guard lock(mutex_);
  const KeyContext context{StoreId::random(), TRY(Domain::parse("PROBE")), KeyId::random()};
  const SecretBytes key = TRY(SecretBytes::random(kSealedKeyBytes));
  const Kek* kek = TRY(kek_for(settings_.cost, salt_));
  const SealedKey copy = TRY(seal_under(*kek, key, context));
  const SecretBytes again = TRY(open_under(*kek, TRY(PassphraseBlob::parse(copy.blob)), context));
  if (constant_time_equal(key.reveal(), again.reveal())) return {};
  return fail(ErrorCode::protocol, fmt::format("{} gave another key back", id_.text));
}

Result<void> PassphraseCustodian::supply(SecretBytes passphrase) {
  const std::lock_guard lock(mutex_);
  return adopt(std::move(passphrase));
}

bool PassphraseCustodian::has_passphrase() const {
  const std::lock_guard lock(mutex_);
  return passphrase_.has_value();
}

Result<void> PassphraseCustodian::need_passphrase() {
  if (passphrase_) return {};
  if (!settings_.source.is_readable_again())
    return fail(
        ErrorCode::unavailable,
        fmt::format("{0} waits for its passphrase: give it with \"keyward custodians unlock "
                    "{0}\"",
                    id_.text));
  Result<SecretBytes> read = settings_.source.read();
  if (!read) return std::unexpected(with_context(std::move(read).error(), id_.text));
  return adopt(*std::move(read));
}

Result<void> PassphraseCustodian::adopt(SecretBytes passphrase) {
  TRY(check_passphrase_size(passphrase));
  std::optional<Kek> checked;
  if (check_) {
    checked = TRY(derive_kek(passphrase, check_->cost, check_->salt));
    if (!constant_time_equal(checked->commitment, check_->commitment)) return refused_by_check();
  }
  passphrase_ = std::move(passphrase);
  keks_.clear();
  if (checked) keks_.push_back(*std::move(checked));
  return {};
}

Result<PassphraseCustodian::Kek> PassphraseCustodian::derive_kek(const SecretBytes& passphrase,
                                                                 const crypto::ScryptCost& cost,
                                                                 const PassphraseSalt& salt) const {
  const SecretBytes kek =
      TRY(crypto::scrypt(passphrase.reveal(), salt, cost, crypto::kAeadKeyBytes));
  const SecretBytes commit_key =
      TRY(crypto::hkdf_sha256(kek.reveal(), {}, as_bytes(kCommitLabel), crypto::kAeadKeyBytes));
  const SecretBytes seal_key =
      TRY(crypto::hkdf_sha256(kek.reveal(), {}, as_bytes(kSealLabel), crypto::kAeadKeyBytes));
  PassphraseBlob head;
  head.cost = cost;
  head.salt = salt;
  return Kek{cost, salt, TRY(crypto::hmac_sha256(commit_key.reveal(), head.render_cost())),
             TRY(crypto::OpensslEngine().open(seal_key))};
}

Result<const PassphraseCustodian::Kek*> PassphraseCustodian::kek_for(const crypto::ScryptCost& cost,
                                                                     const PassphraseSalt& salt) {
  TRY(need_passphrase());
  const auto known = std::ranges::find_if(
      keks_, [&](const Kek& kek) { return kek.salt == salt && same_cost(kek.cost, cost); });
  if (known != keks_.end()) return &*known;
  Kek made = TRY(derive_kek(*passphrase_, cost, salt));
  if (keks_.size() == kKeksMax) keks_.erase(keks_.begin());
  keks_.push_back(std::move(made));
  return &keks_.back();
}

Result<void> PassphraseCustodian::remember(const Kek& kek) {
  if (check_ || check_path_.empty()) return {};
  PassphraseBlob check;
  check.cost = kek.cost;
  check.salt = kek.salt;
  check.commitment = kek.commitment;
  TRY(write_file_durably(check_path_, check.render()));
  salt_ = check.salt;
  check_ = check;
  return {};
}

Result<SealedKey> PassphraseCustodian::seal_under(const Kek& kek, const SecretBytes& key,
                                                  const KeyContext& context) const {
  if (key.size() != kSealedKeyBytes)
    return fail(ErrorCode::invalid_argument,
                fmt::format("a master key has {} bytes, not {}", kSealedKeyBytes, key.size()));
  PassphraseBlob blob;
  blob.cost = kek.cost;
  blob.salt = kek.salt;
  blob.commitment = kek.commitment;
  blob.nonce = crypto::random_nonce();
  kek.aead->encrypt(blob.nonce, aad_of(blob, context), key.reveal(), blob.ciphertext, blob.tag);
  return SealedKey{id_, blob.render()};
}

Result<SecretBytes> PassphraseCustodian::open_under(const Kek& kek, const PassphraseBlob& blob,
                                                    const KeyContext& context) const {
  SecretBytes key = TRY(SecretBytes::allocate(kSealedKeyBytes));
  const Result<void> opened = kek.aead->decrypt(blob.nonce, aad_of(blob, context), blob.ciphertext,
                                                blob.tag, key.reveal_mutable());
  if (opened) return key;
  return fail(ErrorCode::corrupt,
              fmt::format("the copy sealed by {} was changed, or belongs to another key, domain or "
                          "keystore than key {} of {}",
                          id_.text, context.key.to_text(), context.domain.text()));
}

std::unexpected<Error> PassphraseCustodian::wrong_passphrase() {
  const bool reads_again = settings_.source.is_readable_again();
  if (reads_again) {  // So that a corrected file counts.
    passphrase_.reset();
    keks_.clear();
  }
  return fail(ErrorCode::auth_failed,
              fmt::format("the passphrase of {} is not the one that sealed this key: {}", id_.text,
                          way_to_give(reads_again, id_)));
}

std::unexpected<Error> PassphraseCustodian::refused_by_check() const {
  return fail(ErrorCode::auth_failed,
              fmt::format("this is not the passphrase that {} was set up with: {}. (If nothing is "
                          "sealed by it yet, remove {} and give it again)",
                          id_.text, way_to_give(settings_.source.is_readable_again(), id_),
                          printable(check_path_, 256)));
}

Result<std::unique_ptr<Custodian>> open_passphrase_custodian(const CustodianConfig& config,
                                                             Clock&) {
  PassphraseSettings settings = TRY(parse_passphrase_settings(config.settings));
  const PassphraseSource source = settings.source;
  std::string check_path;
  std::optional<PassphraseBlob> check;
  if (!config.state_dir.empty()) {
    check_path = TRY(prepare_check_path(config));
    check = TRY(read_check(check_path));
  }
  auto custodian = std::make_unique<PassphraseCustodian>(config.id(), std::move(settings),
                                                         std::move(check_path), check);
  if (source.kind() == PassphraseSourceKind::descriptor) TRY(custodian->supply(TRY(source.read())));
  return custodian;
}

}  // namespace keyward::hsm
