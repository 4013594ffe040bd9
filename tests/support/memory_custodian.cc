#include "tests/support/memory_custodian.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace keyward::testing {
namespace {

constexpr std::size_t kKeyBytes = 32;
// A copy is the object's serial number, then the key.
constexpr std::size_t kSerialBytes = sizeof(std::uint64_t);
constexpr std::size_t kBlobBytes = kSerialBytes + kKeyBytes;

Bytes make_blob(std::uint64_t serial, ByteView key) {
  Bytes blob(kBlobBytes);
  std::memcpy(blob.data(), &serial, kSerialBytes);
  std::ranges::copy(key, blob.begin() + kSerialBytes);
  return blob;
}

std::uint64_t serial_in(const SealedKey& copy) {
  std::uint64_t serial = 0;
  std::memcpy(&serial, copy.blob.data(), kSerialBytes);
  return serial;
}

}  // namespace

SecretBytes memory_key(const KeyId& id, std::uint64_t count) {
  SecretBytes key = SecretBytes::allocate(kKeyBytes).value();
  std::ranges::copy(id.bytes, key.reveal_mutable().begin());
  std::memcpy(key.reveal_mutable().data() + id.bytes.size(), &count, sizeof count);
  return key;
}

std::uint64_t count_in(const SealedKey& copy) {
  CHECK(copy.blob.size() == kBlobBytes, "a copy that is not one of a custodian in memory");
  std::uint64_t count = 0;
  std::memcpy(&count, copy.blob.data() + kSerialBytes + sizeof(KeyId), sizeof count);
  return count;
}

bool opens(const MemoryHardware& hardware, const SealedKey& copy, const KeyContext& context) {
  const auto object = hardware.objects.find(context);
  return object != hardware.objects.end() && copy.blob.size() == kBlobBytes &&
         object->second.serial == serial_in(copy);
}

template <typename Call>
auto MemoryCustodian::ask(std::string_view function, Call&& call) -> decltype(call()) {
  return through(gate_, id_.text + "." + std::string(function), [&]() -> decltype(call()) {
    if (hardware_.doomed) hardware_.objects.erase(*std::exchange(hardware_.doomed, std::nullopt));
    return call();
  });
}

Result<std::string> MemoryCustodian::identity() {
  return ask("identity", [&]() -> Result<std::string> { return hardware_.identity; });
}

Result<hsm::GeneratedKey> MemoryCustodian::generate(const KeyContext& context) {
  return ask("generate", [&]() -> Result<hsm::GeneratedKey> {
    SecretBytes key = memory_key(context.key, hardware_.last_serial + 1);
    SealedKey copy = TRY(seal_now(key, context));
    return hsm::GeneratedKey{std::move(key), std::move(copy)};
  });
}

Result<SealedKey> MemoryCustodian::seal(const SecretBytes& key, const KeyContext& context) {
  return ask("seal", [&] { return seal_now(key, context); });
}

Result<SealedKey> MemoryCustodian::seal_now(const SecretBytes& key, const KeyContext& context) {
  if (hardware_.objects.contains(context))
    return fail(ErrorCode::already_exists, "something is held for this key");
  const std::uint64_t serial = ++hardware_.last_serial;
  hardware_.objects[context].serial = serial;
  const SecretBytes other = memory_key(context.key, 0);
  return SealedKey{id_, make_blob(serial, flaws_.seals_another ? other.reveal() : key.reveal())};
}

Result<SecretBytes> MemoryCustodian::unseal(const SealedKey& copy, const KeyContext& context) {
  return ask("unseal", [&]() -> Result<SecretBytes> {
    if (!opens(hardware_, copy, context))
      return fail(ErrorCode::not_found, "nothing is held that opens this copy");
    if (flaws_.loses_objects) hardware_.objects.erase(context);
    SecretBytes key = TRY(SecretBytes::allocate(kKeyBytes));
    std::ranges::copy(ByteView(copy.blob).subspan(kSerialBytes), key.reveal_mutable().begin());
    return key;
  });
}

Result<void> MemoryCustodian::confirm(const KeyContext& context) {
  return ask("confirm", [&]() -> Result<void> {
    if (flaws_.confirms_nothing) return {};
    const auto object = hardware_.objects.find(context);
    if (object == hardware_.objects.end())
      return fail(ErrorCode::not_found, "nothing is held for this key");
    object->second.confirmed = true;
    return {};
  });
}

Result<void> MemoryCustodian::destroy(const KeyContext& context, hsm::DestroyScope scope) {
  return ask("destroy", [&]() -> Result<void> {
    const auto object = hardware_.objects.find(context);
    if (object == hardware_.objects.end()) return {};
    if (scope == hsm::DestroyScope::unconfirmed && object->second.confirmed)
      return fail(ErrorCode::conflict, "the key is in use, and was not destroyed");
    if (scope == hsm::DestroyScope::everything && on_destroy) on_destroy(context);
    if (flaws_.keeps_objects) return {};
    if (flaws_.destroys_late)
      hardware_.doomed = context;
    else
      hardware_.objects.erase(object);
    return {};
  });
}

Result<std::vector<hsm::HeldObject>> MemoryCustodian::list() {
  return ask("list", [&]() -> Result<std::vector<hsm::HeldObject>> {
    std::vector<hsm::HeldObject> held;
    for (const auto& [context, object] : hardware_.objects)
      held.push_back({context, object.confirmed, "an object in memory"});
    return held;
  });
}

Result<void> MemoryCustodian::probe() {
  return ask("probe", []() -> Result<void> { return {}; });
}

}  // namespace keyward::testing
