// The ControlStore keeps the node's settings as small named documents; Backend makes and finds all
// stores.
//
//   Document schedule = TRY(control.load("schedule/cluster"));
//   schedule.json = to_json(changed);
//   TRY(control.save(schedule, {&record, 1}));    // `conflict` when somebody saved in between.
//
// What a document means is its owner's business (Schedule, CustodianSet, KMIP servers, accounts),
// so a new setting changes nothing here. No secret is ever in one: secrets are entries of the
// KEYWARD keystore. Safe from any thread; durable when save() returns.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "store/audit_trail.h"
#include "store/keystore.h"

namespace keyward::store {

struct Document {
  std::string name;           // "schedule/cluster", "kmip/server/primary".
  std::uint64_t version = 0;  // As it was read; 0 for one that must not exist yet.
  std::string json;
};

class ControlStore {
 public:
  virtual ~ControlStore() = default;

  virtual Result<Document> load(std::string_view name) = 0;
  // By name, from the first past `after`. Events and finished rekeys are documents too.
  virtual Result<std::vector<Document>> list(std::string_view prefix, std::string_view after,
                                             std::size_t count_max) = 0;
  // Answers the new version.
  virtual Result<std::uint64_t> save(const Document& document,
                                     std::span<const AuditRecord> records) = 0;
  virtual Result<void> remove(const Document& document, std::span<const AuditRecord> records) = 0;
  virtual AuditTrail& audit_trail() = 0;
};

// One place where stores live: a state directory (sqlite), later an etcd cluster.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual ControlStore& control() = 0;
  virtual Result<std::vector<Domain>> domains() = 0;
  // `not_found`; `busy` when another process owns it; `unsupported` for a newer format (it says
  // which version is needed). An older format is opened unchanged and keeps working without the
  // newer features; only commit_upgrade() migrates it.
  virtual Result<std::unique_ptr<Keystore>> open(const Domain& domain) = 0;
  // `first` has a current key with its copies. `already_exists` changes nothing.
  virtual Result<std::unique_ptr<Keystore>> create(const KeyTable& first,
                                                   std::span<const AuditRecord> records) = 0;
  // What an upgrade would change.
  struct UpgradeState {
    std::uint32_t format_current = 0;            // What this program writes.
    std::vector<std::string> stores_to_upgrade;  // "control", "S3".
  };
  virtual Result<UpgradeState> upgrade_state() = 0;
  // Migrates every store, each in one transaction; idempotent. Afterwards older programs refuse the
  // stores.
  virtual Result<void> commit_upgrade(std::span<const AuditRecord> records) = 0;

  // Copies the keystore's audit trail into control's, then removes the files. Idempotent.
  virtual Result<void> remove(const Domain& domain, std::span<const AuditRecord> records) = 0;
};

// `location` is "sqlite:/var/lib/keyward"; with "?format=1" a new state directory begins in that
// format, which older programs read. The one place that knows all kinds of back end.
Result<std::unique_ptr<Backend>> open_backend(std::string_view location, Clock& clock);

}  // namespace keyward::store
