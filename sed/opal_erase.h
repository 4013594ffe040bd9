// How the data of an Opal-family drive are destroyed.
//
//   OpalErase erase(link);
//   TRY(erase.run(EraseMethod::revert, owner_pin));
//
// Borrows the link; one thread. Errors as Drive::erase() has them.
#pragma once

#include "sed/tcg_link.h"

namespace keyward::sed {

class OpalErase final {
 public:
  explicit OpalErase(TcgLink& link) : link_(link) {}

  Result<void> run(EraseMethod method, const SecretBytes& credential);
  // A new media key for the ranges named, in a session of its own.
  Result<void> renew_keys(const SecretBytes& owner_pin, const std::vector<std::uint32_t>& ranges);

 private:
  Result<void> crypto_erase(const SecretBytes& owner_pin);
  Result<void> revert(const SecretBytes& owner_pin);
  Result<void> revert_locking(const SecretBytes& owner_pin);
  Result<void> revert_locking_as_sid(const SecretBytes& owner_pin);
  Result<void> note_locking_reverted();

  TcgLink& link_;
};

// What is the same with Enterprise: the Admin SP's Revert, which ends the session and gives every
// authority its factory PIN and new tries.
Result<void> revert_admin_sp(TcgLink& link, tcg::Session& session);
Result<void> revert_by_psid(TcgLink& link, const SecretBytes& typed_psid);

}  // namespace keyward::sed
