// The shadow MBR of an Opal-family drive. See ShadowMbr in sed/drive.h.
//
// Enabling sets Done too, so that the sectors in use do not vanish from under the system: the image
// is shown from the next power cycle on. Borrows the link; one thread.
#pragma once

#include "sed/tcg_link.h"

namespace keyward::sed {

class OpalShadowMbr final : public ShadowMbr {
 public:
  explicit OpalShadowMbr(TcgLink& link) : link_(link) {}

  Result<std::uint64_t> size() override;
  Result<void> load(const SecretBytes& owner_pin, ByteView image) override;
  Result<void> set_enabled(const SecretBytes& owner_pin, bool enabled) override;
  Result<void> set_done(const SecretBytes& owner_pin, bool done) override;

 private:
  Result<void> set_control(const SecretBytes& owner_pin, const tcg::Row& cells);

  TcgLink& link_;
};

}  // namespace keyward::sed
