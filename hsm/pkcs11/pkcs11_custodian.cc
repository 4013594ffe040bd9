#include "hsm/pkcs11/pkcs11_custodian.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/text.h"
#include "crypto/kdf.h"
#include "hsm/pkcs11/cryptoki_error.h"
#include "hsm/pkcs11/helper_link.h"
#include "hsm/pkcs11/object_label.h"
#include "hsm/pkcs11/wrapped_blob.h"

namespace keyward::hsm {
namespace {

using pkcs11::HelperMessage;
using pkcs11::HelperOp;
using pkcs11::Mechanism;
using pkcs11::ObjectId;
using pkcs11::ObjectLabel;
using pkcs11::WrappedBlob;

constexpr std::size_t kKeyBytes = 32;

void put_data(HelperMessage& message, ByteView data) {
  std::ranges::copy(data, message.data.begin() + message.data_size);
  message.data_size += static_cast<std::uint32_t>(data.size());
}

void put_head(HelperMessage& message, const WrappedBlob& blob) {
  const Bytes head = blob.render_head();
  message.id = blob.id;
  message.mechanism = blob.mechanism;
  if (blob.mechanism != Mechanism::aes_gcm) return;
  std::ranges::copy(blob.nonce, message.iv.begin());
  message.iv_size = static_cast<std::uint32_t>(blob.nonce.size());
  std::ranges::copy(head, message.aad.begin());
  message.aad_size = static_cast<std::uint32_t>(head.size());
}

bool has_key_id(const ObjectId& id, const KeyId& key) {
  return std::ranges::equal(key.bytes, ByteView(id).first(key.bytes.size()));
}

ObjectId new_object_id(const KeyId& key) {
  ObjectId id{};
  std::ranges::copy(key.bytes, id.begin());
  crypto::random_fill(MutableByteView(id).subspan(key.bytes.size()));
  return id;
}

bool is_confirmed(std::string_view label) {
  const auto parsed = ObjectLabel::parse(label);
  return parsed && parsed->confirmed;
}

std::string describe(const ObjectId& id, std::string_view label) {
  return fmt::format("object \"{}\", CKA_ID {}", printable(label, 200), to_hex(id));
}

// One of a token's texts, so that no value can be taken for the next field.
std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ';' || c == '=' || c == '%' || static_cast<unsigned char>(c) < 0x20)
      escaped += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    else
      escaped += c;
  }
  return escaped;
}

Result<void> sync_directory(const std::string& path) {
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int synced = directory < 0 ? -1 : ::syncfs(directory);
  const int code = errno;
  if (directory >= 0) ::close(directory);
  if (synced == 0) return {};
  return fail(
      ErrorCode::io,
      fmt::format("syncfs: the token's files in {} cannot be synced: {}. Correct sync_dirs, "
                  "or look at the disk",
                  printable(path, 512), std::generic_category().message(code)),
      "syncfs", static_cast<std::uint64_t>(code));
}

}  // namespace

Pkcs11Custodian::Pkcs11Custodian(CustodianId id, std::unique_ptr<pkcs11::HelperLink> link)
    : id_(std::move(id)), link_(std::move(link)) {}

Pkcs11Custodian::~Pkcs11Custodian() = default;

Result<std::unique_ptr<Pkcs11Custodian>> Pkcs11Custodian::open(const CustodianConfig& config,
                                                               Clock& clock) {
  auto settings = TRY(pkcs11::parse_pkcs11_settings(config.settings));
  auto link = TRY(pkcs11::HelperLink::make(std::move(settings), clock));
  return std::unique_ptr<Pkcs11Custodian>(new Pkcs11Custodian(config.id(), std::move(link)));
}

Result<std::string> Pkcs11Custodian::identity() {
  const std::scoped_lock lock(mutex_);
  const pkcs11::TokenDescription token = TRY(link_->token());
  return fmt::format("serial={};label={};manufacturer={};model={}", escape(token.serial),
                     escape(token.label), escape(token.manufacturer), escape(token.model));
}

