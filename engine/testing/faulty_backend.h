// FaultyBackend passes every call on to another back end, and lets a FaultPlan fail the Nth: those
// of its control store and of every keystore that it opens count too.
//
//   FaultPlan plan(3, FaultMoment::after_effect, {ErrorCode::io, "planned"});
//   FaultyBackend backend(*sqlite, plan);
//   Keyring keyring({backend, custodians, engine, events, clock}, {});
//
// Shipped, documented code; not used by the product itself. Borrows both; as safe from threads as
// its target.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/fault_plan.h"
#include "store/control_store.h"
#include "store/keystore.h"

namespace keyward::engine {

class FaultyControlStore final : public store::ControlStore {
 public:
  FaultyControlStore(store::ControlStore& target, FaultPlan& plan) : target_(target), plan_(plan) {}

  Result<store::Document> load(std::string_view name) override;
  Result<std::vector<store::Document>> list(std::string_view prefix, std::string_view after,
                                            std::size_t count_max) override;
  Result<std::uint64_t> save(const store::Document& document,
                             std::span<const store::AuditRecord> records) override;
  Result<void> remove(const store::Document& document,
                      std::span<const store::AuditRecord> records) override;
  store::AuditTrail& audit_trail() override { return target_.audit_trail(); }

 private:
  store::ControlStore& target_;
  FaultPlan& plan_;
};

class FaultyBackend final : public store::Backend {
 public:
  FaultyBackend(store::Backend& target, FaultPlan& plan)
      : target_(target), plan_(plan), control_(target.control(), plan) {}

  store::ControlStore& control() override { return control_; }
  Result<std::vector<Domain>> domains() override;
  Result<std::unique_ptr<store::Keystore>> open(const Domain& domain) override;
  Result<std::unique_ptr<store::Keystore>> create(
      const store::KeyTable& first, std::span<const store::AuditRecord> records) override;
  Result<UpgradeState> upgrade_state() override { return target_.upgrade_state(); }
  Result<void> commit_upgrade(std::span<const store::AuditRecord> records) override {
    return target_.commit_upgrade(records);
  }
  Result<void> remove(const Domain& domain, std::span<const store::AuditRecord> records) override;

 private:
  std::unique_ptr<store::Keystore> wrap(std::unique_ptr<store::Keystore> keystore);

  store::Backend& target_;
  FaultPlan& plan_;
  FaultyControlStore control_;
};

}  // namespace keyward::engine
