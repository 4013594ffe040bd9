// The ranges of an Opal-family drive. See RangeTable in sed/drive.h.
//
// A range and the marker's note of it change in one transaction, so that whoever unlocks knows all
// ranges. One user for a range: granting it to another takes it from the first.
// Borrows the link; one thread.
#pragma once

#include "sed/owner_marker.h"
#include "sed/tcg_link.h"

namespace keyward::sed {

class OpalRanges final : public RangeTable {
 public:
  explicit OpalRanges(TcgLink& link) : link_(link) {}

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
  Result<OwnerMarker> settled_marker();
  Result<void> set_range(tcg::Session& session, std::uint32_t number, tcg::Row cells);

  TcgLink& link_;
};

}  // namespace keyward::sed
