// A drive of the Opal family: Opal 1 and 2, Opalite, Pyrite, Ruby. See sed/drive.h.
//
//   OpalDrive drive(std::make_unique<TcgLink>(…));
//   TRY(drive.set_access(owner_pin, Access::unlocked));
//
// One thread.
#pragma once

#include "sed/marker_store.h"
#include "sed/opal_data_store.h"
#include "sed/opal_ranges.h"
#include "sed/opal_shadow_mbr.h"

namespace keyward::sed {

class OpalDrive final : public Drive {
 public:
  explicit OpalDrive(std::unique_ptr<TcgLink> link);

  const DriveIdentity& identity() const override { return link_->transport().identity(); }
  Bytes knowledge() const override;
  Result<DriveState> state() override;
  Result<void> take_ownership(const SecretBytes& owner_pin) override;
  Result<void> prove(const SecretBytes& owner_pin) override;
  Result<void> set_access(const SecretBytes& owner_pin, Access access) override;
  Result<void> change_pin(const SecretBytes& current, const SecretBytes& next) override;
  Result<void> erase(EraseMethod method, const SecretBytes& credential, Destroy what) override;
  Result<void> freeze() override;
  RangeTable* ranges() override;
  ShadowMbr* shadow_mbr() override;
  DataStore* data_store() override { return &data_store_; }
  BlockAccess* blocks() override { return link_->transport().blocks(); }

 private:
  Result<void> find_owner(const tcg::Discovery& found, DriveState& state);
  Result<void> find_owner_while_inactive(const tcg::Discovery& found, DriveState& state);

  std::unique_ptr<TcgLink> link_;
  OpalRanges ranges_;
  OpalShadowMbr shadow_mbr_;
  OpalDataStore data_store_;
};

}  // namespace keyward::sed