Result<GeneratedKey> Pkcs11Custodian::generate(const KeyContext& context) {
  const std::scoped_lock lock(mutex_);
  TRY(check_nothing_held(context));
  SecretBytes key = TRY(random_key(context));
  SealedKey copy = TRY(seal_in_new_object(key, context));
  return GeneratedKey{std::move(key), std::move(copy)};
}

Result<SealedKey> Pkcs11Custodian::seal(const SecretBytes& key, const KeyContext& context) {
  if (key.size() != kKeyBytes)
    return fail(ErrorCode::invalid_argument, "a master key has 32 bytes");
  const std::scoped_lock lock(mutex_);
  TRY(check_nothing_held(context));
  return seal_in_new_object(key, context);
}

Result<SecretBytes> Pkcs11Custodian::unseal(const SealedKey& copy, const KeyContext& context) {
  const WrappedBlob blob = TRY(WrappedBlob::parse(copy.blob));
  if (blob.context_digest != pkcs11::digest_context(context) || !has_key_id(blob.id, context.key))
    return fail(
        ErrorCode::corrupt,
        fmt::format("the sealed copy belongs to another key, domain or store than {} of {}; "
                    "somebody moved it",
                    context.key.to_text(), context.domain.text()));
  const std::scoped_lock lock(mutex_);
  return unwrap(blob);
}

Result<void> Pkcs11Custodian::confirm(const KeyContext& context) {
  const std::scoped_lock lock(mutex_);
  std::vector<Object> found = TRY(find(context));
  if (found.empty()) found = TRY(find_in_fresh_process(context));
  if (found.empty())
    return fail(ErrorCode::not_found, fmt::format("the token holds nothing for key {} of {}",
                                                  context.key.to_text(), context.domain.text()));
  const std::string label = ObjectLabel{context, true}.to_text();
  for (const Object& object : found) {
    if (object.label == label) continue;
    HelperMessage& request = link_->begin(HelperOp::confirm);
    request.id = object.id;
    put_data(request, as_bytes(label));
    TRY(link_->call());
  }
  return sync_token();
}

Result<void> Pkcs11Custodian::destroy(const KeyContext& context, DestroyScope scope) {
  const std::scoped_lock lock(mutex_);
  const std::vector<Object> found = TRY(find(context));
  for (const Object& object : found) {
    if (scope == DestroyScope::unconfirmed && is_confirmed(object.label))
      return fail(ErrorCode::conflict,
                  fmt::format("the token says that key {} of {} is in use: {}. The state directory "
                              "that asks is older than the token; nothing was destroyed",
                              context.key.to_text(), context.domain.text(),
                              describe(object.id, object.label)));
  }
  for (const Object& object : found) TRY(destroy_object(object));
  TRY(sync_token());
  const std::vector<Object> left = TRY(find_in_fresh_process(context));
  if (left.empty()) return {};
  if (found.empty()) {  // Seen by the fresh process only, so it was not looked at above.
    return fail(
        ErrorCode::busy,
        fmt::format("the token showed nothing for key {} of {} at first and then {}; another "
                    "program changes it. Try again",
                    context.key.to_text(), context.domain.text(),
                    describe(left.front().id, left.front().label)));
  }
  return fail(ErrorCode::protocol,
              fmt::format("C_DestroyObject: the token says that the key is destroyed, and still "
                          "shows {}. Remove it with the token's own tool",
                          describe(left.front().id, left.front().label)),
              "C_DestroyObject");
}

Result<std::vector<HeldObject>> Pkcs11Custodian::list() {
  const std::scoped_lock lock(mutex_);
  std::vector<HeldObject> held;
  for (const Object& object : TRY(list_objects())) {
    const auto label = ObjectLabel::parse(object.label);
    if (!label || !has_key_id(object.id, label->context.key)) continue;
    held.push_back({label->context, label->confirmed, describe(object.id, object.label)});
  }
  return held;
}

