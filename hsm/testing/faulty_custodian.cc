#include "hsm/testing/faulty_custodian.h"

namespace keyward::hsm {

Result<std::string> FaultyCustodian::identity() {
  return plan_.apply([&] { return target_.identity(); });
}

Result<GeneratedKey> FaultyCustodian::generate(const KeyContext& context) {
  return plan_.apply([&] { return target_.generate(context); });
}

Result<SealedKey> FaultyCustodian::seal(const SecretBytes& key, const KeyContext& context) {
  return plan_.apply([&] { return target_.seal(key, context); });
}

Result<SecretBytes> FaultyCustodian::unseal(const SealedKey& copy, const KeyContext& context) {
  return plan_.apply([&] { return target_.unseal(copy, context); });
}

Result<void> FaultyCustodian::confirm(const KeyContext& context) {
  return plan_.apply([&] { return target_.confirm(context); });
}

Result<void> FaultyCustodian::destroy(const KeyContext& context, DestroyScope scope) {
  return plan_.apply([&] { return target_.destroy(context, scope); });
}

Result<std::vector<HeldObject>> FaultyCustodian::list() {
  return plan_.apply([&] { return target_.list(); });
}

Result<void> FaultyCustodian::probe() {
  return plan_.apply([&] { return target_.probe(); });
}

}  // namespace keyward::hsm
