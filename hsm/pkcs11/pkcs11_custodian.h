// The custodian "pkcs11": master keys sealed by a token, each under a non-extractable AES-256
// object of its own.
//
//   auto custodian = TRY(open_pkcs11_custodian({"pkcs11", "hsm1", settings, state_dir}, clock));
//   GeneratedKey made = TRY(custodian->generate(context));
//
// The copy opens with that object only, so destroying it makes every copy useless, old ones too.
// The object is found by CKA_ID (key id, then a nonce of the attempt) and tells by its label what
// it belongs to, so destroy() needs no copy. Settings: see pkcs11_settings.h.
//
// The vendor's module runs in the helper process keyward-p11: its crash or hang is an error of one
// call. A crash is repeated once in a fresh process; a hang is `timeout`. Safe from any thread: one
// call at a time, each bounded by the limits in the settings. That a key is gone is believed only
// of a fresh process, since modules go on showing what they remember of a token that was removed.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "hsm/custodian.h"
#include "hsm/pkcs11/helper_protocol.h"
#include "hsm/pkcs11/object_label.h"

namespace keyward::hsm {

namespace pkcs11 {
class HelperLink;
struct WrappedBlob;
}  // namespace pkcs11

class Pkcs11Custodian final : public Custodian {
 public:
  // `invalid_argument` names the setting that is wrong. Does not touch the token.
  static Result<std::unique_ptr<Pkcs11Custodian>> open(const CustodianConfig& config, Clock& clock);
  ~Pkcs11Custodian() override;

  const CustodianId& id() const override { return id_; }
  // "serial=…;label=…;manufacturer=…;model=…"
  Result<std::string> identity() override;
  bool destroys() const override { return true; }
  Result<GeneratedKey> generate(const KeyContext& context) override;
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, DestroyScope scope) override;
  Result<std::vector<HeldObject>> list() override;
  Result<void> probe() override;

 private:
  // A secret key of the token whose CKA_ID has our size.
  struct Object {
    pkcs11::ObjectId id;
    std::string label;
  };

  Pkcs11Custodian(CustodianId id, std::unique_ptr<pkcs11::HelperLink> link);

  Result<std::vector<Object>> list_objects();
  // Those of `context`. `conflict` when an object has the key's id and belongs to something else.
  Result<std::vector<Object>> find(const KeyContext& context);
  Result<std::vector<Object>> find_in_fresh_process(const KeyContext& context);
  Result<void> check_nothing_held(const KeyContext& context);
  Result<SecretBytes> random_key(const KeyContext& context);
  Result<SealedKey> seal_in_new_object(const SecretBytes& key, const KeyContext& context);
  Result<void> make_object(const pkcs11::ObjectId& id, const std::string& label);
  Result<void> wrap(const SecretBytes& key, pkcs11::WrappedBlob& blob);
  Result<SecretBytes> unwrap(const pkcs11::WrappedBlob& blob);
  Error judge_refusal(Error error);
  Result<void> destroy_object(const Object& object);
  Result<void> sync_token();

  CustodianId id_;
  std::mutex mutex_;
  std::unique_ptr<pkcs11::HelperLink> link_;
};

// As Pkcs11Custodian::open. `clock` paces reconnecting and outlives the custodian; time limits of
// calls are real time always, since hardware does not follow a virtual clock.
Result<std::unique_ptr<Custodian>> open_pkcs11_custodian(const CustodianConfig& config,
                                                         Clock& clock);

}  // namespace keyward::hsm
