// A FakeDrive is a self-encrypting drive in memory: authorities with PINs that are counted, an
// owner marker, a lock, and data that are gone once their key is. What speaks to it is a process,
// and may end at any step; the FakeDriveState is the hardware and stays.
//
//   auto drive = std::make_shared<FakeDriveState>("5000c500a1b2c3d4", "Z1");
//   FakeDriveBus bus({drive});
//   DriveFleet fleet(parts(bus), {.attach = fake_attach(&plan)});
//   drive->power_cycle();
//   EXPECT_EQ(drive->pin_of("SID"), pin_tag(stored));
//
// A PIN is known by its tag, so no secret lies about. Each effect on the hardware is one call
// through the FaultPlan. It has the contract of sed/drive.h and no more: no ranges, no tables, no
// payloads; the emulator has those. Shipped, documented code; not used by the product. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fault_plan.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/drives/drive_fleet.h"
#include "sed/drive.h"
#include "sed/owner_pin.h"
#include "sed/transport/drive_bus.h"

namespace keyward::engine {

class FakeDriveState final {
 public:
  static constexpr std::uint32_t kTries = 5;
  static constexpr char kPsid[] = "VUTSRQPONMLKJIHGFEDCBA9876543210";

  FakeDriveState(std::string wwn, std::string serial);

  // ---- For tests ----
  const sed::DriveIdentity& identity() const { return identity_; }
  const sed::DriveAddress& address() const { return address_; }
  void set_node(std::string node) { address_.node = std::move(node); }
  void set_controller(std::string controller) { address_.controller = std::move(controller); }
  void set_in_use(std::string why) { address_.in_use = std::move(why); }

  void power_cycle();                            // Locks what locks; gives new tries.
  void be_owned_by_another(const NodeId* node);  // With a marker of that node, where one is given.
  void remove_marker();
  void change_pins_behind_the_marker();
  void set_dead(bool dead);                         // Every call answers `unavailable`.
  void set_delay(std::chrono::milliseconds delay);  // Of each command, by the process's clock.
  // Calls do not return before it is set back; no clock and no stop ends them.
  void set_hanging(bool hanging);
  bool is_somebody_hanging() const;

  // None: the factory's.
  std::optional<sed::PinTag> pin_of(std::string_view authority) const;
  sed::Access access() const;
  bool is_factory_new() const;
  std::uint32_t tries_spent() const;  // Wrong PINs, ever.
  std::uint64_t media_key() const;    // Another number: what was written is gone.
  std::uint64_t commands() const { return commands_; }
  std::uint64_t partition_reads() const { return partition_reads_; }
  bool is_open() const { return opened_ > 0; }  // A process speaks to it.

 private:
  friend class FakeDrive;
  friend class FakeDriveBus;
  friend class FakeTransport;

  struct Marker {
    NodeId node{};
    sed::PinTag tag{};
    std::optional<sed::PinTag> next{};
  };

  // What each command does first: counts, takes its time, hangs.
  Result<void> command(Clock& clock, unsigned count);
  Result<void> authenticate(std::string_view authority, const std::optional<sed::PinTag>& pin);
  void reset_locked();  // The mutex is held.

  const sed::DriveIdentity identity_;
  sed::DriveAddress address_;

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::map<std::string, sed::PinTag, std::less<>> pins_;
  std::map<std::string, std::uint32_t, std::less<>> tries_;  // Spent, of each authority.
  std::optional<Marker> marker_;
  bool locking_ = false;
  sed::Access access_ = sed::Access::unlocked;
  std::uint64_t media_key_ = 1;
  std::uint32_t tries_spent_ = 0;
  bool dead_ = false;
  bool hanging_ = false;
  unsigned hangs_ = 0;
  std::chrono::milliseconds delay_{0};
  std::atomic<std::uint64_t> commands_ = 0;
  std::atomic<std::uint64_t> partition_reads_ = 0;
  std::atomic<std::uint64_t> opened_ = 0;
};

// For DriveFleet::Settings: drives of a FakeDriveBus, and of no other. The plan may be null, and
// outlives them.
DriveFleet::Attach fake_attach(FaultPlan* plan = nullptr);

class FakeDriveBus final : public sed::DriveBus {
 public:
  explicit FakeDriveBus(std::vector<std::shared_ptr<FakeDriveState>> drives)
      : drives_(std::move(drives)) {}

  Result<std::vector<sed::DriveAddress>> list() override;
  Result<std::unique_ptr<sed::SecurityTransport>> open(const sed::DriveAddress& address) override;
  void watch(Watcher watcher) override;

  // Calls the watcher on the calling thread.
  void plug_in(std::shared_ptr<FakeDriveState> drive);
  void pull_out(const std::shared_ptr<FakeDriveState>& drive);
  // The second one lies at the first one's node now, and at its own no more; nobody is told.
  void swap(const std::shared_ptr<FakeDriveState>& out, const std::shared_ptr<FakeDriveState>& in);

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<FakeDriveState>> drives_;
  Watcher watcher_;
};

}  // namespace keyward::engine
