#include "engine/testing/faulty_backend.h"

#include <utility>

#include "store/testing/faulty_keystore.h"

namespace keyward::engine {
namespace {

// A FaultyKeystore borrows its target; this one owns it.
class OwningKeystore final : public store::Keystore {
 public:
  OwningKeystore(std::unique_ptr<store::Keystore> target, FaultPlan& plan)
      : target_(std::move(target)), faulty_(*target_, plan) {}

  Result<store::SealedEntry> get(const EntryName& name) override { return faulty_.get(name); }
  Result<std::vector<store::EntryInfo>> list(const std::optional<EntryName>& after,
                                             std::size_t count_max) override {
    return faulty_.list(after, count_max);
  }
  Result<std::uint64_t> entries_total() override { return faulty_.entries_total(); }
  Result<void> write(std::span<const store::EntryChange> changes, std::uint64_t generation,
                     std::span<const store::AuditRecord> records) override {
    return faulty_.write(changes, generation, records);
  }
  Result<store::KeyTable> keys() override { return faulty_.keys(); }
  Result<void> change_keys(std::uint64_t generation, const store::KeyTable& next,
                           std::span<const store::AuditRecord> records) override {
    return faulty_.change_keys(generation, next, records);
  }
  bool supports_rekey() const override { return faulty_.supports_rekey(); }
  store::Reencryption& reencryption() override { return faulty_.reencryption(); }
  store::AuditTrail& audit_trail() override { return faulty_.audit_trail(); }

 private:
  std::unique_ptr<store::Keystore> target_;
  store::FaultyKeystore faulty_;
};

}  // namespace

Result<store::Document> FaultyControlStore::load(std::string_view name) {
  return plan_.apply([&] { return target_.load(name); });
}

Result<std::vector<store::Document>> FaultyControlStore::list(std::string_view prefix,
                                                              std::string_view after,
                                                              std::size_t count_max) {
  return plan_.apply([&] { return target_.list(prefix, after, count_max); });
}

Result<std::uint64_t> FaultyControlStore::save(const store::Document& document,
                                               std::span<const store::AuditRecord> records) {
  return plan_.apply([&] { return target_.save(document, records); });
}

Result<void> FaultyControlStore::remove(const store::Document& document,
                                        std::span<const store::AuditRecord> records) {
  return plan_.apply([&] { return target_.remove(document, records); });
}

std::unique_ptr<store::Keystore> FaultyBackend::wrap(std::unique_ptr<store::Keystore> keystore) {
  return std::make_unique<OwningKeystore>(std::move(keystore), plan_);
}

Result<std::vector<Domain>> FaultyBackend::domains() {
  return plan_.apply([&] { return target_.domains(); });
}

Result<std::unique_ptr<store::Keystore>> FaultyBackend::open(const Domain& domain) {
  return wrap(TRY(plan_.apply([&] { return target_.open(domain); })));
}

Result<std::unique_ptr<store::Keystore>> FaultyBackend::create(
    const store::KeyTable& first, std::span<const store::AuditRecord> records) {
  return wrap(TRY(plan_.apply([&] { return target_.create(first, records); })));
}

Result<void> FaultyBackend::remove(const Domain& domain,
                                   std::span<const store::AuditRecord> records) {
  return plan_.apply([&] { return target_.remove(domain, records); });
}

}  // namespace keyward::engine
