// The PINs of drives, as entries of the SED keystore: so a rekey of that domain re-encrypts them,
// and one unsealed master key opens them all.
//
//   SecretBytes pin = TRY(SecretBytes::random(sed::kOwnerPinBytes));
//   TRY(credentials.begin(drive, pin, caller));    // Pending, before the drive hears of it.
//   TRY(attached->take_ownership(pin));
//   TRY(credentials.promote(drive, caller));       // Current, once the drive was opened with it.
//
// Of each drive there are at most two owner PINs: the one in force, and one that is on its way to
// be. Whatever crashes when, one of the two opens each of the drive's authorities. A pending PIN is
// never replaced: the drive may have it already. Also what was recorded at intake: the PSID. Safe
// from any thread; a drive's changes come from its worker alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/drive_row.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "engine/caller.h"
#include "engine/keyring.h"

namespace keyward::engine {

struct OwnerPins {
  std::optional<SecretBytes> current{};
  std::optional<SecretBytes> pending{};

  api::DrivePins state() const;
};

class DriveCredentials final {
 public:
  explicit DriveCredentials(Keyring& keyring) : keyring_(keyring) {}

  // `drive` is sed::drive_key(identity), everywhere here. None at all: both absent.
  Result<OwnerPins> load(const std::string& drive, const Caller& caller);
  // Durable on return. `already_exists` when one is pending.
  Result<void> begin(const std::string& drive, const SecretBytes& pin, const Caller& caller);
  // The pending PIN becomes the current one, in one write. `not_found` without a pending one.
  Result<void> promote(const std::string& drive, const Caller& caller);
  // The drive refused, and demonstrably does not have the pending PIN.
  Result<void> drop_pending(const std::string& drive, const Caller& caller);
  // The drive is nobody's any more: all its PINs, in one write. The PSID stays.
  Result<void> forget(const std::string& drive, const Caller& caller);

  Result<void> record_psid(const std::string& drive, const SecretBytes& psid, const Caller& caller);
  // Audited durably before it is answered, whatever the domain's setting for reads is.
  Result<SecretBytes> reveal_psid(const std::string& drive, const Caller& caller);

  struct Known {
    std::string drive;
    api::DrivePins pins = api::DrivePins::none;
    bool psid = false;
  };
  // Without opening any.
  Result<std::vector<Known>> list();

 private:
  Keyring& keyring_;
};

}  // namespace keyward::engine
