#include "store/testing/faulty_keystore.h"

#include <utility>

namespace keyward::store {

Result<RekeyProgress> FaultyReencryption::progress() {
  return plan_.apply([&] { return target_.progress(); });
}

Result<BatchReport> FaultyReencryption::run_batch(std::uint64_t generation, std::size_t entries_max,
                                                  Reencryptor& reencryptor) {
  return plan_.apply([&] { return target_.run_batch(generation, entries_max, reencryptor); });
}

Result<void> FaultyReencryption::scan(EntryVisitor& visitor, std::stop_token stop) {
  return plan_.apply([&] { return target_.scan(visitor, stop); });
}

Result<void> FaultyReencryption::purge() {
  return plan_.apply([&] { return target_.purge(); });
}

Result<void> FaultyAuditTrail::append(std::span<const AuditRecord> records) {
  return plan_.apply([&] { return target_.append(records); });
}

Result<std::vector<StoredRecord>> FaultyAuditTrail::read(std::uint64_t after,
                                                         std::size_t count_max) {
  return plan_.apply([&] { return target_.read(after, count_max); });
}

Result<StoredRecord> FaultyAuditTrail::verify() {
  return plan_.apply([&] { return target_.verify(); });
}

Result<void> FaultyAuditTrail::prune(std::uint64_t sequence) {
  return plan_.apply([&] { return target_.prune(sequence); });
}

Result<SealedEntry> FaultyKeystore::get(const EntryName& name) {
  return plan_.apply([&] { return target_.get(name); });
}

Result<std::vector<EntryInfo>> FaultyKeystore::list(const std::optional<EntryName>& after,
                                                    std::size_t count_max) {
  return plan_.apply([&] { return target_.list(after, count_max); });
}

Result<std::uint64_t> FaultyKeystore::entries_total() {
  return plan_.apply([&] { return target_.entries_total(); });
}

Result<void> FaultyKeystore::write(std::span<const EntryChange> changes, std::uint64_t generation,
                                   std::span<const AuditRecord> records) {
  return plan_.apply([&] { return target_.write(changes, generation, records); });
}

Result<KeyTable> FaultyKeystore::keys() {
  return plan_.apply([&] { return target_.keys(); });
}

Result<void> FaultyKeystore::change_keys(std::uint64_t generation, const KeyTable& next,
                                         std::span<const AuditRecord> records) {
  return plan_.apply([&] { return target_.change_keys(generation, next, records); });
}

}  // namespace keyward::store
