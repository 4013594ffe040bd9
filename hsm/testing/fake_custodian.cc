#include "hsm/testing/fake_custodian.h"

#include <fmt/format.h>

#include <algorithm>

#include "crypto/nonces.h"
#include "crypto/openssl_engine.h"
#include "hsm/context_bytes.h"

namespace keyward::hsm {
namespace {

constexpr std::byte kFormat{1};
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kNonceAt = 1;
constexpr std::size_t kTextAt = kNonceAt + sizeof(crypto::AeadNonce);
constexpr std::size_t kTagAt = kTextAt + kKeyBytes;
constexpr std::size_t kBlobBytes = kTagAt + sizeof(crypto::AeadTag);

Result<std::unique_ptr<crypto::Aead>> make_object_key() {
  return crypto::OpensslEngine().open(TRY(SecretBytes::random(crypto::kAeadKeyBytes)));
}

Bytes seal_under(const crypto::Aead& aead, const SecretBytes& key, const KeyContext& context) {
  Bytes blob(kBlobBytes);
  const crypto::AeadNonce nonce = crypto::random_nonce();
  crypto::AeadTag tag{};
  aead.encrypt(nonce, context_bytes(context), key.reveal(),
               MutableByteView(blob).subspan(kTextAt, kKeyBytes), tag);
  blob[0] = kFormat;
  std::ranges::copy(nonce, blob.begin() + kNonceAt);
  std::ranges::copy(tag, blob.begin() + kTagAt);
  return blob;
}

Result<SecretBytes> open_under(const crypto::Aead& aead, const Bytes& blob,
                               const KeyContext& context) {
  if (blob.size() != kBlobBytes || blob[0] != kFormat)
    return fail(ErrorCode::corrupt, "the sealed copy is not one of a fake custodian");
  crypto::AeadNonce nonce;
  crypto::AeadTag tag;
  std::copy_n(blob.begin() + kNonceAt, nonce.size(), nonce.begin());
  std::copy_n(blob.begin() + kTagAt, tag.size(), tag.begin());
  SecretBytes key = TRY(SecretBytes::allocate(kKeyBytes));
  TRY(aead.decrypt(nonce, context_bytes(context), ByteView(blob).subspan(kTextAt, kKeyBytes), tag,
                   key.reveal_mutable()));
  return key;
}

std::unexpected<Error> nothing_held(const KeyContext& context) {
  return fail(ErrorCode::not_found, fmt::format("the fake hardware holds nothing for key {} of {}",
                                                context.key.to_text(), context.domain.text()));
}

}  // namespace

void FakeHardware::set_down(Error error) {
  const std::lock_guard lock(mutex_);
  down_ = std::move(error);
}

void FakeHardware::set_up() {
  const std::lock_guard lock(mutex_);
  down_.reset();
}

void FakeHardware::set_identity(std::string identity) {
  const std::lock_guard lock(mutex_);
  identity_ = std::move(identity);
}

void FakeHardware::lose(const KeyContext& context) {
  const std::lock_guard lock(mutex_);
  objects_.erase(context);
}

std::shared_ptr<FakeHardware> FakeHardware::copy() const {
  const std::lock_guard lock(mutex_);
  auto made = std::make_shared<FakeHardware>(identity_);
  made->down_ = down_;
  made->objects_ = objects_;
  return made;
}

std::vector<HeldObject> FakeHardware::objects() const {
  const std::lock_guard lock(mutex_);
  std::vector<HeldObject> held;
  for (const auto& [context, object] : objects_)
    held.push_back(
        {context, object.confirmed,
         fmt::format("fake object {} {}", context.domain.text(), context.key.to_text())});
  return held;
}

std::size_t FakeHardware::object_count() const {
  const std::lock_guard lock(mutex_);
  return objects_.size();
}

std::size_t FakeHardware::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

Result<void> FakeCustodian::reach() {
  ++hardware_->calls_;
  if (hardware_->down_) return std::unexpected(*hardware_->down_);
  if (!pinned_) pinned_ = hardware_->identity_;
  if (*pinned_ != hardware_->identity_)
    return fail(ErrorCode::conflict, fmt::format("{}: \"{}\" was enrolled, and \"{}\" is there",
                                                 id_.text, *pinned_, hardware_->identity_));
  return {};
}

Result<std::string> FakeCustodian::identity() {
  const std::lock_guard lock(hardware_->mutex_);
  if (!pinned_) TRY(reach());
  return *pinned_;
}

Result<GeneratedKey> FakeCustodian::generate(const KeyContext& context) {
  SecretBytes key = TRY(SecretBytes::random(kKeyBytes));
  SealedKey copy = TRY(seal(key, context));
  return GeneratedKey{std::move(key), std::move(copy)};
}

Result<SealedKey> FakeCustodian::seal(const SecretBytes& key, const KeyContext& context) {
  const std::lock_guard lock(hardware_->mutex_);
  TRY(reach());
  if (key.size() != kKeyBytes)
    return fail(ErrorCode::invalid_argument, "a master key has 32 bytes");
  if (hardware_->objects_.contains(context))
    return fail(ErrorCode::already_exists, fmt::format("{} already holds something for key {}",
                                                       id_.text, context.key.to_text()));
  FakeHardware::Object object{TRY(make_object_key())};
  SealedKey copy{id_, seal_under(*object.aead, key, context)};
  hardware_->objects_.emplace(context, std::move(object));
  return copy;
}

Result<SecretBytes> FakeCustodian::unseal(const SealedKey& copy, const KeyContext& context) {
  const std::lock_guard lock(hardware_->mutex_);
  TRY(reach());
  const auto object = hardware_->objects_.find(context);
  if (object == hardware_->objects_.end()) return nothing_held(context);
  return open_under(*object->second.aead, copy.blob, context);
}

Result<void> FakeCustodian::confirm(const KeyContext& context) {
  const std::lock_guard lock(hardware_->mutex_);
  TRY(reach());
  const auto object = hardware_->objects_.find(context);
  if (object == hardware_->objects_.end()) return nothing_held(context);
  object->second.confirmed = true;
  return {};
}

Result<void> FakeCustodian::destroy(const KeyContext& context, DestroyScope scope) {
  const std::lock_guard lock(hardware_->mutex_);
  TRY(reach());
  const auto object = hardware_->objects_.find(context);
  if (object == hardware_->objects_.end()) return {};
  if (scope == DestroyScope::unconfirmed && object->second.confirmed)
    return fail(ErrorCode::conflict,
                fmt::format("key {} is in use, and was not destroyed", context.key.to_text()));
  hardware_->objects_.erase(object);
  return {};
}

Result<std::vector<HeldObject>> FakeCustodian::list() {
  {
    const std::lock_guard lock(hardware_->mutex_);
    TRY(reach());
  }
  return hardware_->objects();
}

Result<void> FakeCustodian::probe() {
  const std::lock_guard lock(hardware_->mutex_);
  TRY(reach());
  const KeyContext context{{}, TRY(Domain::parse("PROBE")), KeyId::random()};
  const std::unique_ptr<crypto::Aead> aead = TRY(make_object_key());
  const SecretBytes key = TRY(SecretBytes::random(kKeyBytes));
  const SecretBytes again = TRY(open_under(*aead, seal_under(*aead, key, context), context));
  if (!constant_time_equal(key.reveal(), again.reveal()))
    return fail(ErrorCode::protocol, "the fake hardware gave another key back");
  return {};
}

}  // namespace keyward::hsm
