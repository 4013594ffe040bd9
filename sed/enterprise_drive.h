// A drive of the Enterprise class. See sed/drive.h.
//
// Each band has its BandMaster, and drives take one authority in a session: so opening the drive
// takes eight commands for each band in use. It has neither users nor a shadow MBR; its DataStore
// is the marker's alone. One thread.
#pragma once

#include "sed/marker_store.h"

namespace keyward::sed {

class EnterpriseBands final : public RangeTable {
 public:
  explicit EnterpriseBands(TcgLink& link) : link_(link) {}

  std::uint32_t ranges_max() const override;
  Result<std::vector<Range>> list(const SecretBytes& owner_pin) override;
  Result<void> place(const SecretBytes& owner_pin, std::uint32_t number, std::uint64_t first_sector,
                     std::uint64_t sectors) override;
  Result<void> set_access(const SecretBytes& owner_pin, std::uint32_t number,
                          Access access) override;
  Result<void> erase(const SecretBytes& owner_pin, std::uint32_t number, Destroy what) override;
  Result<void> grant_user(const SecretBytes& owner_pin, std::uint32_t number,
                          std::uint32_t user) override;
  Result<void> set_access_as_user(const SecretBytes& user_pin, std::uint32_t user,
                                  std::uint32_t number, Access access) override;

 private:
  Result<void> check_number(std::uint32_t number) const;

  TcgLink& link_;
};

class EnterpriseDrive final : public Drive {
 public:
  explicit EnterpriseDrive(std::unique_ptr<TcgLink> link);

  const DriveIdentity& identity() const override { return link_->transport().identity(); }
  Bytes knowledge() const override;
  Result<DriveState> state() override;
  Result<void> take_ownership(const SecretBytes& owner_pin) override;
  Result<void> prove(const SecretBytes& owner_pin) override;
  Result<void> set_access(const SecretBytes& owner_pin, Access access) override;
  Result<void> change_pin(const SecretBytes& current, const SecretBytes& next) override;
  Result<void> erase(EraseMethod method, const SecretBytes& credential, Destroy what) override;
  Result<void> freeze() override;
  RangeTable* ranges() override { return &bands_; }
  ShadowMbr* shadow_mbr() override { return nullptr; }
  DataStore* data_store() override { return nullptr; }
  BlockAccess* blocks() override { return link_->transport().blocks(); }

 private:
  Result<bool> locks_anything();
  Result<void> mend_erase(const SecretBytes& owner_pin);
  Result<void> crypto_erase(const SecretBytes& owner_pin);
  Result<void> revert(const SecretBytes& owner_pin);

  std::unique_ptr<TcgLink> link_;
  EnterpriseBands bands_;
  bool erase_was_cut_off_ = false;  // So some BandMasters may have the factory's PIN.
};

}  // namespace keyward::sed
