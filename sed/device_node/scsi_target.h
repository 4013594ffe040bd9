// A ScsiTarget serves SCSI commands from an emulated drive: a CDB and data in, status, data and
// sense out. On SATA it is the drive behind a SATL, as Linux' libata shows it.
//
//   ScsiTarget target(drive);
//   ScsiReply reply = target.execute({.cdb = cdb, .data_out = payload});
//
// What it serves is in the table that REPORT SUPPORTED OPERATION CODES is answered from; all else
// is ILLEGAL REQUEST, 20h/00h. Sources: SPC-5, SBC-4, SAT-3. One thread at a time.
#pragma once

#include <cstdint>
#include <span>

#include "sed/device_node/ata_device.h"
#include "sed/device_node/scsi_reply.h"

namespace keyward::sed {

struct ScsiCommand {
  ByteView cdb;
  ByteView data_out{};
};

class ScsiTarget final {
 public:
  // The longest transfer of one command, as the Block Limits page says.
  static constexpr std::size_t kTransferBytesMax = std::size_t{32} << 20;

  explicit ScsiTarget(EmulatedDrive& drive) : drive_(drive), ata_(drive) {}
  ScsiReply execute(const ScsiCommand& command);

 private:
  // What one row of the table serves.
  struct Operation;
  static std::span<const Operation> operations();

  ScsiReply test_unit_ready(const ScsiCommand& command);
  ScsiReply request_sense(const ScsiCommand& command);
  ScsiReply inquiry(const ScsiCommand& command);
  ScsiReply mode_sense(const ScsiCommand& command);
  ScsiReply read_capacity_10(const ScsiCommand& command);
  ScsiReply read_capacity_16(const ScsiCommand& command);
  ScsiReply read(const ScsiCommand& command);
  ScsiReply write(const ScsiCommand& command);
  ScsiReply synchronize_cache(const ScsiCommand& command);
  ScsiReply report_luns(const ScsiCommand& command);
  ScsiReply report_operation_codes(const ScsiCommand& command);
  ScsiReply report_operation_code(const ScsiCommand& command, bool timeouts,
                                  std::size_t allocation) const;
  ScsiReply security_receive(const ScsiCommand& command);
  ScsiReply security_send(const ScsiCommand& command);
  ScsiReply pass_through(const ScsiCommand& command);

  bool has(const Operation& operation) const;
  ScsiReply page(IdentifyPage page, std::size_t allocation);
  ScsiReply vital_product_data(std::uint8_t code, std::size_t allocation);
  ScsiReply vital_product_pages(std::size_t allocation);
  ScsiReply block_reply(BusStatus status, Bytes data = {}) const;
  ScsiReply security_reply(BusStatus status, Bytes data = {}) const;
  bool is_sata() const { return drive_.options().bus == Bus::sata; }

  EmulatedDrive& drive_;
  AtaDevice ata_;
};

}  // namespace keyward::sed
