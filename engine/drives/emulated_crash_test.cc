// The process ends at every call that it makes on behalf of a drive: to the keystore, the control
// store, the try ledger and the drive itself, which is the strict emulated one; or the drive's
// power goes half-way through a command, or an answer is lost. After the next start the drive is
// opened by a stored PIN, and of no authority more than one try is spent. Prints a table of the
// points and failures.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <limits>

#include "engine/drives/certificate_store.h"
#include "engine/drives/drive_operations.h"
#include "engine/testing/engine_rig.h"
#include "sed/drive_rig_fixture.h"
#include "sed/transport/emulated/emulated_drive_bus.h"
#include "sed/transport/faulty_transport.h"

namespace keyward::engine {
namespace {

using sed::EmulatedDrive;
using sed::EmulatedDriveOptions;
using sed::Family;

constexpr char kNode[] = "/dev/sda";

// The ledger is on durable storage too, and what writes it may end there.
class FaultyTryLedger final : public sed::TryLedger {
 public:
  FaultyTryLedger(sed::TryLedger& target, FaultPlan& plan) : target_(target), plan_(plan) {}
  Result<sed::TryRecord> load(const std::string& drive, std::string_view authority) override {
    return target_.load(drive, authority);
  }
  Result<void> store(const std::string& drive, std::string_view authority,
                     const sed::TryRecord& record) override {
    return plan_.apply([&] { return target_.store(drive, authority, record); });
  }
  Result<void> forget(const std::string& drive) override {
    return plan_.apply([&] { return target_.forget(drive); });
  }

 private:
  sed::TryLedger& target_;
  FaultPlan& plan_;
};

enum class Loss { crash_before, crash_after, lost_answer, half_a_command, crash_twice };

std::string_view name_of(Loss loss) {
  constexpr std::string_view kNames[] = {"ends before", "ends after", "answer lost", "half-way",
                                         "ends twice"};
  return kNames[static_cast<std::size_t>(loss)];
}

// One node with its keystore, and a new drive for each point.
class Machine final {
 public:
  Machine() {
    std::string name = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
    name += "/keyward-crash-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    for (const char* domain : {"SED", "KEYWARD"})  // PINs, and the key that signs certificates.
      rig_.keyring().create_domain(Domain::parse(domain).value(), EngineRig::caller()).value();
    rig_.restart(&plan_);
  }
  ~Machine() {
    unplug();
    std::filesystem::remove_all(directory_);
  }

  void plug_in(EmulatedDriveOptions options) {
    unplug();
    options.identity.wwn = fmt::format("5000c500{:08x}", ++drives_);
    options.identity.serial = fmt::format("CRASH{}", drives_);
    options.backing_file = directory_ / "drive";
    options.sectors = 4096;
    options.shadow_mbr_bytes = 1u << 20;
    drive_ = EmulatedDrive::open(options).value();
    psid_ = sed::secret_text(drive_->psid());
    bus_ = std::make_unique<sed::EmulatedDriveBus>(*clock_);
    bus_->add({.node = kNode, .controller = "hba0", .in_use = ""}, drive_);
    start();
  }
  // As after the end of the process: another keyring, another link.
  void restart(bool power_cycle) {
    link_.reset();
    rig_.stop();
    plan_.disarm();
    if (power_cycle) drive_->power_cycle();
    rig_.start(&plan_);
    start();
  }

  Result<void> run(DriveAction action) { return operations().run(action); }
  Result<void> welcome() { return operations().welcome(false); }
  OwnerPins pins() { return credentials_->load(key(), EngineRig::caller()).value(); }
  sed::Drive& attached() {
    EXPECT_TRUE(link_->attach());
    return link_->drive();
  }
  EmulatedDrive& drive() { return *drive_; }
  FaultPlan& plan() { return plan_; }
  sed::MemoryTryLedger& ledger() { return ledger_; }

  void write(char fill) {
    EXPECT_EQ(drive_->write(0, Bytes(512, static_cast<std::byte>(fill))), sed::BusStatus::good);
  }
  // Empty when the drive refuses.
  Bytes read() {
    Bytes data(512);
    return drive_->read(0, data) == sed::BusStatus::good ? data : Bytes{};
  }

