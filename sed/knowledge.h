// What is worth keeping of a drive from one attach to the next, so that unlocking it takes no
// discovery. Constant for a serial number and a firmware, but for what only its owner changes.
//
//   Bytes stored = known.render(identity);
//   std::optional<Knowledge> known = Knowledge::parse(stored, identity);   // None: discover anew.
//
// A value, without secrets. It is a hint: whoever acts on it notices when the drive differs.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "sed/tcg/discovery.h"
#include "sed/tcg/properties.h"

namespace keyward::sed {

struct Knowledge {
  tcg::Ssc ssc = tcg::Ssc::none;
  std::uint16_t com_id = 0;  // 0: it has to be asked for.
  bool has_shadow_mbr = false;
  bool shadow_mbr_enabled = false;
  bool has_block_sid = false;
  std::uint16_t users = 0;  // How many the Locking SP has; 0 where the drive does not say.
  std::uint32_t ranges_max = 0;
  std::uint64_t data_store_bytes = 0;
  std::uint64_t shadow_mbr_bytes = 0;
  std::optional<tcg::Properties> properties{};
  // From our marker: which ranges are in use. None while it was not read.
  std::optional<std::uint64_t> ranges{};

  static Knowledge of(const tcg::Discovery& found);
  // What Channel::open() needs.
  tcg::Discovery discovery() const;

  Bytes render(const DriveIdentity& identity) const;
  // None for another version, another drive or firmware, and damaged bytes.
  static std::optional<Knowledge> parse(ByteView bytes, const DriveIdentity& identity);
  bool operator==(const Knowledge&) const = default;
};

}  // namespace keyward::sed