Result<void> Pkcs11Custodian::probe() {
  const std::scoped_lock lock(mutex_);
  link_->forget_back_off();
  const Mechanism mechanism = TRY(link_->mechanism());
  link_->begin(HelperOp::self_test).mechanism = mechanism;
  return link_->call();
}

Result<std::vector<Pkcs11Custodian::Object>> Pkcs11Custodian::list_objects() {
  std::vector<Object> objects;
  std::size_t count = 0;
  do {
    link_->begin(HelperOp::list).first = static_cast<std::uint32_t>(objects.size());
    TRY(link_->call());
    const HelperMessage& reply = link_->reply();
    count = std::min(reply.data_size / sizeof(pkcs11::ListedObject), pkcs11::kListedPerMessage);
    for (std::size_t i = 0; i < count; ++i) {
      pkcs11::ListedObject listed;
      std::memcpy(&listed, reply.data.data() + i * sizeof(listed), sizeof(listed));
      objects.push_back(
          {listed.id, {listed.label.data(), ::strnlen(listed.label.data(), listed.label.size())}});
    }
  } while (count == pkcs11::kListedPerMessage);
  return objects;
}

Result<std::vector<Pkcs11Custodian::Object>> Pkcs11Custodian::find(const KeyContext& context) {
  std::vector<Object> found;
  for (Object& object : TRY(list_objects())) {
    if (!has_key_id(object.id, context.key)) continue;
    const auto label = ObjectLabel::parse(object.label);
    if (!label || label->context != context)
      return fail(
          ErrorCode::conflict,
          fmt::format("the token holds an object with the id of key {} of {} that belongs to "
                      "something else: {}. Keyward does not touch it; see to it with the "
                      "token's own tool",
                      context.key.to_text(), context.domain.text(),
                      describe(object.id, object.label)));
    found.push_back(std::move(object));
  }
  return found;
}

Result<std::vector<Pkcs11Custodian::Object>> Pkcs11Custodian::find_in_fresh_process(
    const KeyContext& context) {
  link_->end_helper();
  return find(context);
}

Result<void> Pkcs11Custodian::check_nothing_held(const KeyContext& context) {
  const std::vector<Object> found = TRY(find(context));
  if (found.empty()) return {};
  return fail(ErrorCode::already_exists,
              fmt::format("the token already holds {}. What an earlier attempt left is destroyed "
                          "before the key is made again",
                          describe(found.front().id, found.front().label)));
}

// The token's generator mixed with the system's, so that neither alone needs to be trusted.
Result<SecretBytes> Pkcs11Custodian::random_key(const KeyContext& context) {
  link_->begin(HelperOp::random).data_size = kKeyBytes;
  TRY(link_->call());
  SecretBytes input = TRY(SecretBytes::random(2 * kKeyBytes));
  std::ranges::copy_n(link_->reply().data.begin(), kKeyBytes, input.reveal_mutable().begin());
  link_->wipe();
  const crypto::Sha256Digest info = pkcs11::digest_context(context);
  return crypto::hkdf_sha256(input.reveal(), as_bytes("keyward pkcs11 master key v1"), info,
                             kKeyBytes);
}

Result<SealedKey> Pkcs11Custodian::seal_in_new_object(const SecretBytes& key,
                                                      const KeyContext& context) {
  WrappedBlob blob;
  blob.mechanism = TRY(link_->mechanism());
  blob.id = new_object_id(context.key);
  blob.context_digest = pkcs11::digest_context(context);
  const std::string label = ObjectLabel{context, false}.to_text();
  TRY(make_object(blob.id, label));
  Result<void> sealed = wrap(key, blob);
  if (sealed) sealed = sync_token();
  if (!sealed) {
    // Nothing is lost when this fails too: the caller destroys what it announced.
    static_cast<void>(destroy_object({blob.id, label}));
    return std::unexpected(sealed.error());
  }
  return SealedKey{id_, blob.render()};
}

Result<void> Pkcs11Custodian::make_object(const ObjectId& id, const std::string& label) {
  const Mechanism mechanism = TRY(link_->mechanism());
  HelperMessage& request = link_->begin(HelperOp::generate);
  request.id = id;
  request.mechanism = mechanism;
  put_data(request, as_bytes(label));
  return link_->call();
}