 private:
  std::string key() const { return sed::drive_key(drive_->options().identity); }
  DriveOperations operations() {
    return {{*link_, *credentials_, *certificates_},
            {.restored = "", .psid = &psid_, .key = key(), .named = true},
            caller_};
  }
  void start() {
    records_ = std::make_unique<DriveRecords>(rig_.backend().control(), *clock_);
    credentials_ = std::make_unique<DriveCredentials>(rig_.keyring());
    certificates_ = std::make_unique<CertificateStore>(rig_.keyring(), rig_.backend().control());
    const DriveFleet::Attach attach = [this](std::unique_ptr<sed::SecurityTransport> transport,
                                             Clock& clock, const sed::AttachOptions& options) {
      return sed::attach_drive(std::make_unique<sed::FaultyTransport>(std::move(transport), plan_),
                               clock, options);
    };
    link_ = std::make_unique<DriveLink>(
        DriveLink::Parts{*bus_, faulty_ledger_, *records_, rig_.events(), *clock_, node_, attach},
        sed::DriveAddress{kNode, "hba0", ""});
  }
  void unplug() {
    link_.reset();
    bus_.reset();
    drive_.reset();
    for (const char* name : {"drive", "drive.state"}) std::filesystem::remove(directory_ / name);
  }

  std::filesystem::path directory_;
  const NodeId node_ = NodeId::random();
  const Caller caller_ = EngineRig::caller();
  std::unique_ptr<Clock> clock_ = real_clock();
  FaultPlan plan_{std::numeric_limits<std::size_t>::max(),
                  FaultMoment::crash_before,
                  {ErrorCode::unavailable, "planned"}};
  EngineRig rig_;
  sed::MemoryTryLedger ledger_;
  FaultyTryLedger faulty_ledger_{ledger_, plan_};
  unsigned drives_ = 0;
  SecretBytes psid_ = sed::secret_text("none yet");
  std::shared_ptr<EmulatedDrive> drive_;
  std::unique_ptr<sed::EmulatedDriveBus> bus_;
  std::unique_ptr<DriveRecords> records_;
  std::unique_ptr<DriveCredentials> credentials_;
  std::unique_ptr<CertificateStore> certificates_;
  std::unique_ptr<DriveLink> link_;
};

struct Scenario {
  std::string name;
  Family family;
  DriveAction action;
};

bool destroys(DriveAction action) {
  return action != DriveAction::provision && action != DriveAction::rotate;
}

bool leaves_no_owner(DriveAction action) {
  return action == DriveAction::revert || action == DriveAction::psid_revert ||
         action == DriveAction::ata_erase;
}

// One that was not begun leaves nothing behind.
void is_untouched(Machine& machine) {
  EXPECT_EQ(machine.attached().state().value().owner, sed::Owner::nobody);
}

void is_opened_by_the_stored_pin(Machine& machine) {
  const OwnerPins pins = machine.pins();
  ASSERT_TRUE(pins.current);
  EXPECT_FALSE(pins.pending);
  const Result<void> proved = machine.attached().prove(*pins.current);
  EXPECT_TRUE(proved) << proved.error().message;
  EXPECT_FALSE(machine.read().empty());
}

// What the next start does by itself.
void expect_recovered(Machine& machine, const Scenario& scenario) {
  const Result<void> welcomed = machine.welcome();
  const OwnerPins pins = machine.pins();
  if (!pins.current && !pins.pending) return is_untouched(machine);
  if (machine.attached().state().value().owner == sed::Owner::nobody) {
    // A drive that was reverted, before its PINs were forgotten.
    EXPECT_TRUE(leaves_no_owner(scenario.action));
    return;
  }
  EXPECT_TRUE(welcomed) << welcomed.error().message;
  is_opened_by_the_stored_pin(machine);
}

// A person orders it again, unless its PINs are forgotten, which is its last step.
void expect_done_again(Machine& machine, const Scenario& scenario) {
  const Bytes before(512, std::byte{'A'});
  const bool ends_unowned = leaves_no_owner(scenario.action);
  if (!ends_unowned || machine.pins().current) {
    const Result<void> again = machine.run(scenario.action);
    EXPECT_TRUE(again) << again.error().message;
  }
  if (ends_unowned) {
    EXPECT_EQ(machine.pins().state(), api::DrivePins::none);
    is_untouched(machine);
  } else {
    is_opened_by_the_stored_pin(machine);
  }
  EXPECT_EQ(machine.read() == before, !destroys(scenario.action));
}

struct Row {
  unsigned points = 0;
  unsigned failures = 0;
  int tries = 0;
};

// False when the operation ended before its k-th call.
bool lose(Machine& machine, const Scenario& scenario, Loss loss, std::uint64_t k) {
  const std::uint64_t before = machine.drive().commands();
  if (loss == Loss::half_a_command) {
    sed::EmulatorFaults faults;
    faults.cut_at_command = k;
    faults.cut = sed::PowerCut::halfway;
    machine.drive().set_faults(faults);
  } else {
    constexpr FaultMoment kMoments[] = {FaultMoment::crash_before, FaultMoment::crash_after,
                                        FaultMoment::after_effect};
    const std::size_t moment = loss == Loss::crash_twice ? 1 : static_cast<std::size_t>(loss);
    machine.plan().arm(k, kMoments[moment]);
  }
  const Result<void> done = machine.run(scenario.action);
  const bool is_lost = loss == Loss::half_a_command ? machine.drive().commands() - before >= k
                                                    : machine.plan().has_fired();
  if (!is_lost) {
    EXPECT_TRUE(done) << done.error().message;
  }
  return is_lost;
}

// Somewhere, another place for each k.
void crash_in_recovery(Machine& machine, std::uint64_t k) {
  constexpr std::uint64_t kStride = 7919;  // A prime.
  machine.plan().arm(1 + k * kStride % 50, FaultMoment::crash_after);
  static_cast<void>(machine.welcome());
  machine.restart(k % 3 == 0);
}

bool run_point(Machine& machine, const Scenario& scenario, Loss loss, std::uint64_t k, Row& row) {
  machine.plug_in({.family = scenario.family,
                   .bus = scenario.family == Family::enterprise ? sed::Bus::sas : sed::Bus::sata,
                   .ranges = 2});
  machine.write('A');
  if (scenario.action != DriveAction::provision) {
    EXPECT_TRUE(machine.run(DriveAction::provision));
  }
  if (!lose(machine, scenario, loss, k)) {
    machine.plan().disarm();
    return false;
  }
  if (loss == Loss::lost_answer)
    machine.plan().disarm();
  else
    machine.restart(loss == Loss::half_a_command || k % 2 == 0);
  machine.drive().set_faults({});
  machine.ledger().start_count();
  if (loss == Loss::crash_twice) crash_in_recovery(machine, k);
  expect_recovered(machine, scenario);
  const int tries = machine.ledger().most_in_vain();
  EXPECT_LE(tries, loss == Loss::crash_twice ? 2 : 1);
  expect_done_again(machine, scenario);
  ++row.points;
  row.tries = std::max(row.tries, tries);
  return true;
}

class EmulatedCrashTest : public ::testing::TestWithParam<Scenario> {};

TEST_P(EmulatedCrashTest, AfterTheNextStartAStoredPinOpensTheDrive) {
  Machine machine;
  for (const Loss loss : {Loss::crash_before, Loss::crash_after, Loss::lost_answer,
                          Loss::half_a_command, Loss::crash_twice}) {
    Row row;
    for (std::uint64_t k = 1;; ++k) {
      SCOPED_TRACE(fmt::format("{}, call {}", name_of(loss), k));
      const auto* test = ::testing::UnitTest::GetInstance()->current_test_info()->result();
      const int failed_before = test->total_part_count();
      const bool is_lost = run_point(machine, GetParam(), loss, k, row);
      if (test->total_part_count() != failed_before) ++row.failures;
      if (!is_lost) break;
    }
    std::printf("drive crash  %-28s %-12s %4u points %3u failures %2d try spent\n",
                GetParam().name.c_str(), name_of(loss).data(), row.points, row.failures, row.tries);
    EXPECT_GT(row.points, 3u);
  }
}

std::vector<Scenario> scenarios() {
  return {{"Opal, provision", Family::opal2, DriveAction::provision},
          {"Opal, rotate", Family::opal2, DriveAction::rotate},
          {"Opal, crypto-erase", Family::opal2, DriveAction::crypto_erase},
          {"Opal, revert", Family::opal2, DriveAction::revert},
          {"Opal, PSID revert", Family::opal2, DriveAction::psid_revert},
          {"Enterprise, provision", Family::enterprise, DriveAction::provision},
          {"Enterprise, rotate", Family::enterprise, DriveAction::rotate},
          {"Enterprise, crypto-erase", Family::enterprise, DriveAction::crypto_erase},
          {"Enterprise, revert", Family::enterprise, DriveAction::revert},
          {"Enterprise, PSID revert", Family::enterprise, DriveAction::psid_revert},
          {"ATA, provision", Family::ata_security, DriveAction::provision},
          {"ATA, rotate", Family::ata_security, DriveAction::rotate},
          {"ATA, enhanced erase", Family::ata_security, DriveAction::ata_erase}};
}

std::string test_name(const ::testing::TestParamInfo<Scenario>& info) {
  std::string name;
  for (const char letter : info.param.name)
    if (std::isalnum(static_cast<unsigned char>(letter)) != 0) name += letter;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Scenarios, EmulatedCrashTest, ::testing::ValuesIn(scenarios()), test_name);

}  // namespace
}  // namespace keyward::engine
