// FaultyKeystore passes every call on to another keystore, and lets a FaultPlan fail the Nth.
//
//   FaultPlan plan(3, FaultMoment::after_effect, {ErrorCode::io, "planned"});
//   FaultyKeystore keystore(*sqlite, plan);
//   RekeyJob job(keystore, keyring, custodians, clock);
//
// The calls of its reencryption() and audit_trail() count too. supports_rekey() never fails and is
// not counted. Shipped, documented code; not used by the product itself. Borrows both; as safe from
// threads as its target.
#pragma once

#include "base/fault_plan.h"
#include "store/keystore.h"

namespace keyward::store {

class FaultyReencryption final : public Reencryption {
 public:
  FaultyReencryption(Reencryption& target, FaultPlan& plan) : target_(target), plan_(plan) {}

  Result<RekeyProgress> progress() override;
  Result<BatchReport> run_batch(std::uint64_t generation, std::size_t entries_max,
                                Reencryptor& reencryptor) override;
  Result<void> scan(EntryVisitor& visitor, std::stop_token stop) override;
  Result<void> purge() override;

 private:
  Reencryption& target_;
  FaultPlan& plan_;
};

class FaultyAuditTrail final : public AuditTrail {
 public:
  FaultyAuditTrail(AuditTrail& target, FaultPlan& plan) : target_(target), plan_(plan) {}

  Result<void> append(std::span<const AuditRecord> records) override;
  Result<std::vector<StoredRecord>> read(std::uint64_t after, std::size_t count_max) override;
  Result<StoredRecord> verify() override;
  Result<void> prune(std::uint64_t sequence) override;

 private:
  AuditTrail& target_;
  FaultPlan& plan_;
};

class FaultyKeystore final : public Keystore {
 public:
  FaultyKeystore(Keystore& target, FaultPlan& plan)
      : target_(target),
        plan_(plan),
        reencryption_(target.reencryption(), plan),
        trail_(target.audit_trail(), plan) {}

  Result<SealedEntry> get(const EntryName& name) override;
  Result<std::vector<EntryInfo>> list(const std::optional<EntryName>& after,
                                      std::size_t count_max) override;
  Result<std::uint64_t> entries_total() override;
  Result<void> write(std::span<const EntryChange> changes, std::uint64_t generation,
                     std::span<const AuditRecord> records) override;
  Result<KeyTable> keys() override;
  Result<void> change_keys(std::uint64_t generation, const KeyTable& next,
                           std::span<const AuditRecord> records) override;
  bool supports_rekey() const override { return target_.supports_rekey(); }
  Reencryption& reencryption() override { return reencryption_; }
  AuditTrail& audit_trail() override { return trail_; }

 private:
  Keystore& target_;
  FaultPlan& plan_;
  FaultyReencryption reencryption_;
  FaultyAuditTrail trail_;
};

}  // namespace keyward::store
