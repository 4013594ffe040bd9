// The DataStore of an Opal-family drive, behind our marker. See DataStore in sed/drive.h.
//
// Borrows the link; one thread.
#pragma once

#include "sed/tcg_link.h"

namespace keyward::sed {

class OpalDataStore final : public DataStore {
 public:
  explicit OpalDataStore(TcgLink& link) : link_(link) {}

  Result<std::uint64_t> size() override;
  Result<Bytes> read(std::uint64_t offset, std::size_t size) override;
  Result<void> write(const SecretBytes& owner_pin, std::uint64_t offset, ByteView bytes) override;

 private:
  Result<void> check(std::uint64_t offset, std::uint64_t size);

  TcgLink& link_;
};

}  // namespace keyward::sed
