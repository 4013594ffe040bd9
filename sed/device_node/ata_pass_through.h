// ATA PASS-THROUGH(12) and (16) as a SATL translates them (SAT-3, 12.2), with the sense data that
// Linux' libata gives: descriptor format with the registers in it, on an error or when CK_COND
// asks.
#pragma once

#include "sed/device_node/ata_device.h"
#include "sed/device_node/scsi_reply.h"

namespace keyward::sed {

// `cdb` starts with A1h (12 bytes) or 85h (16 bytes).
ScsiReply ata_pass_through(AtaDevice& device, ByteView cdb, ByteView data_out);

}  // namespace keyward::sed
