// Sense data (SPC-5, 4.5), fixed and descriptor format: why a command failed.
//
//   if (const auto error = sense_error(sense, "/dev/sdb")) return std::unexpected(*error);
//
// Any bytes at all. Error::native is 0xKKAAQQ: sense key, additional code, qualifier.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace keyward::sed {

inline constexpr std::string_view kSenseOrigin = "SCSI sense";
inline constexpr std::uint64_t kInvalidOpcode = 0x052000;
inline constexpr std::uint64_t kInvalidFieldInCdb = 0x052400;

struct ScsiSense {
  std::uint8_t key = 0;
  std::uint8_t additional = 0;
  std::uint8_t qualifier = 0;
  // ATA's Status and Error registers, behind a translation (SAT-3, 12.2.5 and 12.2.2.7).
  std::optional<std::uint8_t> ata_status{};
  std::uint8_t ata_error = 0;
};

// None when there is no sense data in it.
std::optional<ScsiSense> parse_sense(ByteView sense);

// None when the command has succeeded: NO SENSE, or RECOVERED ERROR.
std::optional<Error> sense_error(const ScsiSense& sense, std::string_view path);

inline bool is_sense(const Error& error, std::uint64_t native) {
  return error.origin == kSenseOrigin && error.native == native;
}

}  // namespace keyward::sed
