// The ATA Security feature set (ACS-3, 4.20 and 7.36–7.41), and SAT-3's way to it.
//
//   ata.command(AtaSecurityCommand::set_password, words);     // 512 bytes, as ATA hosts send them
//   ata.sat_send(0x0002, parameter_list);                     // SECURITY PROTOCOL OUT, EFh
//
// One thread at a time.
#pragma once

#include "sed/emulator/ata_security_command.h"
#include "sed/emulator/bus_status.h"
#include "sed/emulator/drive_state.h"

namespace keyward::sed::emulator {

enum class AtaErase : std::uint8_t { none, normal, enhanced };

class AtaSecurity final {
 public:
  AtaSecurity(const EmulatedDriveOptions& options, DriveState& state);

  // `aborted` (ABRT) for all that the feature set's state table forbids.
  BusStatus command(AtaSecurityCommand command, ByteView words);
  BusStatus sat_send(std::uint16_t specific, ByteView parameters);
  BusStatus sat_receive(std::uint16_t specific, MutableByteView buffer) const;

  // Any command but SECURITY ERASE UNIT takes back a SECURITY ERASE PREPARE.
  void other_command() { erase_prepared_ = false; }
  void reset(Reset reset);

  bool is_locked() const { return locked_; }
  // TCG and ATA Security exclude each other (SIIS 6).
  bool is_supported() const;
  std::uint16_t status_word() const;  // IDENTIFY DEVICE, word 128.
  // What the command before has erased: the caller does it.
  AtaErase take_erase();

 private:
  BusStatus set_password(ByteView words);
  BusStatus unlock(ByteView words);
  BusStatus erase_unit(ByteView words);
  BusStatus disable_password(ByteView words);
  bool matches(ByteView words) const;
  bool names_master(ByteView words) const;

  const EmulatedDriveOptions& options_;
  DriveState& state_;
  bool locked_ = false;
  bool frozen_ = false;
  bool erase_prepared_ = false;
  int attempts_left_ = 5;
  AtaErase erase_ = AtaErase::none;
};

}  // namespace keyward::sed::emulator
