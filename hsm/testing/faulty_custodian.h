// FaultyCustodian passes every call on to another custodian, and lets a FaultPlan fail the Nth.
//
//   FakeCustodian fake("fake:a");
//   FaultPlan plan(3, FaultMoment::after_effect, {ErrorCode::timeout, "planned"});
//   FaultyCustodian custodian(fake, plan);
//
// Borrows both. id() never fails and is not counted. As safe from threads as its target.
#pragma once

#include "base/fault_plan.h"
#include "hsm/custodian.h"

namespace keyward::hsm {

class FaultyCustodian final : public Custodian {
 public:
  FaultyCustodian(Custodian& target, FaultPlan& plan) : target_(target), plan_(plan) {}

  const CustodianId& id() const override { return target_.id(); }
  Result<std::string> identity() override;
  bool destroys() const override { return target_.destroys(); }
  Result<GeneratedKey> generate(const KeyContext& context) override;
  Result<SealedKey> seal(const SecretBytes& key, const KeyContext& context) override;
  Result<SecretBytes> unseal(const SealedKey& copy, const KeyContext& context) override;
  Result<void> confirm(const KeyContext& context) override;
  Result<void> destroy(const KeyContext& context, DestroyScope scope) override;
  Result<std::vector<HeldObject>> list() override;
  Result<void> probe() override;

 private:
  Custodian& target_;
  FaultPlan& plan_;
};

}  // namespace keyward::hsm
