// DriveCore is the drive behind EmulatedDrive: power, faults, and who serves which command.
#pragma once

#include <mutex>
#include <optional>

#include "sed/emulator/ata_security.h"
#include "sed/emulator/emulated_drive.h"
#include "sed/emulator/identify.h"
#include "sed/emulator/media.h"
#include "sed/emulator/tper.h"

namespace keyward::sed::emulator {

class DriveCore final {
 public:
  DriveCore(EmulatedDriveOptions options, DriveState state, Media media);
  // What a committed transaction left to be written, and the power-on itself.
  Result<void> start();

  BusStatus security_send(Protocol protocol, std::uint16_t specific, ByteView payload);
  BusStatus security_receive(Protocol protocol, std::uint16_t specific, MutableByteView buffer);
  BusStatus ata_security(AtaSecurityCommand command, ByteView words);
  BusStatus read(std::uint64_t first, MutableByteView sectors);
  BusStatus write(std::uint64_t first, ByteView sectors);
  Result<Bytes> identify(IdentifyPage page);

  void power_cycle();
  void hardware_reset();
  void set_faults(const EmulatorFaults& faults);

  const EmulatedDriveOptions& options() const { return options_; }
  std::string psid() const;
  std::uint64_t commands() const;
  std::uint32_t sector_bytes() const { return options_.sector_bytes; }

 private:
  // Runs one command under the faults of the moment.
  template <typename Command>
  BusStatus command(Command&& run);
  template <typename Command>
  BusStatus half_command(Command&& run);
  BusStatus tcg_or_ata_send(Protocol protocol, std::uint16_t specific, ByteView payload);
  BusStatus do_write(std::uint64_t first, ByteView sectors);
  BusStatus do_read(std::uint64_t first, MutableByteView sectors);
  BusStatus after_ata(BusStatus status);
  std::optional<BusStatus> refusal(std::uint64_t first, std::size_t bytes) const;
  void read_shadow(std::uint64_t first, MutableByteView sectors);
  BusStatus flush();
  std::string state_file() const;

  EmulatedDriveOptions options_;
  std::unique_ptr<Clock> own_clock_;
  Clock& clock_;
  DriveState state_;
  Media media_;
  VolatileState volatile_;
  EmulatorFaults faults_;
  bool cut_halfway_ = false;
  bool dirty_ = false;
  std::uint32_t response_bytes_max_ = 0;
  AtaSecurity ata_;
  Tper tper_;
  bool powered_ = true;
  std::uint64_t commands_ = 0;
  std::uint64_t commands_at_faults_ = 0;
  mutable std::mutex mutex_;
};

}  // namespace keyward::sed::emulator
