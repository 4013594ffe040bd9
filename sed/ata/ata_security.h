// The ATA Security feature set (ACS-3, 4.20 and 7.36 – 7.41) by SAT-3's parameter lists, protocol
// EFh.
//
//   AtaStatus status = TRY(ata::read_status(transport));
//   TRY(ata::send(transport, ata::Command::unlock, {.password = &pin}));
//
// Pure but for the transport; one thread. A password is in no memory but the caller's and the one
// locked buffer that is sent. Errors: `unsupported` without the feature set, the transport's; an
// aborted command is `conflict`: the status tells why.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "base/secret_bytes.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed::ata {

struct AtaStatus {
  bool supported = false;
  bool enabled = false;  // A user password is set.
  bool locked = false;
  bool frozen = false;            // Until the power goes.
  bool attempts_expired = false;  // No password is looked at until a reset.
  bool enhanced_erase = false;    // There is one.
  bool maximum = false;           // The master password cannot unlock.
  std::uint16_t master_id = 0;
  std::uint32_t erase_minutes = 0;  // 0: not told.
  std::uint32_t enhanced_erase_minutes = 0;
};

// Protocol EFh, or the words of IDENTIFY DEVICE where the drive or its bridge lacks that.
Result<AtaStatus> read_status(SecurityTransport& transport);
Result<AtaStatus> parse_sat_status(ByteView answer);
Result<AtaStatus> parse_identify(ByteView words);

// Protocol-specific values: the second half of the ATA command's number, F1h … F6h.
enum class Command : std::uint16_t {
  set_password = 1,
  unlock = 2,
  erase_prepare = 3,
  erase_unit = 4,
  freeze_lock = 5,
  disable_password = 6,
};

struct Arguments {
  const SecretBytes* password = nullptr;  // At most 32 bytes; none with prepare and freeze.
  bool master = false;
  bool flag = false;            // Maximum with set_password, enhanced with erase_unit.
  std::uint16_t master_id = 0;  // With set_password of the master.
};

Result<void> send(SecurityTransport& transport, Command command, const Arguments& arguments = {});

}  // namespace keyward::sed::ata
