// A drive with the ATA Security feature set and no TCG. See sed/drive.h.
//
//   AtaDrive drive(std::move(transport), options);
//   TRY(drive.take_ownership(owner_pin));   // Locks from the next power-on.
//
// The user password is that of "ATA user", at security level high, so that the master password, of
// "ATA master", opens the drive as well. Both are set, since the factory's master password is known
// to everybody. The drive has no marker: the try ledger's intent tells whose password it may have.
// It locks with the power and at no command. One thread.
#pragma once

#include <memory>

#include "sed/ata/ata_security.h"
#include "sed/drive.h"
#include "sed/try_ledger.h"

namespace keyward::sed {

class AtaDrive final : public Drive {
 public:
  AtaDrive(std::unique_ptr<SecurityTransport> transport, const AttachOptions& options);

  const DriveIdentity& identity() const override { return transport_->identity(); }
  Bytes knowledge() const override { return {}; }
  Result<DriveState> state() override;
  Result<void> take_ownership(const SecretBytes& owner_pin) override;
  Result<void> prove(const SecretBytes& owner_pin) override;
  // `unsupported` for all but `unlocked`.
  Result<void> set_access(const SecretBytes& owner_pin, Access access) override;
  Result<void> change_pin(const SecretBytes& current, const SecretBytes& next) override;
  // `ata_enhanced` alone. With no password set it sets one first: the drive erases for no other.
  Result<void> erase(EraseMethod method, const SecretBytes& credential, Destroy what) override;
  Result<void> freeze() override;
  RangeTable* ranges() override { return nullptr; }
  ShadowMbr* shadow_mbr() override { return nullptr; }
  DataStore* data_store() override { return nullptr; }
  BlockAccess* blocks() override { return transport_->blocks(); }

  // Takes the user password away; the data stay. Idempotent.
  Result<void> disable(const SecretBytes& owner_pin);

 private:
  // The status, or `conflict` when it forbids what is meant.
  Result<ata::AtaStatus> usable_status();
  // UNLOCK, which also proves the password of a drive that is open.
  Result<void> unlock(const SecretBytes& owner_pin);
  Result<void> send_password(ata::Command command, const SecretBytes& owner_pin, bool flag);
  Result<void> set_passwords(const SecretBytes& owner_pin);
  std::unexpected<Error> why_aborted(const Error& error);

  std::unique_ptr<SecurityTransport> transport_;
  TryGate gate_;
};

}  // namespace keyward::sed
