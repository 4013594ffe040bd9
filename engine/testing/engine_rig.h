// An EngineRig is one node of an appliance for tests: a state directory on disk, custodians whose
// hardware outlives the process, and a process that can be ended and started again.
//
//   EngineRig rig;                              // S3, sealed by fake:a and fake:b
//   rig.put("name", "secret");
//   rig.begin(); rig.step_until(RekeyPhase::verify);
//   rig.restart();                              // as after a crash
//   rig.finish();
//   EXPECT_EQ(rig.defects(), std::vector<std::string>{});
//
// It remembers what was acknowledged, so that defects() can tell what was lost. One thread, but for
// keyring(). For tests; not used by the product.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fault_plan.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_job.h"
#include "engine/reseal_job.h"
#include "engine/testing/faulty_backend.h"
#include "hsm/testing/fake_custodian.h"
#include "store/control_store.h"
#include "store/sqlite/vfs.h"

namespace keyward::engine {

class EngineRig final {
 public:
  explicit EngineRig(std::vector<std::string> custodians = {"fake:a", "fake:b"});
  ~EngineRig();

  static Caller caller() { return {"uid:0", "unix"}; }
  const Domain& domain() const { return domain_; }
  Clock& clock() { return *clock_; }
  void advance(std::chrono::nanoseconds step) { clock_->advance(step); }
  // The hardware behind a custodian, whether or not it is configured.
  hsm::FakeHardware& hardware(const std::string& id) { return *shared_hardware(id); }
  // Such as a passphrase is: its destroy() does nothing.
  void make_indestructible(const std::string& id) { indestructible_.insert(id); }

  void set_read_audit(ReadAudit read_audit) { read_audit_ = read_audit; }

  // Time stands still for the stores too, so that no slice of work ever ends by it: the same acts
  // then make the same file operations.
  void freeze_store_clock() { store_clock_ = &frozen_clock_; }

  // What may go wrong in a process. All outlive it.
  struct Faults {
    FaultPlan* plan = nullptr;                         // Every call to custodians and stores.
    std::map<std::string, FaultPlan*> of_custodian{};  // Calls to that one; not those of `plan`.
    store::VfsHook* hook = nullptr;                    // Every operation on the stores' files.
  };
  // The process. With a plan, every call to custodians and stores goes through it.
  void start(FaultPlan* plan = nullptr);
  // Fails when the state directory does not open. A domain that does not is LOCKED only.
  Result<void> try_start(const Faults& faults);
  // Leaves the process as it stands, threads and all, as a kill would; what it holds is never
  // freed.
  void abandon();
  void stop();
  void restart(FaultPlan* plan = nullptr);
  // Unseals what can be unsealed now, and does not wait for the rest.
  void unseal();
  // Which custodians are configured at the next start.
  void configure(std::vector<std::string> custodians) { configured_ = std::move(custodians); }

  Keyring& keyring() { return *process_->keyring; }
  CustodianSet& custodians() { return *process_->custodians; }
  EventLog& events() { return *process_->events; }
  store::Backend& backend() { return *process_->backend; }
  std::shared_ptr<store::Keystore> keystore();
  store::KeyTable table();
  api::DomainStatus status();
  JobParts parts();
  bool has_open_event(const EventKind& kind);

  // What was acknowledged is remembered; after an error either value may be there.
  Result<void> put(const std::string& name, const std::string& secret);
  Result<void> erase(const std::string& name);
  Result<std::string> get(const std::string& name);

  Result<JobId> begin(std::vector<CustodianId> without = {});
  Result<RekeyJob::Outcome> step();
  // True when the rekey came to this phase; false when it ended or failed before.
  bool step_until(store::RekeyPhase phase);
  // Steps to the end.
  Result<void> finish();
  // A whole rekey.
  Result<void> rekey();
  Result<void> want(const std::vector<std::string>& custodians);
  Result<void> reseal();

  // The promises that hold at rest, each that is broken in words: every acknowledged entry opens,
  // one key, which every wanted custodian holds, confirmed, and nothing else in the hardware.
  std::vector<std::string> defects();
  // Only: every acknowledged entry opens.
  std::vector<std::string> lost_entries();
  // Only: the hardware holds nothing but the current key, for those who want it.
  std::vector<std::string> orphans();

  // A copy of the state directory, of a process that was stopped; and to run on with it.
  std::filesystem::path copy_state();
  void use_state(const std::filesystem::path& directory) { state_ = directory; }
  // What outlives a process besides its state directory: the hardware, and what was acknowledged.
  struct Memory {
    std::map<std::string, std::shared_ptr<hsm::FakeHardware>> hardware;
    std::map<std::string, std::set<std::string>> written;
  };
  Memory memory() const;
  void recall(const Memory& memory);
  const std::filesystem::path& state() const { return state_; }

 private:
  struct Process {
    std::unique_ptr<store::Backend> files;
    std::unique_ptr<FaultyBackend> faulty;
    store::Backend* backend = nullptr;
    std::vector<std::unique_ptr<hsm::Custodian>> targets;
    std::unique_ptr<EventLog> events;
    std::unique_ptr<CustodianSet> custodians;
    std::unique_ptr<Keyring> keyring;
  };

  std::shared_ptr<hsm::FakeHardware> shared_hardware(const std::string& id);
  std::unique_ptr<hsm::Custodian> make_custodian(const std::string& id, FaultPlan* plan);
  void note_written(const std::string& name, const std::string& value, bool acknowledged);
  void check_hardware(const std::string& id, std::vector<std::string>& defects);
  void look_for_orphans(const std::string& id, std::vector<std::string>& orphans);

  std::filesystem::path root_;
  std::filesystem::path state_;
  int copies_ = 0;
  const Domain domain_;
  std::unique_ptr<Clock> real_clock_ = real_clock();
  std::unique_ptr<VirtualClock> clock_;
  VirtualClock frozen_clock_;
  Clock* store_clock_ = real_clock_.get();
  std::map<std::string, std::shared_ptr<hsm::FakeHardware>> hardware_;
  std::set<std::string> indestructible_;
  std::vector<std::string> configured_;
  ReadAudit read_audit_ = ReadAudit::first;
  std::map<std::string, std::set<std::string>> written_;
  std::unique_ptr<Process> process_;
};

}  // namespace keyward::engine
