// A RekeyMachine is one process of the product over a world that can be set back: the real
// RekeyJob, Keyring, CustodianSet and KeyTable, over stores and custodians in memory.
//
//   RekeyMachine machine(world, flaws);
//   machine.load(state);              // puts the world and the keys in memory back
//   machine.gate().crash_at(3);
//   machine.step();
//   World next = machine.save();
//
// One thread uses it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "engine/custodian_set.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "engine/rekey_job.h"
#include "engine/reseal_job.h"
#include "tests/support/memory_custodian.h"
#include "tests/support/memory_store.h"

namespace keyward::model {

struct Flaws {
  testing::StoreFlaws store{};
  testing::CustodianFlaws custodian{};
};

inline const std::array<CustodianId, 2> kCustodians{CustodianId{"fake:a"}, CustodianId{"fake:b"}};
constexpr std::size_t kEntriesMax = 3;
const Domain& the_domain();
const EntryName& entry_name(std::size_t number);

// All that a transition may change.
struct World {
  testing::Disk disk{};
  std::array<testing::MemoryHardware, 2> hardware{};
  bool is_up = true;
  // The keys open in the process: the count that custodians in memory make them from.
  std::map<KeyId, std::uint64_t> held{};
  std::string broken{};  // A promise that was seen to break while a call ran.

  const testing::StoreImage& store() const { return disk.stores.at(the_domain()).now; }
  const store::KeyTable& table() const { return store().table; }
  // Nothing is left to do for a job.
  bool is_at_rest() const { return !table().rekey && !engine::ResealJob::is_needed(table()); }
};

// What happens at one call of a step.
class StepGate final : public testing::CallGate {
 public:
  enum class At { fails_before, fails_after, crashes };

  void clear() { *this = StepGate(); }
  void plan(std::size_t call, At what) { call_ = call, what_ = what; }
  // All calls of this custodian fail.
  void silence(const CustodianId& custodian) { silenced_ = custodian.text + "."; }
  // Before the call with that number, or with that name for the first time.
  void act_before(std::size_t call, std::function<void()> act) {
    call_ = call, act_ = std::move(act);
  }
  void act_before(std::string_view name, std::function<void()> act) {
    name_ = name, act_ = std::move(act);
  }
  // Between the call's effect and its answer.
  void act_after(std::string_view name, std::function<void()> act) {
    name_ = name, act_ = std::move(act), is_after_ = true;
  }
  void set_quiet(bool is_quiet) { is_quiet_ = is_quiet; }

  std::size_t calls() const { return calls_; }
  bool has_crashed() const { return has_crashed_; }
  bool has_acted() const { return has_acted_; }

  Ruling enter(std::string_view call) override;
  void leave(std::string_view call) override;

 private:
  void act();

  std::size_t calls_ = 0;
  std::size_t call_ = 0;
  At what_ = At::fails_before;
  std::string silenced_;
  std::string_view name_;
  std::function<void()> act_;
  bool is_after_ = false;
  bool is_quiet_ = false;
  bool has_crashed_ = false;
  bool has_acted_ = false;
};

// The keyring's clock. A start is one round of unsealing: what it would wait for, its next round,
// is the next start.
class FirstRound final : public Clock {
 public:
  explicit FirstRound(Clock& clock) : clock_(clock) {}

  void run(engine::Keyring& keyring);

  UtcTime now() const override { return clock_.now(); }
  MonotonicTime monotonic() const override { return clock_.monotonic(); }
  void wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable_any& wake,
                  std::stop_token stop, MonotonicTime deadline) override;

 private:
  Clock& clock_;
  std::thread::id runner_ = std::this_thread::get_id();
  std::stop_source round_;
};

class RekeyMachine final {
 public:
  RekeyMachine(const World& world, const Flaws& flaws);
  ~RekeyMachine();

  void load(const World& world);
  World save();
  // The process starts, with no key open yet: what the gate silences does not answer.
  void start();
  StepGate& gate() { return gate_; }
  const store::KeyTable& table() const { return world_.table(); }
  // A promise was seen to break.
  void report(std::string broken) { world_.broken = std::move(broken); }

  // Of the rekey, one entry a batch, or of the reseal that waits. Errors are what the world shows.
  void step();
  void begin();
  // True when it was granted.
  bool pause();
  void resume();
  bool cancel();
  bool leave_out(std::vector<CustodianId> without);
  // Another list of custodians that are to seal the keys.
  void want(const std::vector<CustodianId>& custodians);
  // Through the keyring, as a request.
  void put(std::size_t number);
  // Empty, or why the entry was not read.
  std::string get(std::size_t number);
  // A put by another thread, at one stroke.
  bool put_at_once(std::size_t number);

  // Entries under one key, sealed by both custodians.
  static World first_world(std::size_t entries);

 private:
  engine::JobParts parts();
  std::uint64_t count_of(store::EntryCipher& held);

  World world_;
  StepGate gate_;
  testing::OpenGate open_gate_;
  VirtualClock clock_;
  FirstRound first_round_;
  testing::Disk event_disk_;
  testing::MemoryBackend event_backend_;
  testing::MemoryBackend backend_;
  engine::EventLog events_;
  engine::CustodianSet custodians_;
  std::unique_ptr<engine::Keyring> keyring_;
  std::set<KeyId> known_;  // Keys that the keyring may have open.
};

// The entry cipher of a key of custodians in memory.
store::EntryCipher& cipher_of(const KeyId& key, std::uint64_t count);
// Whether the entry opens under the key that its row's copies seal.
bool entry_opens(const store::KeyRow& row, const EntryName& name, const store::SealedEntry& entry);

}  // namespace keyward::model
