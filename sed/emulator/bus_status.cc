#include "sed/emulator/bus_status.h"

#include <string_view>

namespace keyward::sed {
namespace {

struct Entry {
  BusStatus status;
  SenseCode sense;
  NvmeStatus nvme;
  ErrorCode code;
  std::string_view message;
};

constexpr Entry kEntries[] = {
    {BusStatus::busy, {0x02, 0x04, 0x07}, {0, 0x82}, ErrorCode::busy, "the drive is busy"},
    {BusStatus::gone,
     {0x02, 0x04, 0x03},
     {0, 0x82},
     ErrorCode::unavailable,
     "the drive does not answer"},
    {BusStatus::timed_out,
     {0x0B, 0x2E, 0x01},
     {0, 0x07},
     ErrorCode::timeout,
     "no answer from the drive in time"},
    {BusStatus::unsupported_protocol,
     {0x05, 0x24, 0x00},
     {0, 0x02},
     ErrorCode::unsupported,
     "the drive has no such security protocol"},
    {BusStatus::invalid_com_id,
     {0x05, 0x24, 0x00},
     {0, 0x02},
     ErrorCode::invalid_argument,
     "the drive has no such ComID"},
    {BusStatus::invalid_length,
     {0x05, 0x24, 0x00},
     {0, 0x02},
     ErrorCode::invalid_argument,
     "the drive does not take that transfer length"},
    {BusStatus::out_of_sequence,
     {0x05, 0x2C, 0x00},
     {0, 0x0C},
     ErrorCode::conflict,
     "the answer to the command before was not fetched"},
    {BusStatus::locked,
     {0x07, 0x20, 0x02},
     {2, 0x86},
     ErrorCode::not_permitted,
     "the range is locked"},
    {BusStatus::out_of_range,
     {0x05, 0x21, 0x00},
     {0, 0x80},
     ErrorCode::invalid_argument,
     "the drive has no such sector"},
    {BusStatus::aborted,
     {0x0B, 0x00, 0x00},
     {0, 0x0C},
     ErrorCode::conflict,
     "the drive aborted the command"},
    {BusStatus::media_error,
     {0x03, 0x11, 0x00},
     {2, 0x81},
     ErrorCode::io,
     "the backing file could not be read or written"},
};

const Entry* entry_of(BusStatus status) {
  for (const Entry& entry : kEntries)
    if (entry.status == status) return &entry;
  return nullptr;
}

}  // namespace

SenseCode sense_code(BusStatus status) {
  const Entry* entry = entry_of(status);
  return entry == nullptr ? SenseCode{} : entry->sense;
}

NvmeStatus nvme_status(BusStatus status) {
  const Entry* entry = entry_of(status);
  return entry == nullptr ? NvmeStatus{} : entry->nvme;
}

Result<void> to_result(BusStatus status) {
  const Entry* entry = entry_of(status);
  if (entry == nullptr) return {};
  const SenseCode& sense = entry->sense;
  return fail(
      entry->code, std::string(entry->message), "emulated drive",
      static_cast<std::uint64_t>(sense.key << 16 | sense.additional << 8 | sense.qualifier));
}

}  // namespace keyward::sed
