// How an Opal-family drive becomes ours, and gets another owner PIN, so that a crash at any command
// is mended by the same call once more.
//
//   OpalOwner owner(link);
//   TRY(owner.take(owner_pin));
//   TRY(owner.change(owner_pin, next));
//
// The Locking SP's PINs and the marker change in one transaction: so whoever comes after a crash
// reads which PIN is in force, and spends no try. The SID has a PIN in another SP, and so changes
// by itself: taking, it is the first; changing, it comes after the Locking SP, and the marker says
// unsettled until it has. Borrows the link; one thread. Errors as sed/drive.h has them.
#pragma once

#include "sed/marker_store.h"

namespace keyward::sed {

class OpalOwner final {
 public:
  explicit OpalOwner(TcgLink& link) : link_(link) {}

  Result<void> take(const SecretBytes& owner_pin);
  Result<void> change(const SecretBytes& current, const SecretBytes& next);

 private:
  // The steps of take().
  Result<void> take_sid(const tcg::Discovery& found, const SecretBytes& owner_pin,
                        const PinTag& tag);
  Result<tcg::Session> start_as_factory_sid(const tcg::Discovery& found);
  Result<tcg::Session> start_as_new_admin1(const SecretBytes& owner_pin);
  Result<std::uint64_t> placed_ranges(tcg::Session& session);
  Result<void> take_locking_sp(const SecretBytes& owner_pin, const PinTag& tag);
  Result<void> adopt(const OwnerMarker& marker, const SecretBytes& owner_pin, const PinTag& tag);
  // The steps of change().
  Result<void> change_locking_sp(const OwnerMarker& marker, const SecretBytes& current,
                                 const SecretBytes& next);
  Result<void> change_sid(const SecretBytes& current, const SecretBytes& next);
  Result<void> settle(const SecretBytes& owner_pin);

  TcgLink& link_;
};

// `conflict` while Block SID is set or an ATA password is: nothing was sent.
Result<void> check_sid_can_speak(const tcg::Discovery& found);
Result<void> check_no_ata_password(TcgLink& link);

bool locking_is_active(const tcg::Discovery& found);

}  // namespace keyward::sed
