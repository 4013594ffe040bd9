// How an Enterprise drive becomes ours, gets another owner PIN, and has its bands erased, so that a
// crash at any command is mended by the same call once more.
//
//   EnterpriseOwner owner(link);
//   TRY(owner.take(owner_pin));
//   TRY(owner.change(owner_pin, next));
//
// Enterprise has no transactions: every authority changes by itself. So the marker, which the
// EraseMaster writes, first says "unsettled" with both PINs' tags (zeros: the factory's), then each
// authority gets the new PIN, then it says "settled". In between each has one of the two, and the
// ledger's intent says with which to begin. Borrows the link; one thread. Errors as sed/drive.h has
// them.
#pragma once

#include <vector>

#include "sed/marker_store.h"

namespace keyward::sed {

class EnterpriseOwner final {
 public:
  explicit EnterpriseOwner(TcgLink& link) : link_(link) {}

  Result<void> take(const SecretBytes& owner_pin);
  Result<void> change(const SecretBytes& current, const SecretBytes& next);
  // New media keys. A band's Erase opens it and gives its BandMaster the factory's PIN: both are
  // set right again.
  Result<void> erase(const SecretBytes& owner_pin, const std::vector<std::uint32_t>& bands);
  // After an erase that was cut off: BandMasters that it left with the factory's PIN get ours, and
  // the bands lock again. Destroys nothing; the marker goes on saying that the erase is to be done.
  Result<void> take_back_bands(const SecretBytes& owner_pin);
  // Which bands are in use, in the marker; as the EraseMaster, who enables the BandMaster first.
  Result<void> mark(const SecretBytes& owner_pin, std::uint32_t band, bool in_use);

 private:
  // A PIN for every authority: the factory's one, or those of an owner PIN.
  struct Pins {
    const SecretBytes& secret;
    PinTag tag{};  // All zeros: the factory's.

    bool are_factory() const { return tag == PinTag{}; }
    Result<SecretBytes> of(const Authority& authority) const;
  };
  static Result<Pins> owners(const SecretBytes& owner_pin);

  Result<tcg::Session> start(const Authority& authority, const Pins& pins);
  // All authorities but those that the drive has disabled, the SID first.
  Result<std::vector<Authority>> authorities();
  Result<void> hand_over_all(const Pins& from, const Pins& to, bool resumed, OwnerMarker marker);
  Result<void> hand_over(const Authority& authority, const Pins& from, const Pins& to,
                         bool resumed);
  // Drives come with some BandMasters disabled; then they still have the factory's PIN.
  Result<void> enable_band_master(const Pins& pins, std::uint32_t band);
  Result<void> open_band(const SecretBytes& owner_pin, std::uint32_t band);
  Result<void> write(const Pins& erase_masters, OwnerMarker& marker);
  Result<void> settle(const Pins& pins, OwnerMarker marker);
  Result<OwnerMarker> marker_of(const SecretBytes& owner_pin);
  Result<void> give_back_bands(const Pins& factory, const Pins& pins,
                               const std::vector<std::uint32_t>& erased, bool resumed);

  TcgLink& link_;
};

}  // namespace keyward::sed
