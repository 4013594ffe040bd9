// What a DriveFleet is inside. Included by its sources alone.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/drives/certificate_store.h"
#include "engine/drives/drive_bundle.h"
#include "engine/drives/drive_credentials.h"
#include "engine/drives/drive_fleet.h"
#include "engine/drives/drive_records.h"
#include "engine/drives/drive_roster.h"

namespace keyward::engine {

class DriveFleet::Impl {
 public:
  Impl(Parts parts, Settings settings)
      : parts_(parts),
        settings_(std::move(settings)),
        records_(parts.control, parts.clock),
        credentials_(parts.keyring),
        certificates_(parts.keyring, parts.control),
        roster_({.bus = parts.bus,
                 .ledger = parts.ledger,
                 .records = records_,
                 .events = parts.events,
                 .clock = parts.clock,
                 .node = settings_.node,
                 .attach = settings_.attach},
                settings_.per_controller) {}

  std::vector<api::DriveResult> recover(std::stop_token stop, std::chrono::seconds patience);
  void run_hot_plug(std::stop_token stop);
  Result<std::vector<api::DriveResult>> run(const DriveOrder& order, const Caller& caller,
                                            std::stop_token stop);
  std::vector<api::DriveRow> list() const;
  Result<api::DriveRow> find(const std::string& name) const;
  Result<SecretBytes> reveal_psid(const std::string& name, const Caller& caller);
  Result<Bytes> release(const std::vector<std::string>& names, const SecretBytes& passphrase,
                        const Caller& caller);
  Result<std::vector<api::DriveResult>> adopt(ByteView file, const SecretBytes& passphrase,
                                              const Caller& caller);
  std::vector<api::EraseCertificate> certificates() const;

 private:
  // A drive that a task was given to. One that is known and away has no worker.
  struct Chosen {
    std::shared_ptr<DriveWorker> worker{};
    api::DriveRow row{};
    std::shared_ptr<DriveTask> task{};
    // Set by the work, which may outlive whoever waits for it.
    std::shared_ptr<std::atomic<bool>> applied = std::make_shared<std::atomic<bool>>(true);
  };
  struct Changes {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::deque<std::pair<std::string, sed::DriveChange>> queue;
  };

  Result<std::vector<Chosen>> choose(const std::vector<std::string>& names, std::stop_token stop);
  void identify(std::stop_token stop);
  void show_pins(std::vector<api::DriveRow>& rows) const;
  std::chrono::seconds limit_of(DriveAction action) const;
  Result<void> check(const DriveOrder& order) const;
  Result<void> announce(const DriveOrder& order, const std::vector<Chosen>& chosen,
                        const Caller& caller);
  Result<void> wait(DriveWorker& worker, const DriveTask& task);
  std::vector<api::DriveResult> await(std::vector<Chosen>& chosen, DriveAction action,
                                      const Caller& caller);
  void record(std::span<const store::AuditRecord> records);
  Result<std::vector<api::DriveResult>> record_psid(const DriveOrder& order, const Caller& caller,
                                                    std::stop_token stop);
  Chosen welcome(const std::shared_ptr<DriveWorker>& worker, std::stop_token stop, bool is_awaited);
  Result<void> welcome_once(DriveLink& link, std::atomic<bool>& applied);
  void record_welcome(const DriveLink& link, const Result<void>& done);
  void follow(Changes& changes, std::stop_token stop);
  void welcome_new(std::stop_token stop);
  void welcome_late(std::stop_token stop);

  static std::string key_of(const api::DriveRow& row);
  Result<std::optional<Bytes>> finish_release(const store::Document& document,
                                              const std::vector<std::string>& keys,
                                              const SecretBytes& passphrase, const Caller& caller);
  Result<BundledDrive> pack(const api::DriveRow& row, const Caller& caller);
  Result<void> keep(const BundledDrive& drive, const Caller& caller);

  const Parts parts_;
  const Settings settings_;
  mutable DriveRecords records_;
  mutable DriveCredentials credentials_;
  mutable CertificateStore certificates_;
  std::mutex handover_mutex_;  // One bundle at a time.
  // Drives were met while the PINs could not be read.
  std::atomic<bool> is_welcome_owed_ = false;
  DriveRoster roster_;  // The last: its workers use what is above.
};

}  // namespace keyward::engine
