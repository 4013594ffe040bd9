// DriveOperations are what one drive and its stored PINs go through together.
//
//   DriveOperations operations({link, credentials, certificates}, {restored, &psid}, caller);
//   Result<void> done = operations.run(DriveAction::rotate);
//   if (!operations.applied()) return;      // Nothing of the kind is to be done with this drive.
//
// A new PIN is stored as pending before the drive hears of it, and promoted once the drive has it.
// A pending one is settled before anything else: an operation that a crash cut off ends so. No PIN
// is sent to a drive whose marker names another, nor one that it refused before, nor any after a
// restore, but by `verify`, which a person orders.
//
// Lives for one operation, on the worker's thread.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/drives/certificate_store.h"
#include "engine/drives/drive_credentials.h"
#include "engine/drives/drive_fleet.h"
#include "engine/drives/drive_link.h"

namespace keyward::engine {

class DriveOperations final {
 public:
  struct Order {
    std::string restored{};             // DriveRecords::restored().
    const SecretBytes* psid = nullptr;  // For psid_revert; else the recorded one.
    std::string key{};                  // The drive that is meant; empty: whichever is there.
    bool named = true;  // A person named this drive; else what does not apply is left out.
  };
  struct Parts {
    DriveLink& link;
    DriveCredentials& credentials;
    CertificateStore& certificates;
  };
  DriveOperations(Parts parts, Order order, const Caller& caller)
      : link_(parts.link),
        credentials_(parts.credentials),
        certificates_(parts.certificates),
        order_(std::move(order)),
        caller_(caller) {}

  // Attaches the drive first. Raises and clears the drive's events.
  Result<void> run(DriveAction action);
  // At start and when the drive comes back: settles and unlocks what is ours, and touches nothing
  // else. A drive without an owner is provisioned where that is the policy.
  Result<void> welcome(bool provision_new);

  // Whether the drive is one that the action was for.
  bool applied() const { return applied_; }

 private:
  // Whose the drive is, by its marker and by what we have stored.
  enum class Standing {
    unowned,
    ours,      // By the marker; or it has none to read, and we have a PIN of it.
    unmarked,  // Owned, its marker is gone, and we have a PIN of it.
    outdated,  // The marker names other PINs than those that are stored.
    foreign,
  };

  Result<void> begin(DriveAction action);
  Result<Standing> find_standing() const;
  bool is_for(DriveAction action) const;
  Result<void> act(DriveAction action);
  Result<void> may_send() const;
  Result<bool> was_refused() const;
  Result<void> must_be_owned() const;
  Result<void> must_not_be_in_use() const;

  Result<void> settle();
  Result<void> provision();
  Result<void> set_access(sed::Access access);
  Result<void> rotate();
  Result<void> verify();
  Result<void> by_order(const std::function<Result<void>()>& send);
  Result<void> erase(DriveAction action);
  Result<void> psid_revert();
  // With a certificate. Afterwards the PINs are forgotten, where the method is one that leaves the
  // drive without an owner.
  Result<void> erase_by(sed::EraseMethod method, const SecretBytes& credential);

  Result<void> begin_pin();
  Result<void> promote();
  Result<void> forget();
  Result<void> look();
  void reread_partitions();
  void note_proved();
  void show();
  void report(DriveAction action, const Result<void>& done);
  void report_failure(DriveAction action, const Error& error);

  DriveLink& link_;
  DriveCredentials& credentials_;
  CertificateStore& certificates_;
  const Order order_;
  const Caller& caller_;
  OwnerPins pins_;
  Standing standing_ = Standing::foreign;
  bool begun_ = false;  // What stands above is known.
  bool applied_ = true;
};

}  // namespace keyward::engine
