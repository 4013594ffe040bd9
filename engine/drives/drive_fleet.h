// The DriveFleet does one thing to many drives at once, and keeps their PINs safe while it does.
//
//   DriveFleet fleet({bus, keyring, events, control, clock}, {.per_controller = 8});
//   fleet.recover(stop);
//   std::vector<api::DriveResult> done =
//       TRY(fleet.run({DriveAction::unlock, {}, nullptr}, caller, stop));
//
// One worker thread per drive, long-lived, which alone owns and speaks to its drive; a cap per
// controller. A dead, slow or locked-out drive ends with a result of its own and holds up nobody. A
// worker that the kernel does not give back is left behind at the deadline: its drive is
// `unresponsive` until it answers.
//
// A new PIN is stored as pending, durably, before the drive hears of it, and promoted in one write
// after the drive was opened with it. So after a crash one of two stored PINs opens each authority;
// settling them is calling the drive's operation again. A drive of somebody else's is never
// touched, nor is one that carries /, swap or Keyward's own state (DriveAddress::in_use). After the
// state directory was restored from a backup no PIN is sent before a person ordered `verify`.
//
// Safe from any thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "api/drive_row.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/event_log.h"
#include "engine/keyring.h"
#include "sed/drive.h"
#include "sed/transport/drive_bus.h"
#include "sed/try_ledger.h"
#include "store/control_store.h"

namespace keyward::engine {

enum class DriveAction : std::uint8_t {
  provision,  // Own it, with a new random PIN.
  unlock,     // All ranges; then its partitions are read anew, once.
  lock,
  rotate,        // A new PIN on the drive.
  verify,        // Prove that the stored PIN opens it; also what a restored state waits for.
  crypto_erase,  // New media keys; the drive stays ours. These four end with a certificate.
  revert,        // Back to the factory state, by our PIN; its PINs are forgotten.
  psid_revert,   // The same, by the PSID given, or the one recorded.
  ata_erase,     // ENHANCED SECURITY ERASE UNIT, where the drive has that.
  psid_record,   // Keep the PSID given; the drive is not asked anything.
};
std::string_view drive_action_name(DriveAction action);  // "psid-revert"; also of the audit record.

struct DriveOrder {
  DriveAction action;
  std::vector<std::string> drives{};  // Serials or WWNs. Empty: all that it can apply to.
  const SecretBytes* psid = nullptr;
};

class DriveFleet final {
 public:
  using Attach = std::function<Result<std::unique_ptr<sed::Drive>>(
      std::unique_ptr<sed::SecurityTransport>, Clock&, const sed::AttachOptions&)>;

  struct Parts {
    sed::DriveBus& bus;
    Keyring& keyring;
    EventLog& events;
    store::ControlStore& control;  // What is known of drives, without secrets.
    sed::TryLedger& ledger;
    Clock& clock;
  };
  struct Settings {
    NodeId node{};
    unsigned per_controller = 8;
    std::chrono::seconds per_drive{30};  // Then it is `unresponsive`.
    bool provision_new = false;          // A new, unowned drive is provisioned as it is plugged in.
    Attach attach = sed::attach_drive;   // Tests have others.
  };
  // A drive that was there is being handed over; it changes nothing by itself.
  DriveFleet(Parts parts, Settings settings);
  ~DriveFleet();

  // At start: looks at all drives, settles PINs that a crash left pending, and unlocks what is
  // ours. Returns when all are done or past their deadline, or `stop` was requested. Waits for the
  // SED domain to be unsealed, no longer than `patience`.
  std::vector<api::DriveResult> recover(std::stop_token stop, std::chrono::seconds patience);
  // Follows the bus until `stop`: new drives are reported, known ones that come back are unlocked.
  void run_hot_plug(std::stop_token stop);

  // Returns when every drive is done or past its deadline; each drive chosen has one result.
  // `not_found` when a name is no drive's. The erasing actions need names. `stop` lets drives that
  // have begun finish; the others answer `cancelled`.
  Result<std::vector<api::DriveResult>> run(const DriveOrder& order, const Caller& caller,
                                            std::stop_token stop);

  // As last seen; asks no drive.
  std::vector<api::DriveRow> list() const;
  Result<api::DriveRow> find(const std::string& name) const;  // `not_found` names what there is.

  Result<SecretBytes> reveal_psid(const std::string& name, const Caller& caller);

  // PINs of drives that go to another node, sealed under a passphrase (drive_bundle.h); here they
  // are forgotten. And the other way: the drives' markers are rewritten when they are next seen.
  Result<Bytes> release(const std::vector<std::string>& drives, const SecretBytes& passphrase,
                        const Caller& caller);
  Result<std::vector<api::DriveResult>> adopt(ByteView bundle, const SecretBytes& passphrase,
                                              const Caller& caller);

  std::vector<api::EraseCertificate> certificates() const;  // The newest first.

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyward::engine
