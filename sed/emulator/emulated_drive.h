// An EmulatedDrive is a strict self-encrypting drive in software, for tests and demos: ours and
// anybody else's.
//
//   auto drive = EmulatedDrive::open({.backing_file = "a.drive"}).value();
//   your_code_under_test(drive->connect());   // A SecurityTransport, as a real drive's would be.
//   drive->power_cycle();                     // Sessions and unlocked ranges are lost.
//
// Whatever the specifications forbid gets the status that they name; docs/EMULATOR.md says which
// parts are there. It shares no code with Keyward's host side: both would be wrong together. The
// state lies in the backing file and in `<backing file>.state`, and survives the process. Safe from
// any thread; several connections share the drive, as on a bus.
#pragma once

#include <memory>

#include "base/result.h"
#include "sed/emulator/ata_security_command.h"
#include "sed/emulator/bus_status.h"
#include "sed/emulator/faults.h"
#include "sed/emulator/options.h"
#include "sed/transport/security_transport.h"

namespace keyward::sed {

struct DriveLabel {
  EmulatedDriveOptions options;
  std::string psid;
};

class EmulatedDrive final {
 public:
  // Makes the drive, or powers on the one that is there, in the state that it was left in.
  // `corrupt` names the part of the state that is damaged; `invalid_argument` the option that makes
  // no sense. `busy` while it is powered on elsewhere, in this process or in another.
  static Result<std::unique_ptr<EmulatedDrive>> open(const EmulatedDriveOptions& options);
  ~EmulatedDrive();
  // What a drive was made of and its label, without powering it on. `not_found`, `corrupt`.
  static Result<DriveLabel> label(const std::filesystem::path& backing_file);

  // One more connection. It must not outlive the drive.
  std::unique_ptr<SecurityTransport> connect();

  // The commands of a bus, with its own statuses: for what stands in front of a drive and speaks
  // SCSI, ATA or NVMe.
  BusStatus security_send(std::uint8_t protocol, std::uint16_t specific, ByteView payload);
  BusStatus security_receive(std::uint8_t protocol, std::uint16_t specific, MutableByteView buffer);
  // `words`: the 512 bytes that go with the command, none for F3h and F5h.
  BusStatus ata_security(AtaSecurityCommand command, ByteView words);
  // Whole sectors.
  BusStatus read(std::uint64_t first_sector, MutableByteView sectors);
  BusStatus write(std::uint64_t first_sector, ByteView sectors);
  Result<Bytes> identify(IdentifyPage page);

  // Off and on again. Also what brings a drive back whose power was cut.
  void power_cycle();
  // COMRESET, LUN reset, NVMe subsystem reset.
  void hardware_reset();
  // From the next command on.
  void set_faults(const EmulatorFaults& faults);

  // As it was made, whatever open() was asked for when it was there already.
  const EmulatedDriveOptions& options() const;
  // What is printed on the drive's label.
  std::string psid() const;
  // Since it was opened: every command of the bus counts.
  std::uint64_t commands() const;

 private:
  class Impl;
  explicit EmulatedDrive(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyward::sed
