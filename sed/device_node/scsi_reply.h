// What a SCSI command comes back with, and the sense data that says why.
//
//   return refused(kInvalidOpcode);               // CHECK CONDITION, 05h/20h/00h, fixed format
//   return reply_of(drive.write(lba, data));      // as the drive's own status has it
//
// Values and pure functions.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "sed/emulator/bus_status.h"

namespace keyward::sed {

struct ScsiReply {
  // SAM-5, 5.3: 00h GOOD, 02h CHECK CONDITION, 08h BUSY.
  std::uint8_t status = 0;
  // What the host adapter adds, by Linux' numbers: 1 nothing is there, 3 no answer in time.
  std::uint16_t host_status = 0;
  Bytes data{};  // At most the CDB's allocation length.
  Bytes sense{};
};

inline constexpr std::uint8_t kScsiGood = 0x00, kScsiCheckCondition = 0x02, kScsiBusy = 0x08;
inline constexpr SenseCode kInvalidOpcode{0x05, 0x20, 0x00}, kInvalidField{0x05, 0x24, 0x00},
    kSavingNotSupported{0x05, 0x39, 0x00}, kDataPhaseError{0x0B, 0x4B, 0x00},
    kSecurityConflict{0x05, 0x74, 0x79};

// SPC-5, 4.4.3: 18 bytes.
Bytes fixed_sense(SenseCode code);

ScsiReply good_reply(Bytes data = {});
ScsiReply refused(SenseCode code);
// CHECK CONDITION with the status' own sense code; BUSY, or what the adapter says, where there is
// no answer of the drive's.
ScsiReply reply_of(BusStatus status);

}  // namespace keyward::sed
