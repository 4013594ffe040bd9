// How a command ended on the bus, before any TCG status: what each interface calls it.
//
//   const BusStatus status = drive.read_sectors(lba, buffer);
//   if (status != BusStatus::good) answer(nvme_status(status));   // 2/86h when the range is locked
//
// The mapping is SIIS 1.0x's, and for locked ranges what drives were seen to answer.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace keyward::sed {

enum class BusStatus : std::uint8_t {
  good,
  busy,
  gone,                  // No power, or dead: nothing answers.
  timed_out,             // The command may have taken effect.
  unsupported_protocol,  // Invalid Security Protocol ID.
  invalid_com_id,        // Invalid Security Protocol ID Parameter.
  invalid_length,        // Invalid Transfer Length.
  out_of_sequence,       // Synchronous Protocol Violation.
  locked,                // Data Protection Error.
  out_of_range,
  aborted,  // ATA: ABRT.
  media_error,
};

struct SenseCode {
  std::uint8_t key;
  std::uint8_t additional;
  std::uint8_t qualifier;
};

struct NvmeStatus {
  std::uint8_t type;
  std::uint8_t code;
};

SenseCode sense_code(BusStatus status);
NvmeStatus nvme_status(BusStatus status);
// Error::native holds the sense code as 0xKKAAQQ.
Result<void> to_result(BusStatus status);

}  // namespace keyward::sed