Result<void> Pkcs11Custodian::wrap(const SecretBytes& key, WrappedBlob& blob) {
  crypto::random_fill(blob.nonce);
  HelperMessage& request = link_->begin(HelperOp::wrap);
  put_head(request, blob);
  put_data(request, key.reveal());
  if (blob.mechanism == Mechanism::key_wrap) put_data(request, blob.context_digest);
  TRY(link_->call());
  const HelperMessage& reply = link_->reply();
  if (reply.data_size != blob.ciphertext_bytes() ||
      (blob.mechanism == Mechanism::aes_gcm && reply.iv_size != blob.nonce.size()))
    return fail(ErrorCode::protocol,
                fmt::format("C_Encrypt: the token's sealed copy has {} bytes instead of {}; report "
                            "it to the token's vendor",
                            reply.data_size, blob.ciphertext_bytes()),
                "C_Encrypt");
  blob.ciphertext.assign(reply.data.begin(), reply.data.begin() + reply.data_size);
  std::ranges::copy_n(reply.iv.begin(), blob.nonce.size(), blob.nonce.begin());
  link_->wipe();
  return {};
}

Result<SecretBytes> Pkcs11Custodian::unwrap(const WrappedBlob& blob) {
  HelperMessage& request = link_->begin(HelperOp::unwrap);
  put_head(request, blob);
  put_data(request, blob.ciphertext);
  const Result<void> opened = link_->call();
  if (!opened) return std::unexpected(judge_refusal(opened.error()));
  const HelperMessage& reply = link_->reply();
  const ByteView plain =
      ByteView(reply.data).first(std::min<std::size_t>(reply.data_size, reply.data.size()));
  const bool has_digest = blob.mechanism == Mechanism::key_wrap;
  const std::size_t size = kKeyBytes + (has_digest ? blob.context_digest.size() : 0);
  if (plain.size() != size ||
      (has_digest && !constant_time_equal(plain.subspan(kKeyBytes), blob.context_digest))) {
    link_->wipe();
    return fail(ErrorCode::corrupt, "the sealed copy opens to something else than this key");
  }
  Result<SecretBytes> key = SecretBytes::allocate(kKeyBytes);
  if (key) std::ranges::copy(plain.first(kKeyBytes), key->reveal_mutable().begin());
  link_->wipe();
  return key;
}

// Modules answer GENERAL_ERROR to tampered bytes and to a broken device alike. A device that seals
// and opens a throw-away key is not broken.
Error Pkcs11Custodian::judge_refusal(Error error) {
  if (!pkcs11::is_ambiguous(error.native)) return error;
  const Result<Mechanism> mechanism = link_->mechanism();
  if (!mechanism) return mechanism.error();
  link_->begin(HelperOp::self_test).mechanism = *mechanism;
  if (const Result<void> works = link_->call(); !works) return error;
  return {ErrorCode::corrupt,
          fmt::format("{}: {}: the token works and does not open this sealed copy: the copy was "
                      "tampered with. Restore it from a backup, or open the key with another "
                      "custodian",
                      error.origin, pkcs11::cryptoki_name(error.native)),
          error.origin, error.native};
}

Result<void> Pkcs11Custodian::destroy_object(const Object& object) {
  HelperMessage& request = link_->begin(HelperOp::destroy);
  request.id = object.id;
  put_data(request, as_bytes(object.label));
  return link_->call();
}

// SoftHSM writes its objects without a sync.
Result<void> Pkcs11Custodian::sync_token() {
  for (const std::string& directory : link_->settings().sync_dirs) TRY(sync_directory(directory));
  return {};
}

Result<std::unique_ptr<Custodian>> open_pkcs11_custodian(const CustodianConfig& config,
                                                         Clock& clock) {
  return TRY(Pkcs11Custodian::open(config, clock));
}

}  // namespace keyward::hsm
